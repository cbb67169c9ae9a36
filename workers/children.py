"""Processes of our own beside this one: started, watched, and ended by their ids.

Each runs in a session of its own, so that a Ctrl-C at the terminal is for us alone and we
end them in order. Where `setpriv` is there (Linux), they also end if we are killed.
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from workers.terminal import CommandError


@dataclass(frozen=True, slots=True)
class Child:
    """A process that we started. `log` is where it writes; None: where we write."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path | None


SIGNALS = (signal.SIGINT, signal.SIGTERM)


def start(
    name: str,
    command: Sequence[str],
    *,
    among: list[Child],
    env: Mapping[str, str],
    cwd: Path,
    log: Path | None = None,
) -> Child:
    """Starts it; what it writes goes to the end of the log. It stands `among` those that are to
    be stopped before an interruption is heard: none is started and then forgotten."""
    words = list(command)
    if shutil.which("setpriv"):
        words = ["setpriv", "--pdeathsig", "TERM", *words]
    output = log.open("ab") if log else None
    try:
        with _held():
            process = subprocess.Popen(
                words,
                env=dict(env),
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT if output else None,
                start_new_session=True,
            )
            among.append(Child(name, process, log))
    finally:
        if output:
            output.close()
    return among[-1]


def check(children: Sequence[Child]) -> None:
    """Raises CommandError with the last lines of the first one that has ended."""
    for child in children:
        code = child.process.poll()
        if code is not None:
            raise CommandError(f"the {child.name} ended ({_how(code)}){last_words(child)}")


def wait_for_end(children: Sequence[Child], *, timeout_s: float) -> None:
    """Waits until the first one has ended, at most so long."""
    with suppress(subprocess.TimeoutExpired):
        children[0].process.wait(timeout_s)


def stop(children: Sequence[Child], *, limit_s: float = 20.0) -> None:
    """Asks all to end, the newest first, waits, and kills what has not ended by then."""
    for child in reversed(children):
        if child.process.poll() is None:
            child.process.terminate()
    end_s = time.monotonic() + limit_s
    for child in reversed(children):
        try:
            child.process.wait(max(0.0, end_s - time.monotonic()))
        except subprocess.TimeoutExpired:
            child.process.kill()
            child.process.wait()


def last_words(child: Child, *, lines: int = 12) -> str:
    """The end of its log, to be shown after a message."""
    if child.log is None or not child.log.is_file():
        return ""
    tail = child.log.read_bytes()[-16_384:].decode(errors="replace").strip().splitlines()
    return f"; the end of {child.log}:\n" + "\n".join(tail[-lines:]) if tail else ""


@contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """A SIGTERM in here is a KeyboardInterrupt, so that what was started is ended too; and so is
    a SIGINT, which a shell has its background jobs ignore."""

    def interrupt(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    with _handled(interrupt):
        yield


@contextmanager
def stopped_in_peace() -> Iterator[ExitStack]:
    """A stack of what is to be stopped. It is closed on the way out, whatever the reason, and
    a second Ctrl-C does not leave half of it running."""
    stack = ExitStack()
    try:
        yield stack
    finally:
        with _handled(signal.SIG_IGN):
            stack.close()


@contextmanager
def _held() -> Iterator[None]:
    """An interruption in here is heard at its end."""
    came: list[int] = []
    with _handled(lambda number, _: came.append(number)):
        yield
    for number in came[:1]:
        signal.raise_signal(number)


@contextmanager
def _handled(handler: Callable[[int, Any], object] | signal.Handlers) -> Iterator[None]:
    """In here this happens at a signal to end."""
    before = [signal.signal(number, handler) for number in SIGNALS]
    try:
        yield
    finally:
        for number, one in zip(SIGNALS, before, strict=True):
            signal.signal(number, one)


def clean_env(settings: Mapping[str, str]) -> dict[str, str]:
    """Our environment with these STREAMREC_ settings in the place of all that it had."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("STREAMREC_")}
    return kept | dict(settings)


def _how(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
