"""Partitions that come and go, as data: items restored before the first record, forgotten after
the last.
"""

from collections.abc import Iterable

from workers import metrics
from workers.ports import Partition, Polled, Source
from workers.underway import Worker

RESTORED = 5_000  # records a turn: between two of them the group hears from us


def change_partitions(worker: Worker, polled: Polled) -> None:
    """Forget what went, remember what is to begin."""
    worker.health.set(
        "group",
        ok=polled.joined,
        why="" if polled.joined else "joining, or no broker answers",
    )
    if polled.gained or polled.lost:
        metrics.rebalance(polled.lost)
        begin_again(worker, {number for _, number in polled.lost | polled.gained})
        worker.pending -= polled.lost - polled.gained


def begin_again(worker: Worker, numbers: set[int]) -> None:
    """Drop what is under way for these partitions, in all topics: an item is made of several.
    They go on from their committed offsets; beginning what is not ours does nothing."""
    worker.drop(numbers)
    topics = worker.topics
    for topic in (topics.items, topics.media, topics.events):
        worker.pending |= {(topic, number) for number in numbers}
    _restore_anew(worker)


def restore(worker: Worker) -> None:
    """Take in the items of partitions that are to begin, a turn at a time; then begin."""
    if not worker.pending:
        return
    numbers = {number for _, number in worker.pending}
    with metrics.stage("restore"):
        if worker.restoring is None:
            worker.restoring = worker.open_table(numbers)
        if worker.restoring.behind():
            worker.shelf.restore(worker.restoring.refresh(limit=RESTORED, timeout_s=0.05))
    if worker.restoring.behind():
        return
    worker.shelf.learn_widths()
    with metrics.stage("begin"):
        worker.source.begin(starts(worker.source, worker.pending))
    worker.outdated |= numbers
    worker.pending = set()
    _restore_anew(worker)


def starts(source: Source, partitions: Iterable[Partition]) -> dict[Partition, int]:
    """Where to read on: from the committed offset, or the first one that is still there."""
    asked = sorted(partitions)
    committed, bounds = source.committed(asked), source.bounds(asked)
    return {
        at: committed[at] if first <= committed.get(at, -1) <= end else first
        for at, (first, end) in bounds.items()
    }


def _restore_anew(worker: Worker) -> None:
    if worker.restoring is not None:
        worker.restoring.close()
        worker.restoring = None
