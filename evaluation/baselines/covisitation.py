"""Sequential co-visitation: what people touched soon after, weighted by how soon.

The classic of production ("viewed next"), counted online: Markov chains over sessions
(Shani et al. 2005) with lags, as in the session-kNN family (Ludewig, Jannach 2018).

Legend:  I = items,  N = events of a profile, newest first
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from evaluation.baselines.scorer import Profiles, Scores
from evaluation.baselines.simple import grown
from evaluation.recorded import Event, Log


@dataclass(slots=True)
class CoVisitation:
    """follows(j, i) grows by lag^(d-1) when i comes d events after j with the same user, and by
    `back` of that in the other direction;
    score(i) = sum over the profile of recency^n follows(j, i) / ((n_j + 20)^beta (n_i + 5)^alpha).

    `reach`: the farthest lag. `half_life` in events of the log. `online` false: as the history
    left it."""

    reach: int = 50
    lag: float = 0.9
    back: float = 0.7
    recency: float = 0.8
    longest: int = 50
    alpha: float = 0.5
    beta: float = 0.8
    half_life: float = 50_000.0
    online: bool = True
    profiles: Profiles = field(default_factory=Profiles)
    _follows_II: npt.NDArray[np.float32] = field(init=False)
    _count_I: Scores = field(init=False)
    _lag_N: npt.NDArray[np.float32] = field(init=False)
    _mass: float = 0.0
    _gain: float = 1.0

    def fit(self, history: Log) -> None:
        count = len(history.items)
        self._follows_II = np.zeros((count, count), np.float32)
        self._count_I = np.zeros(count)
        self._lag_N = (self.lag ** np.arange(self.reach)).astype(np.float32)
        for event in history.each():
            self._learn(event)

    def score(self, user: int, at_ms: int) -> Scores:
        score_I: Scores = self.readings(user, at_ms, (self.recency,))[0]
        return score_I

    def readings(self, user: int, at_ms: int, recencies: Sequence[float]) -> Scores:
        """R x I: the scores with each of these recencies, from the one table."""
        popular_I = self._count_I / self._gain
        profile_N = self.profiles.known(user, at_ms, self.longest)
        if not profile_N:
            return np.tile(popular_I, (len(recencies), 1))
        weight_RN = np.array(recencies)[:, None] ** np.arange(len(profile_N))
        weight_RN = weight_RN / (popular_I[profile_N] + 20) ** self.beta
        score_RI: Scores = (
            weight_RN.astype(np.float32) @ self._follows_II[profile_N] / self._gain
        )
        # The last term orders what nothing leads to: popular first.
        return np.asarray(score_RI / (popular_I + 5) ** self.alpha + 1e-9 * popular_I)

    def lifts(self, user: int, at_ms: int, limit: int) -> Scores:
        """N x I: for each of the newest `limit` of a profile, the log of how much more often an
        item comes near it than by chance, counts of 1 added: of what is rare, little is said."""
        profile_N = self.profiles.known(user, at_ms, limit)
        share_I = (self._count_I / max(self._count_I.sum(), 1e-12)).astype(np.float32)
        by_chance_NI = np.outer(share_I[profile_N] * (self._mass / self._gain), share_I)
        follows_NI = self._follows_II[profile_N] / np.float32(self._gain)
        return np.asarray(np.log((follows_NI + 1) / (by_chance_NI + 1)))

    def apply(self, event: Event) -> None:
        if self.online:
            self._learn(event)

    def _learn(self, event: Event) -> None:
        if not event.wanted:
            return
        self._gain, scale = grown(self._gain, self.half_life)
        if scale > 1:
            self._count_I /= scale
            self._follows_II /= scale
            self._mass /= scale
        before = self.profiles.newest(event.user, self.reach)
        weight_N = self._gain * self._lag_N[: len(before)]
        # An item that stands in `before` twice counts once: numpy adds to a place once.
        self._follows_II[before, event.item] += weight_N
        self._follows_II[event.item, before] += self.back * weight_N
        self._mass += (1 + self.back) * float(weight_N.sum())
        self._count_I[event.item] += self._gain
        self.profiles.add(event)
