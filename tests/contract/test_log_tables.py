"""One suite over both logs: tables, read to their end and on."""

from __future__ import annotations

import pytest

from tests.support.log_doors import LIMIT_S, PARTITIONS, Doors, joined, numbered
from tests.support.waiting import wait_for
from workers.ports import FatalError, Outbound


def test_a_table_is_read_to_the_end_it_had_and_goes_on(doors: Doors) -> None:
    topic = doors.name("table")
    for partition in (0, 2):
        doors.append(*numbered(topic, partition, 30))
    table = doors.table("table")
    assert table.behind() == 60
    doors.append(*numbered(topic, 0, 5, start=30))
    read = []

    def caught_up() -> bool:
        read.extend(table.refresh(limit=7, timeout_s=0.05))
        return table.behind() == 0

    wait_for(caught_up, limit_s=LIMIT_S)
    assert len(read) >= 60
    wait_for(
        lambda: read.extend(table.refresh(limit=7, timeout_s=0.05)) or len(read) == 65,
        limit_s=LIMIT_S,
    )
    of_0 = [int(record.value) for record in read if record.partition == 0]
    assert of_0 == list(range(35))
    assert table.behind() == 0


def test_an_empty_table_is_not_behind(doors: Doors) -> None:
    table = doors.table("table")
    assert table.behind() == 0
    assert not table.refresh(limit=10, timeout_s=0.0)
    doors.append(*numbered(doors.name("table"), 1, 1))
    assert wait_for(lambda: table.refresh(limit=10, timeout_s=0.1), limit_s=LIMIT_S)


def test_a_table_may_be_some_partitions_only(doors: Doors) -> None:
    topic = doors.name("table")
    for partition in range(PARTITIONS):
        doors.append(*numbered(topic, partition, 3))
    table = doors.table("table", only=[1])
    read = []
    wait_for(
        lambda: read.extend(table.refresh(limit=9, timeout_s=0.05)) or not table.behind(),
        limit_s=LIMIT_S,
    )
    assert [(r.partition, r.value) for r in read] == [(1, b"0"), (1, b"1"), (1, b"2")]


def test_a_table_that_ends_in_what_no_reader_sees_is_read_to_its_end(doors: Doors) -> None:
    """In Kafka: a commit marker ends partition 0, an aborted transaction partition 1."""
    topic, events = doors.name("table"), doors.name("events")
    member = joined(doors)
    sink = doors.sink(member.source)
    sink.publish([*numbered(topic, 0, 3)], {(events, 0): 1})
    with pytest.raises(FatalError):
        sink.publish([*numbered(topic, 1, 3), Outbound(topic, b"k", b"v", 99)], {})
    table, read = doors.table("table"), []
    wait_for(
        lambda: read.extend(table.refresh(limit=9, timeout_s=0.05)) or not table.behind(),
        limit_s=LIMIT_S,
    )
    assert [record.value for record in read] == [b"0", b"1", b"2"]
    assert len(doors.read("table")) == 3
