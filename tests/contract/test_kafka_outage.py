"""A broker that was away for longer than a session: the worker stays and nothing is doubled.

Its death falls between two transactions. One that falls between a commit and its markers
finds Kafka itself (4.3.1, single node) wanting: it forgets them, and the offsets stay open.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.kafka import consume_all, create_topics, running_kafka
from tests.support.log_doors import Member, numbered
from tests.support.waiting import wait_for
from workers import laptop_kafka
from workers.config import KafkaConfig
from workers.kafka import KafkaSource, TransactionalSink, Writer
from workers.laptop_kafka import Broker
from workers.ports import Outbound, Restarted, TransientError

pytestmark = [pytest.mark.wire, pytest.mark.fault]


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[Broker]:
    """One to be killed."""
    with running_kafka(tmp_path / "kafka") as running:
        yield running


def copy(member: Member, sink: TransactionalSink, out: str) -> None:
    """One turn of a loop that copies what it reads; what fails is begun again."""
    records = member.turn()
    if not records:
        return
    at = {(r.topic, r.partition): r.offset + 1 for r in records}
    copies = [Outbound(out, r.key, r.value, partition=r.partition) for r in records]
    try:
        sink.publish(copies, at)
    except (Restarted, TransientError):
        again = sorted(set(at) & member.owned)
        member.source.begin(dict.fromkeys(again, 0) | member.source.committed(again))


@pytest.mark.timeout(180)
def test_a_broker_that_was_away_for_long_costs_nothing(
    own_broker: Broker, topic_prefix: str
) -> None:
    events, out = f"{topic_prefix}.events", f"{topic_prefix}.out"
    create_topics(own_broker.bootstrap, {events: 2, out: 2})
    config = KafkaConfig(
        bootstrap=own_broker.bootstrap, prefix=topic_prefix, session_timeout_ms=1500
    )
    member = Member(
        KafkaSource(
            config,
            topics=[events],
            group=f"{topic_prefix}-g",
            assignor="cooperative-sticky",
        )
    )
    sink, writer = TransactionalSink(config, member.source), Writer(config, limit_s=60)
    ends = {(events, 0): 40, (events, 1): 40}

    def copied() -> bool:
        copy(member, sink, out)
        return bool(member.owned) and member.source.committed(sorted(ends)) == ends

    writer.write([*numbered(events, 0, 40), *numbered(events, 1, 40)])
    wait_for(copied, limit_s=60, every_s=0)

    os.kill(own_broker.pid, signal.SIGKILL)
    wait_for(lambda: laptop_kafka.status(own_broker.folder) is None, limit_s=10)
    wait_for(lambda: copy(member, sink, out) or not member.owned, limit_s=20, every_s=0)
    laptop_kafka.start(folder=own_broker.folder, attached=True)

    writer.write([*numbered(events, 0, 40, start=40), *numbered(events, 1, 40, start=40)])
    ends.update(dict.fromkeys(ends, 80))
    wait_for(copied, limit_s=90, every_s=0)
    read = consume_all(own_broker.bootstrap, out)
    for partition in (0, 1):
        numbers = [int(m.value() or b"") for m in read if m.partition() == partition]
        assert numbers == list(range(80))
    for door in (sink, writer, member.source):
        door.close()
