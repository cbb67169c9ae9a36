"""One suite over both logs: a group whose members come, go and take over."""

from __future__ import annotations

import pytest

from tests.support.log_doors import (
    KINDS,
    LIMIT_S,
    PARTITIONS,
    Doors,
    Member,
    joined,
    numbered,
    owns,
    take_turns,
    values,
)
from tests.support.waiting import wait_for
from workers.ports import FatalError, Outbound, Partition, Restarted


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
