"""Doors that are timed: the same doors, with what a call took in the metrics."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from workers import metrics
from workers.ports import (
    Outbound,
    Partition,
    Polled,
    Progress,
    Sink,
    Source,
    StoredUser,
    UserStore,
)


@dataclass(frozen=True, slots=True)
class MeasuredStore:
    """A user store whose calls are timed and whose absence is seen (`store_up`)."""

    store: UserStore

    def load(self, point_ids: Sequence[str]) -> dict[str, StoredUser]:
        with metrics.store("load"):
            return self.store.load(point_ids)

    def save(self, users: Sequence[StoredUser]) -> int:
        with metrics.store("save"):
            return self.store.save(users)

    def progress(self, partitions: Sequence[int]) -> dict[int, Progress]:
        with metrics.store("progress"):
            return self.store.progress(partitions)

    def advance(self, progress: Sequence[Progress]) -> None:
        with metrics.store("advance"):
            self.store.advance(progress)

    def close(self) -> None:
        self.store.close()


@dataclass(frozen=True, slots=True)
class MeasuredSink:
    """A sink whose acknowledged publishes are timed."""

    sink: Sink

    def publish(
        self, outbound: Sequence[Outbound], next_offsets: Mapping[Partition, int]
    ) -> None:
        started = time.perf_counter()
        self.sink.publish(outbound, next_offsets)
        metrics.commit(time.perf_counter() - started)


@dataclass(frozen=True, slots=True)
class MeasuredSource:
    """A source that remembers the age of what it gave: how far behind a reader is, in time."""

    source: Source
    newest_ms: dict[Partition, int] = field(default_factory=dict)

    def poll(self, *, timeout_s: float, limit: int) -> Polled:
        polled = self.source.poll(timeout_s=timeout_s, limit=limit)
        for record in polled.records:
            self.newest_ms[record.topic, record.partition] = record.timestamp_ms
        for partition in polled.lost:
            self.newest_ms.pop(partition, None)
        return polled

    def begin(self, offsets: Mapping[Partition, int]) -> None:
        self.source.begin(offsets)

    def committed(self, partitions: Sequence[Partition]) -> dict[Partition, int]:
        return self.source.committed(partitions)

    def bounds(self, partitions: Sequence[Partition]) -> dict[Partition, tuple[int, int]]:
        return self.source.bounds(partitions)

    def report(self, behind: Mapping[Partition, int], *, now_ms: float) -> None:
        """Show the lag: these many records, and since when they wait at the longest."""
        for (topic, number), messages in behind.items():
            newest_ms = self.newest_ms.get((topic, number), now_ms) if messages else now_ms
            metrics.lag(topic, number, messages, max(0.0, now_ms - newest_ms) / 1000)
