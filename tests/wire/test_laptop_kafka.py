"""Kafka on a laptop: a real node that starts once, says how it is and stops by its own pid."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import pytest

from tests.support.kafka import Sent, consume_all, create_topics, produce, running_kafka
from tests.support.waiting import wait_for
from workers import laptop_kafka
from workers.laptop_kafka import Broker, KafkaUnavailableError

pytestmark = pytest.mark.wire


def test_a_node_starts_once_survives_a_kill_with_its_data_and_stops(tmp_path: Path) -> None:
    with running_kafka(tmp_path) as first:
        assert laptop_kafka.start(folder=tmp_path) == first
        assert laptop_kafka.status(tmp_path) == first
        create_topics(first.bootstrap, {"kept": 1})
        produce(first.bootstrap, "kept", [Sent(b"before the kill", key="k")])

        os.kill(first.pid, signal.SIGKILL)
        wait_for(lambda: laptop_kafka.status(tmp_path) is None, limit_s=10)
        second = laptop_kafka.start(folder=tmp_path, attached=True)

        assert (second.port, second.pid != first.pid) == (first.port, True)
        kept = consume_all(second.bootstrap, "kept", until=lambda read: len(read) == 1)
        assert [record.value() for record in kept] == [b"before the kill"]

        assert laptop_kafka.stop(tmp_path)
        assert not laptop_kafka.answers(second.port)
        assert laptop_kafka.status(tmp_path) is None
        assert not laptop_kafka.stop(tmp_path)


def test_what_a_transaction_aborts_is_not_read(broker: Broker, topic_prefix: str) -> None:
    from confluent_kafka import Producer

    topic = f"{topic_prefix}.log"
    create_topics(broker.bootstrap, {topic: 2})
    ours = {"bootstrap.servers": broker.bootstrap, "transactional.id": topic_prefix}
    producer = Producer(ours)
    producer.init_transactions(30)
    for value, end in (
        (b"no", producer.abort_transaction),
        (b"yes", producer.commit_transaction),
    ):
        producer.begin_transaction()
        producer.produce(topic, value=value, partition=1)
        producer.flush(30)
        end(30)
    committed = consume_all(broker.bootstrap, topic)
    assert [record.value() for record in committed] == [b"yes"]
    everything = consume_all(broker.bootstrap, topic, isolation="read_uncommitted")
    assert [record.value() for record in everything] == [b"no", b"yes"]


@pytest.mark.parametrize("left", ["another program's", "nobody's", "no number"])
def test_a_stale_pid_file_is_no_broker(tmp_path: Path, left: str) -> None:
    pid = {"another program's": os.getpid(), "nobody's": 2**22 - 1, "no number": "x"}[left]
    (tmp_path / "broker.json").write_text(json.dumps({"pid": pid, "port": 1}))
    assert laptop_kafka.status(tmp_path) is None
    assert not laptop_kafka.stop(tmp_path)


def test_missing_java_is_one_line_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for program in ("bash", "dirname", "sed", "head", "mkdir"):
        path = shutil.which(program)
        assert path is not None
        (tmp_path / program).symlink_to(path)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "empty"))
    with pytest.raises(KafkaUnavailableError) as refused:
        laptop_kafka.start(folder=tmp_path / "kafka")
    assert str(refused.value) == (
        "Kafka needs Java 17 or newer and Maven: "
        "apt-get install -y openjdk-17-jre-headless maven"
    )


def test_a_port_that_is_taken_is_said_before_anything_starts(
    broker: Broker, tmp_path: Path
) -> None:
    with pytest.raises(KafkaUnavailableError, match=f"port {broker.port} is taken"):
        laptop_kafka.start(folder=tmp_path, port=broker.port)
