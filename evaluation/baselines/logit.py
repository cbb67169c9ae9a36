"""A logit over co-visitation, popularity and content: the blend that a team writes in a week.

Conditional logit (McFadden 1974): which item of the catalogue comes next, from a few
features an item. Learnt on the newest part of the history, fixed in the stream.

Legend:  E = events learnt from,  I = items,  F = features
"""

from dataclasses import dataclass, field

import numpy as np
import torch

from evaluation.baselines.content import Content
from evaluation.baselines.covisitation import CoVisitation
from evaluation.baselines.scorer import Scores
from evaluation.baselines.simple import Popularity
from evaluation.recorded import Event, Floats, Log


@dataclass(slots=True)
class Logit:
    """score = features · weights. The parts follow the stream; the weights do not.

    `learn`: so many of the history's newest events teach the weights, every `step`-th of
    them; the parts know only what came before each. `ridge` holds the weights."""

    covisitation: CoVisitation
    popularity: Popularity
    content: Content
    learn: int = 10_000
    step: int = 3
    ridge: float = 1e-4
    weight_F: Floats = field(init=False)
    _count_I: Floats = field(init=False)
    _touched: dict[int, set[int]] = field(default_factory=dict)

    def fit(self, history: Log) -> None:
        learn = min(self.learn, len(history) // 4)
        before = history.head(len(history) - learn)
        self._count_I = np.zeros(len(history.items), np.float32)
        for part in (self.covisitation, self.popularity, self.content):
            part.fit(before)
        for event in before.each():
            self._note(event)
        shown, chosen = [], []
        for row in range(len(before), len(history)):
            event = history.event(row)
            if event.wanted and row % self.step == 0:
                feature_IF = self._features(event.user, event.at_ms)
                # What was touched can't be chosen: out of the sum by a feature of its own.
                feature_IF[list(self._touched.get(event.user, ())), -1] = 1
                shown.append(feature_IF)
                chosen.append(event.item)
            self.apply(event)
        self.weight_F = learnt(np.stack(shown), np.array(chosen), ridge=self.ridge)

    def score(self, user: int, at_ms: int) -> Scores:
        return self._features(user, at_ms)[:, :-1] @ self.weight_F

    def apply(self, event: Event) -> None:
        for part in (self.covisitation, self.popularity, self.content):
            part.apply(event)
        self._note(event)

    def _note(self, event: Event) -> None:
        if event.wanted:
            self._count_I[event.item] += 1
            self._touched.setdefault(event.user, set()).add(event.item)

    def _features(self, user: int, at_ms: int) -> Floats:
        """I x F; the last column is 0, and marks in training what can't be chosen."""
        follows_I = self.covisitation.score(user, at_ms)
        follows_I = np.log(follows_I / max(float(follows_I.max()), 1e-12) + 1e-3)
        popular_I = self.popularity.score(user, at_ms)
        popular_I = np.log(popular_I / max(float(popular_I.max()), 1e-12) + 1e-3)
        like_I = self.content.score(user, at_ms)
        like_I = (like_I - like_I.mean()) / max(float(like_I.std()), 1e-6)
        cold_I = self._count_I <= 10
        some = float(like_I.any())
        columns = [
            follows_I, popular_I, like_I, some * popular_I, some * follows_I,
            cold_I, cold_I * like_I, np.log1p(self._count_I), 0 * like_I,
        ]  # fmt: skip
        return np.stack(columns, axis=1).astype(np.float32)


def learnt(feature_EIF: Floats, chosen_E: np.ndarray, *, ridge: float) -> Floats:
    """Weights of the most likely choices: a convex problem, solved by L-BFGS. The last
    feature bars an item and has no weight."""
    feature = torch.from_numpy(feature_EIF[..., :-1])
    barred = torch.from_numpy(feature_EIF[..., -1]) > 0
    chosen = torch.from_numpy(chosen_E)
    barred[torch.arange(len(chosen)), chosen] = False
    weight = torch.zeros(feature.shape[-1], requires_grad=True)
    solver = torch.optim.LBFGS([weight], max_iter=60, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        solver.zero_grad()
        score = (feature @ weight).masked_fill(barred, -torch.inf)
        value = torch.nn.functional.cross_entropy(score, chosen)
        value = value + ridge * weight.square().sum()
        value.backward()
        return value

    solver.step(loss)
    found: Floats = weight.detach().numpy()
    return found
