"""Processes beside us: nothing is left running, and a dead one is shown with its last words."""

import os
import signal
import subprocess
import sys

import pytest

from tests.support.waiting import wait_for
from workers import children
from workers.terminal import CommandError

WAITS = "import signal; print('up', flush=True); signal.pause()"
STUBBORN = (
    "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    "print('up', flush=True)\nwhile True: signal.pause()"
)


def started(program: str, tmp_path, name: str = "worker", among=None) -> children.Child:
    return children.start(
        name,
        [sys.executable, "-c", program],
        among=[] if among is None else among,
        env=children.clean_env({}),
        cwd=tmp_path,
        log=tmp_path / f"{name}.log",
    )


def is_up(child: children.Child) -> bool:
    return child.log is not None and b"up" in child.log.read_bytes()


def test_what_was_started_is_ended(tmp_path):
    ours = [started(WAITS, tmp_path, name) for name in ("one", "two")]
    wait_for(lambda: all(is_up(child) for child in ours), limit_s=20)
    children.check(ours)
    children.stop(ours)
    assert [child.process.poll() for child in ours] == [-signal.SIGTERM] * 2


@pytest.mark.parametrize("number", children.SIGNALS)
def test_an_interruption_while_one_starts_finds_it_among_those_to_be_ended(
    tmp_path, monkeypatch, number
):
    popen = subprocess.Popen

    def interrupted(*words, **more):
        made = popen(*words, **more)
        signal.raise_signal(number)
        return made

    monkeypatch.setattr(children.subprocess, "Popen", interrupted)
    ours: list[children.Child] = []
    with pytest.raises(KeyboardInterrupt), children.ended_by_sigterm():
        started(WAITS, tmp_path, among=ours)
    (child,) = ours
    children.stop(ours)
    assert child.process.poll() is not None


def test_one_that_does_not_listen_is_killed(tmp_path):
    child = started(STUBBORN, tmp_path)
    wait_for(lambda: is_up(child), limit_s=20)
    children.stop([child], limit_s=0.1)
    assert child.process.poll() == -signal.SIGKILL


def test_one_that_died_is_shown_with_its_last_lines(tmp_path):
    child = started("print('first'); raise SystemExit('the disk is full')", tmp_path)
    child.process.wait(20)
    with pytest.raises(
        CommandError, match=r"worker ended \(exit code 1\)(.|\n)*disk is full"
    ):
        children.check([child])


def test_a_sigterm_is_an_interruption_and_only_inside():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), children.ended_by_sigterm():
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


def test_children_get_our_settings_and_none_of_the_callers(monkeypatch):
    monkeypatch.setenv("STREAMREC_KAFKA__BOOTSTRAP", "far.example:9092")
    monkeypatch.setenv("UNRELATED", "kept")
    env = children.clean_env({"STREAMREC_KAFKA__PREFIX": "demo"})
    assert env["UNRELATED"] == "kept"
    assert "STREAMREC_KAFKA__BOOTSTRAP" not in env
    assert env["STREAMREC_KAFKA__PREFIX"] == "demo"
