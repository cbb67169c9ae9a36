"""A logit over co-visitation, popularity and content: the blend that a team writes in a week.

Conditional logit (McFadden 1974): which item of the catalogue comes next, from a few dozen
features an item. Learnt on the newest part of the history, fixed in the stream. Each choice is
learnt against a sample of what was not chosen, drawn evenly (McFadden 1978: such a sample
leaves the weights what they are).

Legend:  E = events learnt from,  I = items,  C = the chosen item and the drawn ones,
         F = features,  R = readings of one table,  N = events of a profile, newest first
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
RECENCIES = (0.3, 0.5, 0.8, 0.95)
# An item that so few touched, or fewer, is of its own kind.
FEW = (0, 2, 5, 10)
YEAR_MS = 365 * 86_400_000


@dataclass(slots=True)
class Logit:
    """score = features · weights. The parts follow the stream; the weights do not.

    `trend` is popularity of a short half-life, `season` of one between it and `popularity`.
    `learn`: so many of the history's newest events teach the weights, every `step`-th of them,
    each against `others` items; the parts know only what came before each. `ridge` holds the
    weights."""

    covisitation: CoVisitation
    popularity: Popularity
    content: Content
    trend: Popularity = field(default_factory=lambda: Popularity(half_life=1_000))
    season: Popularity = field(default_factory=lambda: Popularity(half_life=4_000))
    learn: int = 10_000
    step: int = 1
    others: int = 300
    ridge: float = 3e-5
    seed: int = 0
    weight_F: Floats = field(init=False)
    _count_I: Scores = field(init=False)
    _first_I: Scores = field(init=False)
    _published_ms_I: Scores = field(init=False)
    _number: int = 0
    _touched: dict[int, set[int]] = field(default_factory=dict)

    def fit(self, history: Log) -> None:
        learn = min(self.learn, len(history) // 4)
        before = history.head(len(history) - learn)
        self._count_I = np.zeros(len(history.items))
        self._first_I = np.full(len(history.items), -np.inf)
        self._published_ms_I = published_ms(history)
        for part in self._parts():
            part.fit(before)
        for event in before.each():
            self._note(event)
        chance = np.random.default_rng(self.seed)
        shown = []
        for row in range(len(before), len(history)):
            event = history.event(row)
            touched = self._touched.get(event.user, set())
            if event.wanted and row % self.step == 0 and event.item not in touched:
                open_I = np.setdiff1d(np.arange(len(history.items)), [event.item, *touched])
                many = min(self.others, len(open_I))
                drawn = chance.choice(open_I, many, replace=False)
                feature_IF = self._features(event.user, event.at_ms)
                shown.append(feature_IF[[event.item, *drawn]])
            self.apply(event)
        self.weight_F = learnt(shown, ridge=self.ridge)

    def score(self, user: int, at_ms: int) -> Scores:
        return np.asarray(self._features(user, at_ms) @ self.weight_F)

    def apply(self, event: Event) -> None:
        for part in self._parts():
            part.apply(event)
        self._note(event)

    def _parts(self) -> tuple[CoVisitation | Popularity | Content, ...]:
        return self.covisitation, self.popularity, self.season, self.trend, self.content

    def _note(self, event: Event) -> None:
        self._number += 1
        if event.wanted:
            if not self._count_I[event.item]:
                self._first_I[event.item] = self._number
            self._count_I[event.item] += 1
            self._touched.setdefault(event.user, set()).add(event.item)

    def _features(self, user: int, at_ms: int) -> Floats:
        """I x F. Without a profile only items differ, not what they are to him."""
        profile = self.content.profiles.known(user, at_ms, 1 << 30)
        some = float(bool(profile))
        long = some * (np.log1p(len(profile)) - 3)
        known_I = np.log1p(self._count_I)
        cold_I = (self._count_I <= FEW[-1]).astype(np.float64)
        follows_RI = self.covisitation.readings(user, at_ms, RECENCIES)
        led_RI = [some * logarithm(follows_I) for follows_I in follows_RI]
        popular_PI = [
            logarithm(part.score(user, at_ms))
            for part in (self.popularity, self.season, self.trend)
        ]
        # How deep into the catalogue he goes: such people touch what few do.
        depth = known_I[profile[:20]].mean() - 4.5 if profile else 0.0
        least = known_I[profile[:10]].min() - 3 if profile else 0.0
        columns = [
            *led_RI, *(some * share(follows_I) for follows_I in follows_RI),
            *(some * popular_I for popular_I in popular_PI),
            *((1 - some) * popular_I for popular_I in popular_PI),
            some * known_I, (1 - some) * known_I,
            depth * known_I, least * known_I, depth * cold_I,
            long * known_I, long * popular_PI[0], long * led_RI[2], long * cold_I,
            cold_I * popular_PI[2], cold_I * led_RI[2],
            *self._ages(profile[:10], at_ms),
            *self._likes(user, at_ms, profile, cold_I),
        ]  # fmt: skip
        low = -1
        for few in FEW:
            columns.append((self._count_I > low) & (self._count_I <= few))
            low = few
        return np.stack(columns, axis=1).astype(np.float32)

    def _ages(self, profile: list[int], at_ms: int) -> Sequence[Scores]:
        """How old an item is, by its record and in the log, and whether he likes it so old."""
        old_I = np.log1p(np.maximum(at_ms - self._published_ms_I, 0) / YEAR_MS)
        usual = float(old_I[profile].mean()) if profile else 1.0
        here_I = np.log1p(np.minimum(self._number - self._first_I, 1e5))
        off_I = old_I - usual if profile else np.zeros(len(old_I))
        return old_I, old_I**2, (usual - 1) * old_I, off_I**2, np.abs(off_I), here_I

    def _likes(
        self, user: int, at_ms: int, profile: list[int], cold_I: Scores
    ) -> Sequence[Scores]:
        """Content: like the newest events, like all, like the one it is most like."""
        newest_I = standard(self.content.score(user, at_ms))
        all_I, best_I = map(standard, self.content.readings(profile))
        known_I = np.log1p(self._count_I) - 4
        return (
            newest_I, all_I, best_I, known_I * newest_I, cold_I * newest_I, cold_I * all_I,
            cold_I * best_I,
        )  # fmt: skip


def published_ms(history: Log) -> Scores:
    """When each item was published; the median where its record does not say."""
    told_I = np.array(
        [np.nan if (at := item.published_at_ms) is None else at for item in history.items]
    )
    usual = float(np.nanmedian(told_I)) if np.isfinite(told_I).any() else 0.0
    return np.where(np.isnan(told_I), usual, told_I)


def standard(score_I: Scores) -> Scores:
    """With mean 0 and spread 1; nothing stays nothing."""
    return np.asarray((score_I - score_I.mean()) / max(float(score_I.std()), 1e-6))


def share(score_I: Scores) -> Scores:
    """A score as a share of the best one."""
    return np.asarray(score_I / max(float(score_I.max()), 1e-12))


def logarithm(score_I: Scores) -> Scores:
    """The log of a score's share of the best one, no lower than that of a thousandth."""
    return np.asarray(np.log(share(score_I) + 1e-3))


def learnt(shown: Sequence[Floats], *, ridge: float) -> Floats:
    """Weights of the most likely choices, each the first row of its C x F: a convex problem,
    solved by L-BFGS. Fewer rows (little was left to draw from) are filled up and barred."""
    size = max(map(len, shown))
    feature_ECF = torch.zeros(len(shown), size, shown[0].shape[1])
    barred_EC = torch.ones(len(shown), size, dtype=torch.bool)
    for n, feature_CF in enumerate(shown):
        feature_ECF[n, : len(feature_CF)] = torch.from_numpy(feature_CF)
        barred_EC[n, : len(feature_CF)] = False
    spread_F = feature_ECF.std(dim=(0, 1)).clamp_min(1e-4)
    feature_ECF /= spread_F
    target_E = torch.zeros(len(shown), dtype=torch.long)
    weight_F = torch.zeros(feature_ECF.shape[-1], requires_grad=True)
    solver = torch.optim.LBFGS([weight_F], max_iter=150, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        solver.zero_grad()
        score_EC = (feature_ECF @ weight_F).masked_fill(barred_EC, -torch.inf)
        value = torch.nn.functional.cross_entropy(score_EC, target_E)
        value = value + ridge * weight_F.square().sum()
        value.backward()
        return value

    solver.step(loss)
    found: Floats = (weight_F.detach() / spread_F).numpy()
    return found
