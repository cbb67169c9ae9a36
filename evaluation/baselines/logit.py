"""A logit over co-visitation, popularity and content: the blend that a team writes in a week.

Conditional logit (McFadden 1974): which item of the catalogue comes next, from a few dozen
features an item. Learnt on the newest part of the log, anew as the stream goes on. Each choice
is learnt against a sample of what was not chosen, drawn evenly (McFadden 1978: such a sample
leaves the weights what they are).

Legend:  E = events learnt from,  I = items,  C = the chosen item and the drawn ones,
         F = features,  R = readings of one table,  N = events of a profile, newest first
"""

from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from evaluation.baselines.content import Content
from evaluation.baselines.covisitation import CoVisitation
from evaluation.baselines.scorer import Scores
from evaluation.baselines.simple import Popularity
from evaluation.recorded import Event, Floats, Log

Halves = npt.NDArray[np.float16]

# How far back a profile is read: the last one or two, a sitting, all of it.
RECENCIES = (0.3, 0.5, 0.8, 0.95)
# How much of it lifts are averaged over: a few, a dozen, some thirty.
LIFTED = (0.7, 0.9, 0.97)
ALONE = 3  # of the newest, how many are read each alone
# An item that so few touched, or fewer, is of its own kind.
FEW = (0, 2, 5, 10)
BURST_MS, BACK_MS, YEAR_MS = 1_000, 3_600_000, 365 * 86_400_000


@dataclass(slots=True)
class Logit:
    """score = features · weights. The parts follow the stream, the weights each `refit` events.

    `trend` is popularity of a short half-life, `season` of one between it and `popularity`.
    `learn`: so many of the newest choices teach the weights, each against `others` items; the
    parts know only what came before each. `ridge` holds the weights. `refit` 0: the weights
    stay as the history left them."""

    covisitation: CoVisitation
    popularity: Popularity
    content: Content
    trend: Popularity = field(default_factory=lambda: Popularity(half_life=1_000))
    season: Popularity = field(default_factory=lambda: Popularity(half_life=4_000))
    learn: int = 17_500
    others: int = 200
    ridge: float = 3e-5
    refit: int = 1_000
    seed: int = 0
    weight_F: Floats = field(init=False)
    _choices: deque[Halves] = field(init=False)
    _chance: np.random.Generator = field(init=False)
    _count_I: Scores = field(init=False)
    _first_I: Scores = field(init=False)
    _published_ms_I: Scores = field(init=False)
    _number: int = 0
    _touched: dict[int, set[int]] = field(default_factory=dict)
    _newest_ms: dict[int, int] = field(default_factory=dict)
    _asked: tuple[int, int, Floats] | None = None

    def fit(self, history: Log) -> None:
        learn = min(self.learn, len(history) // 4)
        before = history.head(len(history) - learn)
        self._choices = deque(maxlen=self.learn)
        self._chance = np.random.default_rng(self.seed)
        self._count_I = np.zeros(len(history.items))
        self._first_I = np.full(len(history.items), -np.inf)
        self._published_ms_I = published_ms(history)
        for part in self._parts():
            part.fit(before)
        for event in before.each():
            self._note(event)
        for row in range(len(before), len(history)):
            self._learn(history.event(row))
        self.weight_F = learnt(self._choices, ridge=self.ridge)

    def score(self, user: int, at_ms: int) -> Scores:
        feature_IF = self._features(user, at_ms)
        self._asked = user, at_ms, feature_IF
        return np.asarray(feature_IF @ self.weight_F)

    def apply(self, event: Event) -> None:
        if not self.refit:
            self._take(event)
            return
        self._learn(event)
        if self._number % self.refit == 0 and self._choices:
            self.weight_F = learnt(self._choices, ridge=self.ridge, start_F=self.weight_F)

    def _learn(self, event: Event) -> None:
        """Keep it as a choice, if it is one, and only then let the parts know of it."""
        touched = self._touched.get(event.user, set())
        if event.wanted and event.item not in touched:
            open_I = np.setdiff1d(np.arange(len(self._count_I)), [event.item, *touched])
            many = min(self.others, len(open_I))
            drawn = self._chance.choice(open_I, many, replace=False)
            if self._asked and self._asked[:2] == (event.user, event.at_ms):
                feature_IF = self._asked[2]  # nothing happened since
            else:
                feature_IF = self._features(event.user, event.at_ms)
            self._choices.append(feature_IF[[event.item, *drawn]].astype(np.float16))
        self._take(event)

    def _take(self, event: Event) -> None:
        self._asked = None
        for part in self._parts():
            part.apply(event)
        self._note(event)

    def _parts(self) -> tuple[CoVisitation | Popularity | Content, ...]:
        return self.covisitation, self.popularity, self.season, self.trend, self.content

    def _note(self, event: Event) -> None:
        self._number += 1
        self._newest_ms[event.user] = event.at_ms
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
        lift_LI = self._lifts(user, at_ms)
        columns = [
            *led_RI, *(some * share(follows_I) for follows_I in follows_RI), *lift_LI,
            *(some * popular_I for popular_I in popular_PI),
            *((1 - some) * popular_I for popular_I in popular_PI),
            some * known_I, (1 - some) * known_I,
            depth * known_I, least * known_I, depth * cold_I,
            long * known_I, long * popular_PI[0], long * cold_I,
            long * led_RI[0], long * led_RI[2], long * led_RI[3], long * lift_LI[1],
            cold_I * popular_PI[2], cold_I * led_RI[2],
            *self._pauses(user, at_ms, (led_RI[0], led_RI[2], popular_PI[2], known_I)),
            *self._ages(profile[:10], at_ms),
            *self._likes(user, at_ms, profile, cold_I),
        ]  # fmt: skip
        low = -1
        for few in FEW:
            columns.append((self._count_I > low) & (self._count_I <= few))
            low = few
        return np.stack(columns, axis=1).astype(np.float32)

    def _lifts(self, user: int, at_ms: int) -> Sequence[Scores]:
        """How unlike chance: over more and more of a profile, then for each of its newest."""
        lift_NI = self.covisitation.lifts(user, at_ms, 40)
        count, items = lift_NI.shape
        if not count:
            return [np.zeros(items)] * (len(LIFTED) + ALONE)
        weight_LN = np.power.outer(np.array(LIFTED), np.arange(count))
        weight_LN = weight_LN / weight_LN.sum(axis=1, keepdims=True)
        alone = [lift_NI[n] if n < count else np.zeros(items) for n in range(ALONE)]
        return [*(weight_LN.astype(np.float32) @ lift_NI), *alone]

    def _pauses(self, user: int, at_ms: int, columns: Sequence[Scores]) -> Sequence[Scores]:
        """The columns once more for who touched something just now, and for who comes back."""
        if user not in self._newest_ms:
            return [np.zeros_like(column_I) for _ in range(2) for column_I in columns]
        pause_ms = at_ms - self._newest_ms[user]
        kinds = pause_ms < BURST_MS, pause_ms > BACK_MS
        return [float(kind) * column_I for kind in kinds for column_I in columns]

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


def learnt(
    choices: Collection[Halves], *, ridge: float, start_F: Floats | None = None
) -> Floats:
    """Weights of the most likely choices, each the first row of its C x F: a convex problem,
    solved by Newton's method, by half a step and less where a whole one goes too far."""
    spread_F = np.sqrt(np.mean([each.var(0, np.float32) for each in choices], axis=0))
    spread_F = np.maximum(spread_F, 1e-4)
    weight_F = np.zeros(len(spread_F)) if start_F is None else start_F * spread_F
    loss, slope_F, curve_FF = derived(choices, weight_F, spread_F, ridge=ridge)
    for _ in range(30):
        step_F = np.linalg.solve(curve_FF, slope_F)
        for _ in range(10):
            now, slope_F, curve_FF = derived(
                choices, weight_F - step_F, spread_F, ridge=ridge
            )
            if now < loss:
                break
            step_F /= 2
        if now >= loss:
            break
        weight_F, gained, loss = weight_F - step_F, loss - now, now
        if gained < 1e-5:
            break
    return np.asarray(weight_F / spread_F, np.float32)


def derived(
    choices: Collection[Halves], weight_F: Scores, spread_F: Scores, *, ridge: float
) -> tuple[float, Scores, Scores]:
    """What the choices are not foretold by, with its first and second derivatives."""
    loss = ridge * float(weight_F @ weight_F) * len(choices)
    slope_F = 2 * ridge * weight_F * len(choices)
    curve_FF = 2 * ridge * np.eye(len(weight_F)) * len(choices)
    weight_F = weight_F.astype(np.float32)
    for each in choices:
        # As they differ from the chosen one: its score is 0, and numbers stay small.
        feature_CF = (each.astype(np.float32) - each[0]) / spread_F.astype(np.float32)
        score_C = feature_CF @ weight_F
        top = score_C.max()
        mass_C = np.exp(score_C - top)
        loss += float(np.log(mass_C.sum()) + top)
        mass_C /= mass_C.sum()
        mean_F = mass_C @ feature_CF
        slope_F += mean_F
        curve_FF += (feature_CF * mass_C[:, None]).T @ feature_CF - np.outer(mean_F, mean_F)
    return loss / len(choices), slope_F / len(choices), curve_FF / len(choices)
