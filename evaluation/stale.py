"""The lift of live state: the same recommender, told of events late.

Two kinds of late: as old as an age at every moment (`1min-old`: a queue that lags), and
refreshed at every full age (`1min`: a job that runs each minute, hour, day), which is half as
old on average.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from evaluation.protocol import Recommender
from evaluation.recorded import Event, Ints, Log

AGES_MS = {"1min": 60_000, "5min": 300_000, "1h": 3_600_000, "1d": 86_400_000}


def refreshed(now_ms: int, age_ms: int) -> int:
    """Up to when events are known, if all were taken in at the last full `age_ms`."""
    return now_ms // age_ms * age_ms


def aged(now_ms: int, age_ms: int) -> int:
    """Up to when events are known, if each takes `age_ms` to arrive."""
    return now_ms - age_ms


KINDS: Mapping[str, Callable[[int, int], int]] = {"": refreshed, "-old": aged}
"""By the end of a name."""


@dataclass(slots=True)
class Stale:
    """Holds `Recommender`. When somebody is asked, `inner` has heard of the events up to
    `known(now, age_ms)`: what it knows of people and of the world ends there. The harness
    still excludes all that a user touched, as any shop does at the moment of showing."""

    inner: Recommender
    age_ms: int
    label: str
    known: Callable[[int, int], int] = aged
    _waiting: deque[Event] = field(default_factory=deque)

    @property
    def name(self) -> str:
        return f"{self.inner.name}@{self.label}"

    @property
    def settings(self) -> str:
        return f"{self.inner.settings} age_ms={self.age_ms} {self.known.__name__}".strip()

    def fit(self, history: Log) -> None:
        """The history is known whole: the delay is the stream's."""
        self.inner.fit(history)

    def lists(
        self, user_U: Ints, at_ms_U: Ints, *, k: int, exclude: Sequence[Ints]
    ) -> Ints:
        self._tell(self.known(int(at_ms_U.max()), self.age_ms))
        return self.inner.lists(user_U, at_ms_U, k=k, exclude=exclude)

    def apply(self, event: Event) -> None:
        self._waiting.append(event)

    def _tell(self, until_ms: int) -> None:
        while self._waiting and self._waiting[0].at_ms <= until_ms:
            self.inner.apply(self._waiting.popleft())


def stale(recommender: Recommender, age: str, kind: str = "") -> Recommender:
    """`recommender` with state of this age, a key of AGES_MS, and kind, a key of KINDS."""
    return Stale(recommender, AGES_MS[age], age + kind, KINDS[kind])
