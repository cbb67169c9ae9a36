"""/readyz while the broker does not answer: a worker that is cut off says so, and comes back."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.support.kafka import running_kafka
from tests.support.spine import spine
from tests.support.waiting import wait_for

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
