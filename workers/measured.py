"""Doors that are timed: the same doors, with what a call took in the metrics."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from workers import metrics
from workers.ports import Outbound, Partition, Progress, Sink, StoredUser, UserStore


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
