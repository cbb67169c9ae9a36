"""What an encode worker moves between, and what it has under way. Bounded everywhere.

One batch is with the model, one is prepared, one is gathered; then nothing more is polled. Beside
them waits about a batch of those whose content is slow to come.
"""

import math
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor

from encoders.fusion_load import Fusion
from workers.contents import Topics
from workers.health import Health
from workers.model import Key, Model
from workers.plan import Plan
from workers.ports import Outbound, Partition, Sink, Source, Table
from workers.prepare import Batch, Preparer, all_done
from workers.shelf import Shelf

IDLE_S, BUSY_S = 0.05, 0.005  # how long a poll may wait for records
COMMIT_S = 1.0  # how long the offsets of records without content wait for company


class OpenTable(Table, Protocol):
    """A table that is read once and closed."""

    def close(self) -> None: ...


@dataclass(slots=True, eq=False)
class InFlight:
    """A batch with the model, and then what it comes to until the log has it."""

    batch: Batch
    plan: Plan
    vectors: Future[dict[Key, Tensor]]
    outbound: list[Outbound] | None = None

    def drop(self, numbers: set[int]) -> None:
        """Forget what came from these partitions. (Dead letters have none: one that is made
        twice does no harm.)"""
        self.batch.drop(numbers)
        self.plan.drop(numbers)
        if self.outbound is not None:
            self.outbound = [o for o in self.outbound if o.partition not in numbers]


@dataclass(slots=True, eq=False, kw_only=True)
class Worker:
    """Everything of one encode worker. `open_table`: rec.item-vectors of these partition
    numbers. `pending` partitions are to begin once their items are restored; `outdated`
    numbers may have items of another space. `waiting` are jobs without offsets; `reached`: where
    to read on but for them. `session_s`: how long the group believes in who says nothing."""

    source: Source
    sink: Sink
    open_table: Callable[[set[int]], OpenTable]
    shelf: Shelf
    preparer: Preparer
    model: Model
    topics: Topics
    fusion: Fusion
    batch: int
    batch_wait_s: float
    health: Health = field(default_factory=Health)
    report: Callable[[], None] = lambda: None  # after each commit: what only gauges show
    rollout: "Callable[[Worker, float], None] | None" = None  # follows a fusion's card
    pending: set[Partition] = field(default_factory=set)
    restoring: OpenTable | None = None
    outdated: set[int] = field(default_factory=set)
    owed: bool = False  # whether content was encoded since items were last fused again
    gathered: Batch = field(default_factory=Batch)
    preparing: Batch | None = None
    encoding: InFlight | None = None
    waiting: Batch = field(default_factory=Batch)
    patient_until_s: float = 0.0
    reached: dict[Partition, int] = field(default_factory=dict)
    session_s: float = math.inf

    def drop(self, numbers: set[int]) -> None:
        """Forget all that came from these partitions, and the items."""
        for under_way in (self.gathered, self.preparing, self.encoding, self.waiting):
            if under_way is not None:
                under_way.drop(numbers)
        self.reached = {at: n for at, n in self.reached.items() if at[1] not in numbers}
        self.shelf.forget(numbers)
        self.outdated -= numbers


def room(worker: Worker) -> int:
    """How many records the next poll may bring; with 0 only membership is kept up."""
    if worker.pending:
        return 0
    return max(0, worker.batch - _size(worker.gathered))


def patience_s(worker: Worker) -> float:
    """How long the next poll may wait for a record."""
    waits = (
        worker.preparing, worker.encoding, worker.pending, worker.outdated,
        worker.waiting.jobs,
    )  # fmt: skip
    return BUSY_S if any(waits) or _size(worker.gathered) else IDLE_S


def due(worker: Worker, *, now: float) -> bool:
    """Whether the batch that is gathered has waited long enough, or is full."""
    batch = worker.gathered
    if batch.opened_s is None:
        return False
    waited_s, size = now - batch.opened_s, _size(batch)
    limit_s = worker.batch_wait_s if size else COMMIT_S
    return size >= worker.batch or waited_s >= limit_s


def take_prepared(worker: Worker, *, now: float) -> Batch | None:
    """What is prepared: the batch, once it is or its patience is at an end, and those that
    waited. The rest of it waits, where there is room."""
    batch = worker.preparing
    if batch is not None and not batch.prepared():
        if now < worker.patient_until_s or len(worker.waiting.jobs) >= worker.batch:
            batch = None
        else:
            worker.waiting.add(batch.part())
    if batch is not None:
        worker.preparing = None
    elif not any(map(all_done, worker.waiting.outcomes)):
        return None
    still = worker.waiting.part()
    taken, worker.waiting = worker.waiting, still
    taken.add(batch or Batch())
    return taken


def committable(worker: Worker, batch: Batch) -> dict[Partition, int]:
    """Where reading may go on once this batch is written: before all that waits."""
    next_offsets = worker.reached | batch.next_offsets
    for job in worker.waiting.jobs:
        at = (job.record.topic, job.record.partition)
        next_offsets[at] = min(job.record.offset, next_offsets.get(at, job.record.offset))
    return next_offsets


def _size(batch: Batch) -> int:
    return len(batch.jobs) + len(batch.refusals)
