"""The log in memory: the same doors as Kafka's, for tests, evaluation and small tools.

One process, one thread, a clock that is handed in. What Kafka makes hard is here too: a
group whose members give up before others take over, a member that is replaced by one of its
name, publishing that is all or nothing.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from workers.ports import FatalError, Outbound, Partition, Polled, Record, Restarted

MASK = 0xFFFFFFFF


def murmur2_partition(key: bytes, partitions: int) -> int:
    """Where Java's and our producers put a key."""
    return (_murmur2(key) & 0x7FFFFFFF) % partitions


def _murmur2(data: bytes) -> int:
    m, h = 0x5BD1E995, 0x9747B28C ^ len(data)
    whole = len(data) & ~3
    for at in range(0, whole, 4):
        k = (int.from_bytes(data[at : at + 4], "little") * m) & MASK
        k = ((k ^ (k >> 24)) * m) & MASK
        h = ((h * m) & MASK) ^ k
    if whole < len(data):
        h = ((h ^ int.from_bytes(data[whole:], "little")) * m) & MASK
    h = ((h ^ (h >> 13)) * m) & MASK
    return h ^ (h >> 15)


@dataclass
class _Log:
    """One partition: what there is of the offsets from `first` up to `end`."""

    first: int = 0
    end: int = 0
    records: list[Record] = field(default_factory=list)

    def append(self, record: Record) -> None:
        self.records.append(record)
        self.end += 1

    def read(self, offset: int, limit: int) -> list[Record]:
        start = bisect_left(self.records, offset, key=lambda record: record.offset)
        return self.records[start : start + limit]


@dataclass
class _Group:
    """Who reads what: `target` is what was agreed, `owner` what holds now. A partition has a
    new owner only after the old one has given it up or is gone."""

    members: dict[str, MemorySource] = field(default_factory=dict)
    target: dict[Partition, str] = field(default_factory=dict)
    owner: dict[Partition, MemorySource] = field(default_factory=dict)
    committed: dict[Partition, int] = field(default_factory=dict)

    def share(self, partitions: Iterable[Partition]) -> None:
        """By partition number, so that one number of all topics has one reader."""
        names = sorted(self.members)
        self.target = {at: names[at[1] % len(names)] for at in partitions} if names else {}


class MemoryLog:
    """Topics with partitions, and the offsets of groups."""

    def __init__(self, topics: Mapping[str, int], *, now_ms: Callable[[], int]) -> None:
        """`topics`: partitions of each. `now_ms` stamps what is appended."""
        self.partitions = dict(topics)
        self._logs = {
            (name, number): _Log()
            for name, count in topics.items()
            for number in range(count)
        }
        self._groups: dict[str, _Group] = {}
        self._now_ms = now_ms
        self._keyless = 0

    def append(
        self, outbound: Iterable[Outbound], *, at_ms: int | None = None
    ) -> list[Partition]:
        """Appends all or, where one can't be placed, none (FatalError). Returns each one's
        topic and partition."""
        placed = [(self._place(record), record) for record in outbound]
        at_ms = self._now_ms() if at_ms is None else at_ms
        for (topic, number), record in placed:
            log = self._logs[(topic, number)]
            stored = Record(
                topic, number, log.end, at_ms, record.key, record.value, record.headers
            )
            log.append(stored)
        return [where for where, _ in placed]

    def records(self, topic: str) -> list[Record]:
        """All that the topic has, partition by partition."""
        return [record for at in self.numbers([topic]) for record in self._logs[at].records]

    def bounds(self, partition: Partition) -> tuple[int, int]:
        """First offset that is still there, and the end."""
        log = self._logs[partition]
        return log.first, log.end

    def expire(self, partition: Partition, first: int) -> None:
        """Retention: what is before offset `first` is gone."""
        log = self._logs[partition]
        log.records, log.first = log.read(first, len(log.records)), first

    def compact(self, topic: str) -> None:
        """Compaction: of each key only the last record is left, at its old offset."""
        for at in self.numbers([topic]):
            log = self._logs[at]
            last = {record.key: record.offset for record in log.records}
            log.records = [r for r in log.records if last[r.key] == r.offset]

    def numbers(self, topics: Iterable[str]) -> list[Partition]:
        """Every partition of these topics."""
        return [(name, n) for name in topics for n in range(self._count(name))]

    def read(self, partition: Partition, offset: int, limit: int) -> list[Record]:
        """At most `limit` records from this offset on; FatalError for one out of range."""
        log = self._logs[partition]
        if not log.first <= offset <= log.end:
            raise FatalError(
                f"{partition} has no offset {offset}: the log no longer has the records to go "
                "on from; raise its retention, then run `rec rebuild`"
            )
        return log.read(offset, limit)

    def group(self, name: str) -> _Group:
        return self._groups.setdefault(name, _Group())

    def _place(self, record: Outbound) -> Partition:
        count = self._count(record.topic)
        number = record.partition
        if number is None and record.key is not None:
            number = murmur2_partition(record.key, count)
        elif number is None:
            self._keyless += 1
            number = self._keyless % count
        if not 0 <= number < count:
            raise FatalError(f"{record.topic} has no partition {number}")
        return record.topic, number

    def _count(self, topic: str) -> int:
        if topic not in self.partitions:
            raise FatalError(f"no topic {topic}: run `rec topics create`")
        return self.partitions[topic]


class MemorySource:
    """A member of a group, under a worker's name. A second one of the same name takes its
    place, and the first is fenced."""

    def __init__(
        self,
        log: MemoryLog,
        *,
        topics: Sequence[str],
        group: str,
        worker: str = "worker-0",
        before_revoke: Callable[[frozenset[Partition]], None] | None = None,
    ) -> None:
        """Joins the group: the partitions are shared anew, and change hands at the polls."""
        self.group, self.worker = group, worker
        self._log, self._group = log, log.group(group)
        self._before_revoke = before_revoke
        self._partitions = log.numbers(topics)
        self._next: dict[Partition, int] = {}
        self._lost: set[Partition] = set()
        former = self._group.members.get(worker)
        if former is not None:
            former._leave()
        self._group.members[worker] = self
        self._group.share(self._partitions)

    def poll(self, *, timeout_s: float, limit: int) -> Polled:  # noqa: ARG002  # the door's
        """As Source promises; never waits, for nobody else could write meanwhile."""
        self._check()
        self._give_up()
        gained = self._take_over()
        lost, self._lost = frozenset(self._lost), set()
        return Polled(self._read(limit), gained, lost)

    def begin(self, offsets: Mapping[Partition, int]) -> None:
        """As Source promises; partitions that are not ours any more are passed over."""
        self._next.update({at: n for at, n in offsets.items() if self._owns(at)})

    def committed(self, partitions: Sequence[Partition]) -> dict[Partition, int]:
        """As Source promises."""
        known = self._group.committed
        return {at: known[at] for at in partitions if at in known}

    def bounds(self, partitions: Sequence[Partition]) -> dict[Partition, tuple[int, int]]:
        """As Source promises."""
        return {at: self._log.bounds(at) for at in partitions}

    def lag(self) -> dict[Partition, int]:
        """Records between us and the end of each partition that we read."""
        return {at: self._log.bounds(at)[1] - offset for at, offset in self._next.items()}

    def holds(self, partitions: Collection[Partition]) -> bool:
        """Whether all of these are ours and have begun."""
        return all(at in self._next and self._owns(at) for at in partitions)

    def assign(self, partitions: Iterable[Partition]) -> None:
        """The group agrees that these are ours: we gain them once nobody holds them."""
        self._group.target.update(dict.fromkeys(partitions, self.worker))

    def revoke(self, partitions: Iterable[Partition]) -> None:
        """The group agrees that these are nobody's: the next poll hands them over."""
        for at in partitions:
            self._group.target.pop(at, None)

    def expire(self) -> None:
        """The group gives this member up, as if it had been silent for too long: nothing is
        handed over, others take what it had, and its next poll tells that it is lost."""
        self._lost |= {at for at, owner in self._group.owner.items() if owner is self}
        self._leave()
        self._group.members.pop(self.worker, None)
        self._group.share(self._partitions)

    def close(self) -> None:
        """Stops reading. The membership stays, for the next one of this name."""

    def _check(self) -> None:
        member = self._group.members.setdefault(self.worker, self)
        if member is not self:
            raise FatalError(
                f"another worker runs under the name {self.worker!r}; "
                "give each worker its own STREAMREC_KAFKA__WORKER"
            )
        if not self._group.target:
            self._group.share(self._partitions)

    def _owns(self, at: Partition) -> bool:
        return self._group.owner.get(at) is self

    def _give_up(self) -> None:
        owner, target = self._group.owner, self._group.target
        leaving = frozenset(
            at for at in owner if owner[at] is self and target.get(at) != self.worker
        )
        try:
            if leaving and self._before_revoke is not None:
                self._before_revoke(leaving)
        finally:
            for at in leaving:
                del owner[at]
                self._next.pop(at, None)
            self._lost |= leaving

    def _take_over(self) -> frozenset[Partition]:
        owner, target = self._group.owner, self._group.target
        gained = [
            at for at, name in target.items() if name == self.worker and at not in owner
        ]
        owner.update(dict.fromkeys(gained, self))
        return frozenset(gained)

    def _leave(self) -> None:
        owner = self._group.owner
        for at in [at for at in owner if owner[at] is self]:
            del owner[at]
        self._next.clear()

    def _read(self, limit: int) -> list[Record]:
        """From each partition in turn; who was read now waits behind the others."""
        records: list[Record] = []
        for at in list(self._next):
            found = self._log.read(at, self._next[at], limit - len(records))
            if found:
                del self._next[at]
                self._next[at] = found[-1].offset + 1
                records += found
        return records


class MemorySink:
    """Records and the group's offsets at once, or neither."""

    def __init__(self, log: MemoryLog, source: MemorySource) -> None:
        self.failures: deque[Exception] = deque()
        """What the next calls raise, having written nothing."""
        self._log, self._source = log, source

    def publish(
        self, outbound: Sequence[Outbound], next_offsets: Mapping[Partition, int]
    ) -> None:
        """As Sink promises."""
        if self.failures:
            raise self.failures.popleft()
        if not self._source.holds(next_offsets):
            raise Restarted("the partitions are no longer ours", frozenset(next_offsets))
        self._log.append(outbound)
        self._log.group(self._source.group).committed.update(next_offsets)

    def close(self) -> None:
        """Nothing is open between calls."""


class MemoryTable:
    """All partitions of topics from their beginning."""

    def __init__(
        self,
        log: MemoryLog,
        *,
        topics: Sequence[str],
        only: Collection[int] | None = None,
        starts: Mapping[Partition, int] | None = None,
    ) -> None:
        """Opens at the start. `only`: these partition numbers. `starts`: where to read on."""
        self._log = log
        self._next: dict[Partition, int] = {}
        self._end: dict[Partition, int] = {}
        for at in log.numbers(topics):
            if only is None or at[1] in only:
                first, self._end[at] = log.bounds(at)
                self._next[at] = min(
                    self._end[at], max(first, (starts or {}).get(at, first))
                )

    def refresh(
        self,
        *,
        limit: int,
        timeout_s: float,  # noqa: ARG002  # the door's
    ) -> list[Record]:
        """As Table promises; never waits."""
        records: list[Record] = []
        for at, offset in self._next.items():
            found = self._log.read(at, offset, limit - len(records))
            records += found
            if found:
                self._next[at] = found[-1].offset + 1
            elif len(records) < limit:
                self._next[at] = self._log.bounds(at)[1]
        return records

    def behind(self) -> int:
        """As Table promises."""
        return sum(max(0, self._end[at] - offset) for at, offset in self._next.items())

    def close(self) -> None:
        """Nothing is held."""
