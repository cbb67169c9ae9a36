"""EASE (Steck 2019): one linear item-item model in closed form.

Legend:  I = items,  U = users,  N = events of a profile, newest first
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from evaluation.baselines.scorer import Profiles, Scores
from evaluation.baselines.simple import grown
from evaluation.recorded import Event, Log


@dataclass(slots=True)
class Ease:
    """B = I - P / diag(P), P = (G + l2)^-1; score = profile B / (n_i + 5)^alpha.

    G = X'X, with recency in it: a pair of a user's items that are d events apart counts lag^d,
    and half as much after each `half_life` events of the log (lag 1 and half_life 0: Steck's).
    lag^|d| is a positive definite kernel, so G stays a Gram matrix. `recency`: the weight of a
    user's event falls by this factor with each newer one, when he is asked. `refit` events of
    the stream: solved anew; 0: never, and profiles still follow the stream if `online`."""

    l2: float = 300.0
    recency: float = 1.0
    longest: int = 1000
    refit: int = 0
    alpha: float = 0.0
    lag: float = 1.0
    half_life: float = 0.0
    online: bool = True
    profiles: Profiles = field(default_factory=Profiles)
    _count_I: Scores = field(init=False)
    _gram_II: Scores = field(init=False)
    _model_II: npt.NDArray[np.float32] = field(init=False)
    _recency_N: npt.NDArray[np.float32] = field(init=False)
    _lag_N: npt.NDArray[np.float64] = field(init=False)
    _gain: float = 1.0
    _since: int = 0

    def fit(self, history: Log) -> None:
        count = len(history.items)
        self._gram_II = np.zeros((count, count), np.float64)
        self._count_I = np.zeros(count)
        self._recency_N = (self.recency ** np.arange(self.longest)).astype(np.float32)
        self._lag_N = np.power(self.lag, np.arange(1, self.longest + 1), dtype=np.float64)
        for event in history.each():
            self._count(event)
        self._solve()

    def score(self, user: int, at_ms: int) -> Scores:
        profile_N = self.profiles.known(user, at_ms, self.longest)
        if not profile_N:
            return self._count_I.copy()
        score_I: Scores = self._recency_N[: len(profile_N)] @ self._model_II[profile_N]
        return score_I + 1e-9 * self._count_I

    def apply(self, event: Event) -> None:
        if not self.online:
            return
        self._count(event)
        self._since += 1
        if self.refit and self._since >= self.refit:
            self._solve()

    def _count(self, event: Event) -> None:
        if not event.wanted:
            return
        self._gain, scale = grown(self._gain, self.half_life)
        if scale > 1:
            self._count_I /= scale
            self._gram_II /= scale
        before = self.profiles.newest(event.user, self.longest)
        weight_N = self._gain * self._lag_N[: len(before)]
        self._gram_II[before, event.item] += weight_N
        self._gram_II[event.item, before] += weight_N
        self._gram_II[event.item, event.item] += self._gain
        self._count_I[event.item] += self._gain
        self.profiles.add(event)

    def _solve(self) -> None:
        inverse_II = np.linalg.inv(
            self._gram_II / self._gain + self.l2 * np.eye(len(self._gram_II))
        )
        model_II: Scores = -inverse_II / np.diag(inverse_II)
        np.fill_diagonal(model_II, 0)
        self._model_II = (model_II / (self._count_I / self._gain + 5) ** self.alpha).astype(
            np.float32
        )
        self._since = 0
