"""A logit over co-visitation, popularity and content: the blend that a team writes in a week.

Conditional logit (McFadden 1974): which item of the catalogue comes next, from a few
features an item. Learnt on the newest part of the history, fixed in the stream.

Legend:  E = events learnt from,  I = items,  F = features,  R = readings of one table
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from evaluation.baselines.content import Content
from evaluation.baselines.covisitation import CoVisitation
from evaluation.baselines.scorer import Scores
from evaluation.baselines.simple import Popularity
from evaluation.recorded import Event, Floats, Log

# How far back a profile is read: the last one or two, a sitting, all of it.
RECENCIES = (0.5, 0.8, 0.95)


@dataclass(slots=True)
class Logit:
    """score = features · weights. The parts follow the stream; the weights do not.

    `trend` is popularity of a short half-life beside the long one of `popularity`. `learn`: so
    many of the history's newest events teach the weights, every `step`-th of them; the parts
    know only what came before each. `ridge` holds the weights."""

    covisitation: CoVisitation
    popularity: Popularity
    content: Content
    trend: Popularity = field(default_factory=lambda: Popularity(half_life=1_000))
    learn: int = 10_000
    step: int = 2
    ridge: float = 1e-5
    weight_F: Floats = field(init=False)
    _count_I: Floats = field(init=False)
    _touched: dict[int, set[int]] = field(default_factory=dict)

    def fit(self, history: Log) -> None:
        learn = min(self.learn, len(history) // 4)
        before = history.head(len(history) - learn)
        self._count_I = np.zeros(len(history.items), np.float32)
        for part in self._parts():
            part.fit(before)
        for event in before.each():
            self._note(event)
        shown, chosen, barred = [], [], []
        for row in range(len(before), len(history)):
            event = history.event(row)
            if event.wanted and row % self.step == 0:
                shown.append(self._features(event.user, event.at_ms))
                chosen.append(event.item)
                barred.append(sorted(self._touched.get(event.user, set()) - {event.item}))
            self.apply(event)
        self.weight_F = learnt(np.stack(shown), chosen, barred, ridge=self.ridge)

    def score(self, user: int, at_ms: int) -> Scores:
        return np.asarray(self._features(user, at_ms) @ self.weight_F)

    def apply(self, event: Event) -> None:
        for part in self._parts():
            part.apply(event)
        self._note(event)

    def _parts(self) -> tuple[CoVisitation | Popularity | Content, ...]:
        return self.covisitation, self.popularity, self.trend, self.content

    def _note(self, event: Event) -> None:
        if event.wanted:
            self._count_I[event.item] += 1
            self._touched.setdefault(event.user, set()).add(event.item)

    def _features(self, user: int, at_ms: int) -> Floats:
        """I x F. Without a profile only what is popular differs between items."""
        popular_I = logarithm(self.popularity.score(user, at_ms))
        trend_I = logarithm(self.trend.score(user, at_ms))
        known_I = np.log1p(self._count_I)
        cold_I = (self._count_I <= 10).astype(np.float32)
        like_I = self.content.score(user, at_ms)
        some = float(like_I.any())
        like_I = (like_I - like_I.mean()) / max(float(like_I.std()), 1e-6)
        follows_RI = self.covisitation.readings(user, at_ms, RECENCIES)
        columns = [
            *(some * logarithm(follows_I) for follows_I in follows_RI),
            *(some * share(follows_I) for follows_I in follows_RI),
            (1 - some) * popular_I, (1 - some) * trend_I,
            some * popular_I, some * trend_I, some * known_I,
            like_I, cold_I, cold_I * like_I, cold_I * trend_I,
        ]  # fmt: skip
        return np.stack(columns, axis=1).astype(np.float32)


def share(score_I: Scores) -> Scores:
    """A score as a share of the best one."""
    return np.asarray(score_I / max(float(score_I.max()), 1e-12))


def logarithm(score_I: Scores) -> Scores:
    """The log of a score's share of the best one, no lower than that of a thousandth."""
    return np.asarray(np.log(share(score_I) + 1e-3))


def learnt(
    feature_EIF: Floats, chosen: Sequence[int], barred: Sequence[list[int]], *, ridge: float
) -> Floats:
    """Weights of the most likely choices among what is not barred: a convex problem, solved
    by L-BFGS."""
    feature, target = torch.from_numpy(feature_EIF), torch.tensor(chosen)
    closed = torch.zeros(feature.shape[:2], dtype=torch.bool)
    for row, items in enumerate(barred):
        closed[row, items] = True
    weight = torch.zeros(feature.shape[-1], requires_grad=True)
    solver = torch.optim.LBFGS([weight], max_iter=150, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        solver.zero_grad()
        score = (feature @ weight).masked_fill(closed, -torch.inf)
        value = torch.nn.functional.cross_entropy(score, target)
        value = value + ridge * weight.square().sum()
        value.backward()
        return value

    solver.step(loss)
    found: Floats = weight.detach().numpy()
    return found
