"""The lift of live state: the same recommender, told of events only when they are old."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from evaluation.protocol import Recommender
from evaluation.recorded import Event, Ints, Log

AGES_MS = {"1min": 60_000, "5min": 300_000, "1h": 3_600_000, "1d": 86_400_000}


@dataclass(slots=True)
class Stale:
    """Holds `Recommender`. An event reaches `inner` when somebody is asked `age_ms` or more
    after it happened: what it knows of people and of the world is that old. The harness still
    excludes all that a user touched, as any shop does at the moment of showing."""

    inner: Recommender
    age_ms: int
    label: str
    _waiting: deque[Event] = field(default_factory=deque)

    @property
    def name(self) -> str:
        return f"{self.inner.name}@{self.label}"

    @property
    def settings(self) -> str:
        return f"{self.inner.settings} age_ms={self.age_ms}".strip()

    def fit(self, history: Log) -> None:
        """The history is known whole: the delay is the stream's."""
        self.inner.fit(history)

    def lists(
        self, user_U: Ints, at_ms_U: Ints, *, k: int, exclude: Sequence[Ints]
    ) -> Ints:
        self._tell(int(at_ms_U.max()) - self.age_ms)
        return self.inner.lists(user_U, at_ms_U, k=k, exclude=exclude)

    def apply(self, event: Event) -> None:
        self._waiting.append(event)

    def _tell(self, until_ms: int) -> None:
        while self._waiting and self._waiting[0].at_ms <= until_ms:
            self.inner.apply(self._waiting.popleft())


def stale(recommender: Recommender, age: str) -> Recommender:
    """`recommender` with state of this age: a key of AGES_MS."""
    return Stale(recommender, AGES_MS[age], age)
