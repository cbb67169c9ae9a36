"""One suite over both logs: what the paths rely on, whichever doors they have.

The doors of "kafka" join as the recommend worker does, those of "kafka-range" as encode.
"""

from __future__ import annotations

import pytest

from tests.support.log_doors import (
    LIMIT_S,
    PARTITIONS,
    Doors,
    joined,
    numbered,
    owns,
    take_turns,
    values,
)
from tests.support.waiting import wait_for
from workers.memory_log import murmur2_partition
from workers.ports import FatalError, Outbound, Partition, Restarted


def test_records_come_in_the_order_of_their_partition_and_never_above_the_limit(
    doors: Doors,
) -> None:
    topic = doors.name("events")
    for partition in range(PARTITIONS):
        doors.append(*numbered(topic, partition, 50))
    member = joined(doors)
    take_turns(lambda: len(member.records) == 50 * PARTITIONS, member, limit=7)
    assert all(len(polled.records) <= 7 for polled in member.history)
    for partition in range(PARTITIONS):
        assert values(member, partition) == list(range(50))
    assert {r.topic for r in member.records} == {topic}


def test_a_gained_partition_delivers_nothing_before_it_begins(doors: Doors) -> None:
    doors.append(*numbered(doors.name("events"), 1, 5))
    source, gained = doors.source("events"), set[Partition]()

    def all_gained() -> bool:
        polled = source.poll(timeout_s=0.05, limit=100)
        assert not polled.records
        gained.update(polled.gained)
        return len(gained) == PARTITIONS

    wait_for(all_gained, limit_s=LIMIT_S)
    doors.append(*numbered(doors.name("events"), 1, 5, start=5))
    assert not source.poll(timeout_s=0.2, limit=100).records
    source.begin({(doors.name("events"), 1): 8})
    records = wait_for(
        lambda: source.poll(timeout_s=0.1, limit=100).records, limit_s=LIMIT_S
    )
    assert records[0].offset == 8


def test_going_back_delivers_again_and_nothing_stale(doors: Doors) -> None:
    topic = doors.name("events")
    doors.append(*numbered(topic, 0, 500), *numbered(topic, 1, 500))
    member = joined(doors)
    take_turns(lambda: len(member.records) > 200, member, limit=10)
    for back_to in (150, 3, 3, 40):
        member.records.clear()
        member.source.begin({(topic, 0): back_to})
        take_turns(lambda: len(values(member, 0)) > 20, member, limit=10)
        assert values(member, 0) == list(range(back_to, back_to + len(values(member, 0))))
    member.records.clear()
    member.source.begin({(topic, 0): 490, (topic, 1): 480})
    take_turns(lambda: len(member.records) == 30, member)
    assert values(member, 0) == list(range(490, 500))
    assert values(member, 1) == list(range(480, 500))


def test_a_limit_of_none_keeps_the_membership_and_reads_nothing(doors: Doors) -> None:
    topic = doors.name("events")
    doors.append(*numbered(topic, 0, 40))
    member = joined(doors)
    take_turns(lambda: len(member.records) >= 5, member, limit=5)
    for _ in range(3):
        assert not member.turn(limit=0)
    member.source.begin({(topic, 0): 2})
    assert not member.turn(limit=0)
    member.records.clear()
    take_turns(lambda: len(member.records) == 38, member)
    assert values(member, 0) == list(range(2, 40))
    assert member.owned == owns(doors)


def test_what_is_published_is_there_with_the_offsets(doors: Doors) -> None:
    topic, out = doors.name("events"), doors.name("out")
    doors.append(*numbered(topic, 2, 10))
    member = joined(doors)
    sink = doors.sink(member.source)
    take_turns(lambda: len(member.records) == 10, member)
    at = (topic, 2)
    assert member.source.committed([at]) == {}

    sink.publish([Outbound(out, b"u1", b"list")], {at: 7})
    assert member.source.committed([at, (topic, 0)]) == {at: 7}
    assert [r.value for r in doors.read("out")] == [b"list"]
    sink.publish([], {at: 9})
    assert member.source.committed([at]) == {at: 9}
    sink.publish([Outbound(out, b"u1", b"no offsets")], {})
    sink.publish([], {})
    assert [r.value for r in doors.read("out")] == [b"list", b"no offsets"]
    assert member.source.committed([at]) == {at: 9}


def test_a_publishing_that_fails_leaves_neither_records_nor_offsets(doors: Doors) -> None:
    topic, out = doors.name("events"), doors.name("out")
    member = joined(doors)
    sink = doors.sink(member.source)
    bad = Outbound(out, b"k", b"nowhere", partition=PARTITIONS + 95)
    with pytest.raises(FatalError):
        sink.publish([*numbered(out, 0, 10), bad], {(topic, 0): 10})
    assert member.source.committed([(topic, 0)]) == {}
    sink.publish([Outbound(out, b"k", b"good", partition=0)], {(topic, 0): 4})
    assert [r.value for r in doors.read("out")] == [b"good"]
    assert member.source.committed([(topic, 0)]) == {(topic, 0): 4}


def test_what_is_not_ours_is_not_published_for(doors: Doors) -> None:
    topic, out = doors.name("events"), doors.name("out")
    member = joined(doors)
    sink = doors.sink(member.source)
    foreign = (doors.name("other"), 0)
    with pytest.raises(Restarted) as restarted:
        sink.publish([Outbound(out, b"k", b"v")], {(topic, 0): 1, foreign: 1})
    assert restarted.value.partitions == {(topic, 0), foreign}
    assert not doors.read("out")
    assert member.source.committed([(topic, 0)]) == {}


def test_offsets_follow_acknowledged_records(doors: Doors) -> None:
    topic, out = doors.name("events"), doors.name("out")
    member = joined(doors)
    sink = doors.acknowledged(member.source)
    sink.publish([*numbered(out, 3, 20)], {(topic, 0): 4, (topic, 1): 6})
    assert [r.value for r in doors.read("out")] == [b"%d" % n for n in range(20)]
    committed = member.source.committed(sorted(owns(doors)))
    assert committed == {(topic, 0): 4, (topic, 1): 6}


def test_a_record_arrives_as_it_was_written(doors: Doors) -> None:
    out, key = doors.name("out"), "użytkownik-1".encode()
    doors.append(
        Outbound(out, key, b"\x00value", headers=(("ce_id", b"e1"), ("x", b""))),
        Outbound(out, key, None),
        Outbound(out, None, b"", partition=3),
        Outbound(out, b"", b"empty key"),
    )
    records = {record.value: record for record in doors.read("out")}
    full = records[b"\x00value"]
    assert (full.topic, full.key, full.offset) == (out, key, 0)
    assert full.partition == murmur2_partition(key, PARTITIONS)
    assert full.headers == (("ce_id", b"e1"), ("x", b""))
    assert full.header("ce_id") == "e1"
    assert full.timestamp_ms > 1_700_000_000_000
    assert records[None].key == key
    assert records[None].partition == full.partition
    assert (records[b""].partition, records[b""].key) == (3, None)
    assert records[b"empty key"].partition == murmur2_partition(b"", PARTITIONS)


def test_keys_are_placed_as_java_places_them(doors: Doors) -> None:
    keys = [f"user-{number}".encode() for number in range(200)]
    doors.append(*(Outbound(doors.name("out"), key, b"") for key in keys))
    placed = {record.key: record.partition for record in doors.read("out")}
    assert placed == {key: murmur2_partition(key, PARTITIONS) for key in keys}


def test_a_missing_topic_is_said_with_its_remedy(doors: Doors) -> None:
    with pytest.raises(FatalError, match="rec topics create"):
        doors.source("nowhere")


def test_what_retention_took_is_seen_in_the_bounds_and_not_read_past(doors: Doors) -> None:
    topic = doors.name("events")
    doors.append(*numbered(topic, 0, 10))
    doors.expire((topic, 0), 4)
    member = joined(doors)
    assert member.source.bounds([(topic, 0), (topic, 1)]) == {
        (topic, 0): (4, 10),
        (topic, 1): (0, 0),
    }
    take_turns(lambda: len(member.records) == 6, member)
    assert member.source.lag()[(topic, 0)] == 0
    member.source.begin({(topic, 0): 2})
    with pytest.raises(FatalError, match="rec rebuild"):
        take_turns(lambda: False, member)


def test_lag_counts_what_is_not_read_yet(doors: Doors) -> None:
    topic = doors.name("events")
    doors.append(*numbered(topic, 0, 30))
    member = joined(doors)
    take_turns(lambda: len(member.records) >= 10, member, limit=10)
    behind = 30 - len(member.records)
    assert member.source.lag()[(topic, 0)] == behind
