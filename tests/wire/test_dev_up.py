"""`rec dev up`: one worker of each role in the foreground, and nothing left of them afterwards."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from schemas import Slate, decode
from tests.support.kafka import consume_all
from tests.support.rec import ROOT, run_rec
from tests.support.waiting import wait_for
from workers import children, http
from workers.laptop_kafka import Broker

pytest.importorskip("faust")
pytestmark = [pytest.mark.wire, pytest.mark.models, pytest.mark.timeout(300)]
ROLES = {"encode", "recommend", "trend", "train"}


def ready(folder: Path) -> set[str]:
    """The roles whose workers say that they are."""
    found = set()
    for worker in http.announced(folder / http.FOLDER):
        try:
            with urlopen(f"{worker.url}/readyz", timeout=2.0) as answer:
                found |= {worker.role} if answer.status == 200 else set()
        except (URLError, TimeoutError, ConnectionError):
            continue
    return found


def test_all_roles_come_up_and_answer_and_ctrl_c_ends_all(
    broker: Broker, topic_prefix: str, tmp_path: Path
) -> None:
    env = {
        "STREAMREC_KAFKA__BOOTSTRAP": broker.bootstrap,
        "STREAMREC_KAFKA__PREFIX": topic_prefix,
        "STREAMREC_KAFKA__GROUP": topic_prefix,
    }
    up = children.start(
        "rec dev up",
        [sys.executable, "-m", "workers.cli", "dev", "up"],
        among=[],
        env=children.clean_env({**env, "PYTHONPATH": str(ROOT)}),
        cwd=tmp_path,
        log=tmp_path / "up.log",
    )
    try:
        wait_for(lambda: ready(tmp_path) == ROLES, limit_s=120, every_s=0.2)
        for name in ("items", "events"):
            sent = run_rec(
                "produce", str(ROOT / f"docs/example/{name}.jsonl"), env=env, cwd=tmp_path
            )
            assert sent.returncode == 0, sent.stderr

        def lists() -> list[Slate]:
            found = consume_all(broker.bootstrap, f"{topic_prefix}.recommendations.v1")
            return [decode("recommendations", m.value()) for m in found]

        wait_for(
            lambda: {"e1", "e2"} <= {e for s in lists() for e in s.caused_by}, limit_s=60
        )
    finally:
        up.process.send_signal(signal.SIGINT)
        try:
            code = up.process.wait(timeout=60)
        finally:
            children.stop([up])
    assert code == 0, (tmp_path / "up.log").read_text()[-2_000:]
    assert not [w for w in http.announced(tmp_path / http.FOLDER) if w.alive()]
