"""What an outside consumer can prove: which events were named by a list, when, how often.

Pure: times are arguments, in seconds of one clock. An event that asks for a list is owed one
and is named by exactly one; never named means lost, named twice means doubled.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field


@dataclass(slots=True)
class Ledger:
    """Events sent, and lists seen. `phase` groups latencies that belong together."""

    sent_at_s: dict[str, float] = field(default_factory=dict)
    phase_of: dict[str, str] = field(default_factory=dict)
    named: Counter[str] = field(default_factory=Counter)
    waited_s: dict[str, list[float]] = field(default_factory=dict)
    lists: int = 0
    open: int = 0

    def sent(self, event_id: str, *, at_s: float, phase: str) -> None:
        """An event that is owed a list was produced."""
        if event_id in self.sent_at_s:
            raise ValueError(f"{event_id} was sent before: an event id names one event")
        self.sent_at_s[event_id] = at_s
        self.phase_of[event_id] = phase
        self.open += 1

    def listed(self, caused_by: Iterable[str], *, at_s: float) -> None:
        """A list was read. Names of records that others sent (signals) are not counted."""
        self.lists += 1
        for event_id in caused_by:
            if (began_s := self.sent_at_s.get(event_id)) is None:
                continue
            self.named[event_id] += 1
            if self.named[event_id] == 1:
                self.open -= 1
                self.waited_s.setdefault(self.phase_of[event_id], []).append(at_s - began_s)

    def lost(self) -> list[str]:
        """Events that no list has named so far."""
        return [event_id for event_id in self.sent_at_s if not self.named[event_id]]

    def doubled(self) -> list[str]:
        """Events that more than one list named."""
        return [event_id for event_id, times in self.named.items() if times > 1]


def percentile(values: Sequence[float], percent: float) -> float:
    """Nearest-rank percentile: a value that was really measured. NaN without any."""
    if not values:
        return float("nan")
    rank = -(-percent * len(values) // 100)  # ceiling
    return sorted(values)[max(int(rank), 1) - 1]


@dataclass(frozen=True, slots=True)
class Pace:
    """A steady rate: event number n is due n / rate seconds after the start."""

    per_s: float
    began_s: float

    def due(self, now_s: float) -> int:
        """How many events should have been sent by now."""
        return int((now_s - self.began_s) * self.per_s) + 1 if now_s >= self.began_s else 0

    def due_at_s(self, number: int) -> float:
        """When the event with this number (from 0) is due."""
        return self.began_s + number / self.per_s
