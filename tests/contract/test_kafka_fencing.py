"""A worker that was stopped for too long and wakes up changes nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from confluent_kafka import Producer, TopicPartition

from tests.support.kafka import consume_all, create_topics
from tests.support.log_doors import Member
from tests.support.waiting import wait_for
from workers.config import KafkaConfig
from workers.kafka import KafkaSource, TransactionalSink
from workers.laptop_kafka import Broker
from workers.ports import Outbound, TransientError

pytestmark = [pytest.mark.wire, pytest.mark.fault]
ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def worker_halfway(bootstrap: str, prefix: str) -> Iterator[subprocess.Popen[str]]:
    """A worker "a" with records and offsets in a transaction that it is about to commit."""
    command = [sys.executable, "-m", "tests.support.halfway", bootstrap, prefix]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert said(process) == "halfway"
            yield process
        finally:
            process.kill()


def said(process: subprocess.Popen[str]) -> str:
    """Its next line that is not a log's."""
    assert process.stdout is not None
    for line in process.stdout:
        if len(line.split()) == 1:
            return line.strip()
    return "nothing"


@pytest.mark.parametrize("successor", ["b", "a"], ids=["another", "of its own name"])
def test_a_worker_that_wakes_up_after_its_partitions_moved_changes_nothing(
    broker: Broker, topic_prefix: str, successor: str
) -> None:
    events, out = f"{topic_prefix}.events", f"{topic_prefix}.out"
    create_topics(broker.bootstrap, {events: 2, out: 1})
    config = KafkaConfig(
        bootstrap=broker.bootstrap,
        prefix=topic_prefix,
        worker=successor,
        session_timeout_ms=1500,
    )
    with worker_halfway(broker.bootstrap, topic_prefix) as stopped:
        os.kill(stopped.pid, signal.SIGSTOP)
        member = Member(
            KafkaSource(
                config,
                topics=[events],
                group=f"{topic_prefix}-g",
                assignor="cooperative-sticky",
            )
        )
        sink = TransactionalSink(config, member.source)
        wait_for(lambda: member.turn() or len(member.owned) == 2, limit_s=20)
        sink.publish([Outbound(out, b"k", b"from its successor")], {(events, 0): 7})

        os.kill(stopped.pid, signal.SIGCONT)
        assert stopped.stdin is not None
        stopped.stdin.write("go on\n")
        stopped.stdin.flush()
        outcome, then = said(stopped), said(stopped)
        assert outcome in {"Restarted", "FatalError"}
        assert then == ("FatalError" if successor == "a" else "lost")

        assert [m.value() for m in consume_all(broker.bootstrap, out)] == [
            b"from its successor"
        ]
        everything = consume_all(broker.bootstrap, out, isolation="read_uncommitted")
        assert b"from a" in [m.value() for m in everything]
        assert member.source.committed([(events, 0)]) == {(events, 0): 7}
        sink.close()
        member.source.close()


def test_offsets_in_an_open_transaction_are_waited_for_and_not_guessed(
    broker: Broker, topic_prefix: str
) -> None:
    events, at = f"{topic_prefix}.events", (f"{topic_prefix}.events", 0)
    create_topics(broker.bootstrap, {events: 1})
    config = KafkaConfig(
        bootstrap=broker.bootstrap, prefix=topic_prefix, transaction_timeout_ms=1000
    )
    source = KafkaSource(
        config, topics=[events], group=f"{topic_prefix}-g", assignor="range"
    )
    member, sink = Member(source), TransactionalSink(config, source)
    wait_for(lambda: member.turn() or member.owned == {at}, limit_s=20)
    sink.publish([], {at: 5})

    stranger = Producer(
        {
            "bootstrap.servers": broker.bootstrap,
            "transactional.id": topic_prefix,
            "transaction.timeout.ms": 60_000,
        }
    )
    stranger.init_transactions(30)
    stranger.begin_transaction()
    ahead = [TopicPartition(*at, 9)]
    stranger.send_offsets_to_transaction(ahead, source.group_metadata(), 30)
    with pytest.raises(TransientError):
        source.committed([at])
    stranger.abort_transaction(30)
    assert source.committed([at]) == {at: 5}
    for door in (sink, source):
        door.close()
