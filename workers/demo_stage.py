"""The demo as an outside program sees the system: it produces, and reads committed lists.

One thread, one clock: an event's time is taken when it is handed to the producer, a list's
when it is read. So the waits hold everything between: producer, broker, worker, consumer.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

import msgspec

from schemas import (
    CONTENT_TYPES,
    Interaction,
    Item,
    Media,
    Query,
    Slate,
    Undo,
    Visit,
    encode,
)
from workers.children import Child, check
from workers.config import Config, topic
from workers.kafka import KafkaTail, LiveWriter
from workers.ledger import Ledger, Pace
from workers.lines import ROLE_OF, key_of
from workers.ports import Outbound
from workers.terminal import CommandError

Sendable = Interaction | Item | Media | Query | Undo | Visit
HEADERS = (("content-type", CONTENT_TYPES["msgpack"].encode()),)
OWED = (Interaction, Undo, Visit, Query)
HEAR_S = 0.05
CHECK_EVERY_S = 1.0
_slates = msgspec.msgpack.Decoder(Slate)


@dataclass(slots=True, kw_only=True)
class Stage:
    """What the demo holds while it runs. `latest` is the newest list of each person."""

    config: Config
    writer: LiveWriter
    lists: KafkaTail
    vectors: KafkaTail
    children: Sequence[Child]
    ledger: Ledger = field(default_factory=Ledger)
    latest: dict[str, Slate] = field(default_factory=dict)
    answers: dict[str, Slate] = field(
        default_factory=dict
    )  # by event, for the few asked for
    encoded: dict[str, set[str]] = field(default_factory=dict)  # item: its slots' names
    _asked: set[str] = field(default_factory=set)
    _checked_s: float = 0.0

    def send(self, record: Sendable, *, phase: str = "story") -> float:
        """Produces one record; returns when."""
        at_s = time.perf_counter()
        if isinstance(record, OWED):
            self.ledger.sent(record.event_id, at_s=at_s, phase=phase)
        kind = str(record.__struct_config__.tag)
        name = topic(self.config.kafka, ROLE_OF[kind])
        key = key_of(record).encode()
        self.writer.send(Outbound(name, key, encode(record), headers=HEADERS))
        return at_s

    def hear(self, *, timeout_s: float = HEAR_S) -> list[tuple[float, Slate]]:
        """The lists that have come, with the time at which they were read."""
        records = self.lists.refresh(limit=2_000, timeout_s=timeout_s)
        at_s, heard = time.perf_counter(), []
        for record in records:
            if record.value is None:
                continue
            slate = _slates.decode(record.value)
            self.ledger.listed(slate.caused_by, at_s=at_s)
            self.latest[slate.user_id] = slate
            for event_id in self._asked.intersection(slate.caused_by):
                self.answers[event_id] = slate
            heard.append((at_s, slate))
        if at_s - self._checked_s > CHECK_EVERY_S:
            self._checked_s = at_s
            check(self.children)
            self.writer.settle(timeout_s=0)
        return heard

    def until(self, condition: Callable[[], bool], *, limit_s: float, what: str) -> None:
        """Listens until something is so; a CommandError says what did not come about."""
        deadline = time.perf_counter() + limit_s
        while not condition():
            if time.perf_counter() > deadline:
                raise CommandError(
                    f"waited {limit_s:g} s for {what}; see the workers' logs"
                )
            self.hear()

    def ask(
        self, event: Visit | Undo | Interaction | Query, *, limit_s: float = 30.0
    ) -> Slate:
        """Sends one event of a person and waits for the list that names it."""
        self._asked.add(event.event_id)
        self.send(event)
        self.until(
            lambda: event.event_id in self.answers,
            limit_s=limit_s,
            what=f"the list that answers {event.event_id}",
        )
        self._asked.discard(event.event_id)
        return self.answers[event.event_id]

    def expect(self, names: Iterable[str]) -> None:
        """Keep the lists that name these records, ours or Signals of the workers, as answers."""
        self._asked.update(names)

    def look_at_vectors(self, *, timeout_s: float = 0.0) -> None:
        """Takes in which items have vectors by now, and of what."""
        from schemas import ItemVectors, decode

        for record in self.vectors.refresh(limit=500, timeout_s=timeout_s):
            if record.value is None:
                continue
            item = decode("item-vectors", record.value, record.header("content-type"))
            assert isinstance(item, ItemVectors)
            self.encoded[item.item_id] = set(item.slots)

    def stream(
        self,
        events: Iterable[Interaction],
        *,
        window: int,
        progress: Callable[[Interaction], None],
    ) -> None:
        """As fast as lists come back: at most `window` events wait for theirs."""
        for event in events:
            while self.ledger.open >= window:
                self.hear()
            self.send(event, phase="bulk")
            progress(event)
            if self.writer.sent % 100 == 0:
                self.hear(timeout_s=0.0)

    def stream_steadily(
        self,
        events: Sequence[Interaction],
        *,
        per_s: float,
        progress: Callable[[Interaction], None],
    ) -> None:
        """Each event at its time, whatever comes back."""
        pace, number = Pace(per_s, time.perf_counter()), 0
        while number < len(events):
            now_s = time.perf_counter()
            for event in events[number : pace.due(now_s)]:
                self.send(event, phase="steady")
                progress(event)
                number += 1
            left_s = pace.due_at_s(number) - time.perf_counter()
            self.hear(timeout_s=min(max(left_s, 0.0), HEAR_S))

    def drain(self, *, limit_s: float) -> None:
        """Listens until every event has its list, at most so long; what is missing then is
        lost, and the ledger knows it. A little longer, to see what is named twice."""
        deadline = time.perf_counter() + limit_s
        while self.ledger.open and time.perf_counter() < deadline:
            self.hear()
        if left := self.writer.settle(timeout_s=10.0):
            raise CommandError(f"{left} records were not acknowledged by the broker")
        quiet_s = time.perf_counter() + 0.5
        while time.perf_counter() < quiet_s:
            self.hear()


def open_stage(config: Config, children: Sequence[Child], stack: ExitStack) -> Stage:
    """The demo's own clients, closed with the stack."""
    writer = LiveWriter(config.kafka)
    stack.callback(writer.close)
    tails = []
    for role in ("recommendations", "item-vectors"):
        tail = KafkaTail(config.kafka, topics=[topic(config.kafka, role)], from_start=True)
        stack.callback(tail.close)
        tails.append(tail)
    return Stage(
        config=config, writer=writer, lists=tails[0], vectors=tails[1], children=children
    )
