"""Random, and what is popular: the floor of every table."""

from dataclasses import dataclass, field

import numpy as np

from evaluation.baselines.scorer import Scores
from evaluation.recorded import Event, Log


@dataclass(slots=True)
class Chance:
    """Any item. What a metric says of chance is what it says of nothing."""

    seed: int = 0
    _rng: np.random.Generator = field(init=False)
    _count: int = 0

    def fit(self, history: Log) -> None:
        self._rng = np.random.default_rng(self.seed)
        self._count = len(history.items)

    def score(self, user: int, at_ms: int) -> Scores:  # noqa: ARG002
        return self._rng.random(self._count)

    def apply(self, event: Event) -> None: ...


@dataclass(slots=True)
class Popularity:
    """How often an item was wanted. `half_life`: after so many events of the whole log an
    event counts half; 0: for ever. `online`: the stream counts too."""

    half_life: float = 0.0
    online: bool = True
    _mass_I: Scores = field(init=False)
    _gain: float = 1.0

    def fit(self, history: Log) -> None:
        self._mass_I = np.zeros(len(history.items))
        for event in history.each():
            self._count(event)

    def score(self, user: int, at_ms: int) -> Scores:  # noqa: ARG002
        return self._mass_I / self._gain

    def apply(self, event: Event) -> None:
        if self.online:
            self._count(event)

    def _count(self, event: Event) -> None:
        if not event.wanted:
            return
        # Decay is relative: the newer counts more, instead of all the older less.
        self._gain, scale = grown(self._gain, self.half_life)
        self._mass_I /= scale
        self._mass_I[event.item] += self._gain


def grown(gain: float, half_life: float) -> tuple[float, float]:
    """The next event's weight, and what to divide it and all masses by before they leave
    float32 (nearly always 1). `half_life` in events; 0: weights stay."""
    if not half_life:
        return gain, 1.0
    gain *= 2 ** (1 / half_life)
    return (1.0, gain) if gain > 1e12 else (gain, 1.0)
