"""The log in memory where it has no twin to be compared with: keys, time, loss, compaction."""

from __future__ import annotations

import pytest

from workers.memory_log import MemoryLog, MemorySink, MemorySource, murmur2_partition
from workers.ports import FatalError, Outbound, Restarted


@pytest.mark.parametrize(
    ("key", "hashed"),
    [
        # From Kafka's own UtilsTest.testMurmur2.
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_murmur2_is_javas(key: bytes, hashed: int) -> None:
    assert murmur2_partition(key, 1 << 31) == hashed & 0x7FFFFFFF


def one_member(log: MemoryLog, worker: str = "a") -> MemorySource:
    source = MemorySource(log, topics=["t"], group="g", worker=worker)
    gained = source.poll(timeout_s=0, limit=0).gained
    source.begin(dict.fromkeys(gained, 0))
    return source


def test_records_are_stamped_by_the_clock_that_is_handed_in() -> None:
    now = iter([5, 9])
    log = MemoryLog({"t": 1}, now_ms=lambda: next(now))
    log.append([Outbound("t", b"a", b"1"), Outbound("t", b"b", b"2")])
    log.append([Outbound("t", b"a", b"3")])
    log.append([Outbound("t", b"a", b"4")], at_ms=7)
    assert [record.timestamp_ms for record in log.records("t")] == [5, 5, 9, 7]


def test_an_append_is_all_or_nothing() -> None:
    log = MemoryLog({"t": 1}, now_ms=lambda: 0)
    with pytest.raises(FatalError, match="no partition 4"):
        log.append([Outbound("t", b"a", b"1"), Outbound("t", b"b", b"2", partition=4)])
    assert not log.records("t")


def test_a_member_given_up_commits_nothing_and_is_told_at_its_next_poll() -> None:
    log = MemoryLog({"t": 2, "out": 1}, now_ms=lambda: 0)
    stalled = one_member(log)
    sink = MemorySink(log, stalled)
    stalled.expire()
    other = one_member(log, "b")
    with pytest.raises(Restarted):
        sink.publish([Outbound("out", b"k", b"v")], {("t", 0): 1})
    assert not log.records("out")
    assert stalled.poll(timeout_s=0, limit=9).lost == {("t", 0), ("t", 1)}
    assert other.committed([("t", 0)]) == {}


def test_partitions_come_and_go_as_a_test_says() -> None:
    log = MemoryLog({"t": 2}, now_ms=lambda: 0)
    source = one_member(log)
    log.append([Outbound("t", b"k", b"v", partition=1)])
    source.revoke([("t", 1)])
    polled = source.poll(timeout_s=0, limit=9)
    assert (polled.lost, polled.records) == ({("t", 1)}, [])
    source.assign([("t", 1)])
    polled = source.poll(timeout_s=0, limit=9)
    assert (polled.gained, polled.records) == ({("t", 1)}, [])
    source.begin({("t", 1): 0})
    assert len(source.poll(timeout_s=0, limit=9).records) == 1


def test_compaction_leaves_gaps_that_readers_pass_over() -> None:
    log = MemoryLog({"t": 1}, now_ms=lambda: 0)
    log.append([Outbound("t", key, b"%d" % n) for n, key in enumerate([b"a", b"b", b"a"])])
    log.compact("t")
    source = one_member(log)
    records = source.poll(timeout_s=0, limit=9).records
    assert [(record.offset, record.value) for record in records] == [(1, b"1"), (2, b"2")]
    assert source.lag() == {("t", 0): 0}


def test_a_failure_that_a_test_asks_for_leaves_nothing() -> None:
    log = MemoryLog({"t": 1, "out": 1}, now_ms=lambda: 0)
    source = one_member(log)
    sink = MemorySink(log, source)
    sink.failures.append(Restarted("the broker was away", frozenset({("t", 0)})))
    with pytest.raises(Restarted):
        sink.publish([Outbound("out", b"k", b"v")], {("t", 0): 1})
    assert not log.records("out")
    sink.publish([Outbound("out", b"k", b"v")], {("t", 0): 1})
    assert len(log.records("out")) == 1
    assert source.committed([("t", 0)]) == {("t", 0): 1}
