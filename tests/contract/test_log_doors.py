"""One suite over both logs: what the paths rely on, whichever doors they have.

The doors of "kafka" join as the recommend worker does, those of "kafka-range" as encode.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.support.log_doors import (
    PARTITIONS,
    Doors,
    KafkaDoors,
    Member,
    MemoryDoors,
    numbered,
)
from tests.support.waiting import wait_for
from workers.memory_log import murmur2_partition
from workers.ports import FatalError, Outbound, Partition, Restarted

LIMIT_S = 20.0
KINDS = (
    "memory",
    pytest.param("kafka", marks=pytest.mark.wire),
    pytest.param("kafka-range", marks=pytest.mark.wire),
)


@pytest.fixture(params=KINDS)
def doors(request: pytest.FixtureRequest, topic_prefix: str) -> Iterator[Doors]:
    if request.param == "memory":
        opened: Doors = MemoryDoors()
    else:
        bootstrap = request.getfixturevalue("broker").bootstrap
        assignor = "cooperative-sticky" if request.param == "kafka" else "range"
        opened = KafkaDoors(bootstrap, topic_prefix, assignor)
    yield opened
    opened.close()


def owns(doors: Doors, role: str = "events") -> set[Partition]:
    return {(doors.name(role), number) for number in range(PARTITIONS)}


def joined(doors: Doors, worker: str = "a", *roles: str) -> Member:
    """The only member, with every partition."""
    roles = roles or ("events",)
    member = Member(doors.source(*roles, worker=worker))
    everything = set[Partition]().union(*(owns(doors, role) for role in roles))
    take_turns(lambda: member.owned == everything, member)
    return member


def take_turns(until: Callable[[], bool], *members: Member, limit: int = 1000) -> None:
    """Lets the members poll one after the other until something is true."""

    def round_of_turns() -> bool:
        for member in members:
            member.turn(limit=limit)
        return until()

    wait_for(round_of_turns, limit_s=LIMIT_S, what="the members' turns", every_s=0)


def values(member: Member, partition: int) -> list[int]:
    return [int(r.value or b"") for r in member.records if r.partition == partition]


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


def test_partitions_are_handed_over_and_every_record_has_one_owner(doors: Doors) -> None:
    topic = doors.name("events")
    for partition in range(PARTITIONS):
        doors.append(*numbered(topic, partition, 10))
    first = joined(doors, "a")
    sink = doors.sink(first.source)
    take_turns(lambda: len(first.records) == 10 * PARTITIONS, first)
    sink.publish([], first.positions())

    second = Member(doors.source("events", worker="b"))
    take_turns(
        lambda: len(first.owned) == len(second.owned) == PARTITIONS // 2, first, second
    )
    assert first.owned | second.owned == owns(doors)
    for partition in range(PARTITIONS):
        doors.append(*numbered(topic, partition, 10, start=10))
    take_turns(
        lambda: len(first.records) + len(second.records) == 20 * PARTITIONS, first, second
    )
    take_turns(lambda: True, first, second)
    for partition in range(PARTITIONS):
        assert values(first, partition) + values(second, partition) == list(range(20))
        assert len(values(second, partition)) == 10 * ((topic, partition) in second.owned)


def test_before_partitions_go_their_work_can_still_be_committed(doors: Doors) -> None:
    topic, out = doors.name("events"), doors.name("out")
    drained: list[frozenset[Partition]] = []

    def drain(partitions: frozenset[Partition]) -> None:
        drained.append(partitions)
        sink.publish([Outbound(out, b"u", b"last")], dict.fromkeys(partitions, 5))

    for partition in range(PARTITIONS):
        doors.append(*numbered(topic, partition, 5))
    first = Member(doors.source("events", worker="a", before_revoke=drain))
    sink = doors.sink(first.source)
    take_turns(lambda: first.owned == owns(doors), first)
    second = Member(doors.source("events", worker="b"))
    take_turns(lambda: bool(second.owned), first, second)
    gone = frozenset[Partition]().union(*(polled.lost for polled in first.history))
    assert drained == [gone]
    assert second.source.committed(sorted(gone)) == dict.fromkeys(gone, 5)
    assert [r.value for r in doors.read("out")] == [b"last"]


def test_what_a_drain_raises_comes_out_of_the_poll_and_loses_no_record(
    doors: Doors,
) -> None:
    topic = doors.name("events")

    def drain(partitions: frozenset[Partition]) -> None:
        raise Restarted("the store is away", partitions)

    first = Member(doors.source("events", worker="a", before_revoke=drain))
    take_turns(lambda: first.owned == owns(doors), first)
    second = Member(doors.source("events", worker="b"))

    def raised() -> bool:
        second.turn()
        try:
            first.turn()
        except Restarted as restarted:
            return bool(restarted.partitions)
        return False

    wait_for(raised, limit_s=LIMIT_S)
    take_turns(
        lambda: len(first.owned) == len(second.owned) == PARTITIONS // 2, first, second
    )
    for partition in range(PARTITIONS):
        doors.append(*numbered(topic, partition, 5))
    take_turns(
        lambda: len(first.records) + len(second.records) == 5 * PARTITIONS, first, second
    )


def test_a_worker_that_comes_back_under_its_name_has_its_partitions_at_once(
    doors: Doors,
) -> None:
    topic = doors.name("events")
    doors.append(*numbered(topic, 0, 10))
    before = joined(doors)
    sink = doors.sink(before.source)
    take_turns(lambda: len(before.records) == 10, before)
    sink.publish([], {(topic, 0): 6})
    before.source.close()
    after = Member(doors.source("events", worker="a"))
    take_turns(lambda: after.owned == owns(doors), after)
    take_turns(lambda: len(after.records) == 4, after)
    assert values(after, 0) == [6, 7, 8, 9]


@pytest.mark.parametrize("doors", KINDS[:2], indirect=True)
def test_two_workers_of_one_name_are_one_too_many(doors: Doors) -> None:
    first = joined(doors, "twin")
    second = Member(doors.source("events", worker="twin"))

    def fenced() -> str:
        second.turn()
        try:
            first.turn()
        except FatalError as error:
            return str(error)
        return ""

    assert "STREAMREC_KAFKA__WORKER" in wait_for(fenced, limit_s=LIMIT_S)
    take_turns(lambda: second.owned == owns(doors), second)


@pytest.mark.parametrize("doors", [KINDS[0], KINDS[2]], indirect=True)
def test_one_number_of_two_topics_has_one_owner(doors: Doors) -> None:
    first = joined(doors, "a", "events", "other")
    second = Member(doors.source("events", "other", worker="b"))
    take_turns(lambda: len(first.owned) == len(second.owned) == PARTITIONS, first, second)
    for member in (first, second):
        by_topic = [{n for name, n in member.owned if name == doors.name(role)}
                    for role in ("events", "other")]  # fmt: skip
        assert by_topic[0] == by_topic[1]


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
