"""/readyz while the broker does not answer: a worker that is cut off says so, and comes back."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient, NewPartitions

from tests.support.kafka import running_kafka
from tests.support.spine import spine
from tests.support.waiting import wait_for
from workers.laptop_kafka import Broker

NO_ENCODERS = {
    f"STREAMREC_ENCODERS__{name}": "none"
    for name in ("TEXT", "IMAGE", "AUDIO", "VIDEO", "SENSOR")
}
pytestmark = [pytest.mark.wire, pytest.mark.fault, pytest.mark.timeout(180)]


def test_a_worker_without_a_broker_is_not_ready_until_it_answers_again(tmp_path: Path):
    with (
        running_kafka(tmp_path / "kafka") as broker,
        spine(broker.bootstrap, "ready", tmp_path) as house,
    ):
        worker = house.start("recommend")
        worker.wait_ready()
        os.kill(broker.pid, signal.SIGSTOP)
        try:
            wait_for(lambda: worker.get("/readyz")[0] == 503, limit_s=30, what="not ready")
            assert b"no broker answers" in worker.get("/readyz")[1]
        finally:
            os.kill(broker.pid, signal.SIGCONT)
        wait_for(lambda: worker.get("/readyz")[0] == 200, limit_s=60, what="ready again")
        assert worker.get("/healthz")[0] == 200


@pytest.mark.parametrize("role", ["recommend", "encode"])
def test_a_worker_says_which_topics_differ_in_their_partitions_and_ends(
    broker: Broker, topic_prefix: str, tmp_path: Path, role: str
):
    with spine(broker.bootstrap, topic_prefix, tmp_path, **NO_ENCODERS) as house:
        admin = AdminClient({"bootstrap.servers": broker.bootstrap})
        more = NewPartitions(house.topic("media"), 4)
        admin.create_partitions([more])[house.topic("media")].result(30)
        worker = house.start(role)
        assert worker.child.wait(60) == 1
        said = worker.output
    assert f"{topic_prefix}.media.v1 4" in said
    assert f"{topic_prefix}.events.v1 3" in said
    assert "rec topics create" in said
