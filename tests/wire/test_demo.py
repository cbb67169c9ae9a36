"""The demo as a stranger runs it: real workers, a small part of the data, and nothing left."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.programs import missing
from tests.support.waiting import wait_for
from workers import laptop_kafka
from workers.demo import CACHE
from workers.laptop_kafka import KafkaUnavailableError
from workers.movielens import fetch
from workers.terminal import CommandError, Exit

pytestmark = [pytest.mark.wire, pytest.mark.models, pytest.mark.timeout(400)]
ROOT = Path(__file__).resolve().parents[2]
LAST = re.compile(
    r"demo: events=(\d+) lists=(\d+) lost=0 p50_ms=\d+ p99_ms=\d+ "
    r"upload_to_recommendable_ms=\d+"
)


@pytest.fixture(scope="module", autouse=True)
def data() -> None:
    """The data set and a Kafka can be had; otherwise a skip that says what is missing."""
    try:
        fetch(cache=CACHE)
        laptop_kafka.check()
    except (CommandError, KafkaUnavailableError) as error:
        missing(str(error))


def demo(folder: Path, *words: str) -> subprocess.Popen[str]:
    env = {k: v for k, v in os.environ.items() if not k.startswith("STREAMREC_")}
    return subprocess.Popen(
        [
            sys.executable,
            "-u",
            "-m",
            "workers.cli",
            "demo",
            "--folder",
            str(folder),
            *words,
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**env, "PYTHONPATH": str(ROOT)},
    )


def running(folder: Path) -> list[int]:
    """Processes whose command line or working folder is the demo's folder."""
    found = []
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        try:
            words = (process / "cmdline").read_bytes().decode(errors="replace")
            here = os.readlink(process / "cwd")
        except OSError:
            continue
        if here.startswith(str(folder)) or f"folder={folder}" in words:
            found.append(int(process.name))
    return found


def test_a_small_demo_loses_nothing_and_leaves_nothing(tmp_path: Path):
    folder = tmp_path / "demo"
    process = demo(folder, "--events", "3000", "--rate", "100", "--seconds", "5")
    out, err = process.communicate(timeout=380)
    assert process.returncode == Exit.DONE, out + err
    assert (last := LAST.fullmatch(out.splitlines()[-1])), out
    assert int(last[1]) > 3000
    assert "in the same order as before the rating: yes" in out
    assert not folder.exists()
    assert running(folder) == []


def test_a_demo_that_is_interrupted_stops_all_that_it_started(tmp_path: Path):
    folder = tmp_path / "demo"
    process = demo(folder)
    wait_for((folder / "recommend.log").exists, limit_s=120, what="its workers")
    assert len(running(folder)) >= 2
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == Exit.INTERRUPTED, err
    wait_for(lambda: not running(folder), limit_s=30, what="nothing left of it")
    assert laptop_kafka.status(folder / "kafka") is None
