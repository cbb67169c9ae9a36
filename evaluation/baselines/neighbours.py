"""Item-kNN: items that the same people touched (Sarwar et al. 2001; Deshpande, Karypis 2004).

Legend:  I = items,  N = events of a profile, newest first
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from evaluation.baselines.scorer import Profiles, Scores
from evaluation.baselines.simple import grown
from evaluation.recorded import Event, Log


@dataclass(slots=True)
class ItemKnn:
    """score(i) = sum over the profile of recency x together(j, i) / (n_j^beta (n_i + shrink)^alpha).

    `together` counts users who touched both, whatever the order; `alpha` = `beta` = 0.5 is the
    cosine. `recency`: the weight of a user's event falls by this factor with each newer one
    (1: all alike). `online`: counts and profiles follow the stream; else both stay as the
    history left them. `half_life` in events of the log: older pairs count less; 0: never."""

    alpha: float = 0.5
    beta: float = 0.5
    shrink: float = 10.0
    recency: float = 1.0
    longest: int = 1000
    half_life: float = 0.0
    online: bool = True
    profiles: Profiles = field(default_factory=Profiles)
    _together_II: npt.NDArray[np.float32] = field(init=False)
    _count_I: Scores = field(init=False)
    _recency_N: Scores = field(init=False)
    _gain: float = 1.0

    def fit(self, history: Log) -> None:
        count = len(history.items)
        self._together_II = np.zeros((count, count), np.float32)
        self._count_I = np.zeros(count)
        self._recency_N = self.recency ** np.arange(self.longest)
        for event in history.each():
            self._learn(event)

    def score(self, user: int, at_ms: int) -> Scores:
        popular_I = self._count_I / self._gain
        profile_N = self.profiles.known(user, at_ms, self.longest)
        if not profile_N:
            return popular_I
        weight_N = self._recency_N[: len(profile_N)]
        weight_N = weight_N / (popular_I[profile_N] + self.shrink) ** self.beta
        score_I: Scores = (
            weight_N.astype(np.float32) @ self._together_II[profile_N] / self._gain
        )
        # The last term orders what nobody touched together: popular first.
        return np.asarray(
            score_I / (popular_I + self.shrink) ** self.alpha + 1e-9 * popular_I
        )

    def apply(self, event: Event) -> None:
        if self.online:
            self._learn(event)

    def _learn(self, event: Event) -> None:
        if not event.wanted:
            return
        self._gain, scale = grown(self._gain, self.half_life)
        if scale > 1:
            self._count_I /= scale
            self._together_II /= scale
        before = self.profiles.newest(event.user, self.longest)
        self._together_II[before, event.item] += self._gain
        self._together_II[event.item, before] += self._gain
        self._count_I[event.item] += self._gain
        self.profiles.add(event)
