"""Doors that are timed behave as the doors that they time."""

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from workers import metrics
from workers.measured import MeasuredSink, MeasuredSource, MeasuredStore
from workers.memory import MemoryUserStore
from workers.ports import (
    Applied,
    Outbound,
    Partition,
    Polled,
    Progress,
    Record,
    StoredUser,
    TransientError,
)


class Away:
    """A store and a sink that can't be reached."""

    def load(self, point_ids: object) -> dict[str, StoredUser]:
        raise TransientError("away")

    save = progress = advance = load

    def publish(self, outbound: object, next_offsets: object) -> None:
        raise TransientError("away")

    def close(self) -> None:
        pass


class Taken:
    """A sink that keeps what it was given."""

    def __init__(self) -> None:
        self.given: list[object] = []

    def publish(self, outbound: object, next_offsets: object) -> None:
        self.given.append((outbound, next_offsets))


def value(name: str, **labels: str) -> float:
    metrics.set_worker("recommend")
    for family in text_string_to_metric_families(metrics.exposition().decode()):
        for sample in family.samples:
            if (sample.name, sample.labels) == (f"streamrec_{name}", labels):
                return sample.value
    return 0.0


def user(offset: int) -> StoredUser:
    return StoredUser(
        point_id="p1",
        user_id="u1",
        interest=np.zeros(2, np.float32),
        applied=Applied(topic_id="t", partition=0, offset=offset),
        as_of_ms=1,
        model="m",
        state=b"",
    )


def test_a_measured_store_answers_as_the_store_and_counts_each_call():
    store = MeasuredStore(MemoryUserStore())
    operations = ("load", "save", "progress", "advance")
    before = {o: value("store_seconds_count", operation=o) for o in operations}
    progress = Progress(topic_id="t", partition=0, offset=5, writer="w", turn=1)
    assert store.save([user(4)]) == 0
    assert store.save([user(3)]) == 1
    store.advance([progress])
    assert store.load(["p1", "p2"])["p1"].applied.offset == 4
    assert store.progress([0, 1]) == {0: progress}
    assert value("store_up") == 1.0
    counted = {o: value("store_seconds_count", operation=o) - before[o] for o in operations}
    assert counted == {"load": 1, "save": 2, "progress": 1, "advance": 1}


@pytest.mark.parametrize("operation", ["load", "save", "progress", "advance"])
def test_a_store_that_is_away_is_seen_and_the_error_passes_through(operation: str):
    with pytest.raises(TransientError):
        getattr(MeasuredStore(Away()), operation)([])
    assert value("store_up") == 0.0


def test_a_publish_is_timed_only_when_it_was_acknowledged():
    taken = Taken()
    before = value("commit_seconds_count")
    outbound = [Outbound("t", b"k", b"v")]
    offsets: dict[Partition, int] = {("t", 0): 1}
    MeasuredSink(taken).publish(outbound, offsets)
    assert taken.given == [(outbound, offsets)]
    with pytest.raises(TransientError):
        MeasuredSink(Away()).publish(outbound, offsets)
    assert value("commit_seconds_count") == before + 1


class Told:
    """A source that gives what it was told to, once."""

    def __init__(self, *polled: Polled) -> None:
        self.polled = list(polled)

    def poll(self, *, timeout_s: float, limit: int) -> Polled:
        return self.polled.pop(0)

    def begin(self, offsets: object) -> None: ...

    def committed(self, partitions: object) -> dict[Partition, int]:
        return {("t", 0): 3}

    def bounds(self, partitions: object) -> dict[Partition, tuple[int, int]]:
        return {("t", 0): (0, 9)}


def test_lag_in_seconds_is_the_age_of_the_newest_record_while_more_waits():
    records = [Record("t", 0, n, 1_000 * n, None, b"") for n in range(3)]
    source = MeasuredSource(Told(Polled(records), Polled(lost=frozenset({("t", 0)}))))
    assert source.poll(timeout_s=0, limit=9).records == records
    source.report({("t", 0): 7, ("t", 1): 0}, now_ms=10_000)
    assert value("lag_messages", topic="t", partition="0") == 7
    assert value("lag_seconds", topic="t", partition="0") == 8.0
    source.report({("t", 0): 0}, now_ms=10_000)
    assert value("lag_seconds", topic="t", partition="0") == 0.0
    source.poll(timeout_s=0, limit=9)
    assert source.newest_ms == {}
    assert source.committed([("t", 0)]) == {("t", 0): 3}
    assert source.bounds([("t", 0)]) == {("t", 0): (0, 9)}
    metrics.rebalance([("t", 0), ("t", 1)])
