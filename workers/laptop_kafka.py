"""One real Kafka node on loopback, for a laptop and for tests: start, stop, status.

Everything is the standard library's; what runs is deploy/kafka/start.sh, which becomes the
node itself (exec), so that the process id written here is the node's own.

    python -m workers.laptop_kafka up|down|status [FOLDER]
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import deploy

SCRIPT = deploy.HERE / "kafka" / "start.sh"
PORT = 9092
POLL_S = 0.02


class KafkaUnavailableError(Exception):
    """No node here, and the message is one line that says what to do about it."""


@dataclass(frozen=True)
class Broker:
    """A node that answers."""

    bootstrap: str
    pid: int
    folder: Path
    port: int


def default_folder() -> Path:
    """Where `rec dev kafka up` keeps its data."""
    return Path.home() / ".local" / "state" / "streamrec" / "kafka"


def check() -> None:
    """Raises KafkaUnavailableError with an install command where Java or Maven is missing."""
    _script("check")


def resolve_jars() -> Path:
    """The folder of Kafka's jars; fetched by Maven the first time (44 MB)."""
    return Path(_script("resolve").strip().splitlines()[-1])


def start(
    *,
    folder: Path,
    port: int | None = None,
    controller_port: int | None = None,
    heap: str = "512m",
    limit_s: float = 60.0,
    attached: bool = False,
) -> Broker:
    """A node over this folder that answers requests; the running one if there is one.

    Without a port it takes the one that this folder had before, if free, so that clients
    find a restarted node again; else any free one. An attached node ends with the process
    that started it. Data written before is kept.
    """
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        running = status(folder)
        if running is not None:
            return running
        resolve_jars()
        port = _choose(port, remembered=_last_port(folder))
        controller_port = _choose(controller_port, remembered=None, taken=port)
        pid = _spawn(
            ["bash", str(SCRIPT), "run", str(folder), str(port), str(controller_port)],
            log=folder / "start.log",
            heap=heap,
            attached=attached,
        )
        _state(folder).write_text(json.dumps({"pid": pid, "port": port}))
        _await_ready(folder, pid=pid, port=port, limit_s=limit_s)
        return Broker(bootstrap=f"127.0.0.1:{port}", pid=pid, folder=folder, port=port)


def stop(folder: Path, *, limit_s: float = 15.0) -> bool:
    """Ends the node over this folder: asks, then kills. False if none was running."""
    folder = folder.resolve()
    running = status(folder)
    if running is None:
        _state(folder).unlink(missing_ok=True)
        return False
    for number, patience_s in ((signal.SIGTERM, limit_s), (signal.SIGKILL, 10.0)):
        with suppress(ProcessLookupError):
            os.kill(running.pid, number)
        if _within(lambda: not _is_ours(running.pid, folder), limit_s=patience_s):
            break
    _reap(running.pid)
    _state(folder).unlink(missing_ok=True)
    return True


def status(folder: Path) -> Broker | None:
    """The node over this folder, judged by its process and not by a file left behind."""
    folder = folder.resolve()
    try:
        state = json.loads(_state(folder).read_text())
        pid, port = int(state["pid"]), int(state["port"])
    except (FileNotFoundError, ValueError, KeyError):
        return None
    if not _is_ours(pid, folder):
        return None
    return Broker(bootstrap=f"127.0.0.1:{port}", pid=pid, folder=folder, port=port)


def answers(port: int, *, timeout_s: float = 1.0) -> bool:
    """Whether a Kafka node on this loopback port answers an ApiVersions request."""
    # api_key 18, version 0, correlation id 7, no client id
    request = struct.pack(">hhih", 18, 0, 7, -1)
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=timeout_s) as connection:
            connection.sendall(struct.pack(">i", len(request)) + request)
            head = connection.recv(10, socket.MSG_WAITALL)
    except OSError:
        return False
    return len(head) == 10 and struct.unpack(">iih", head)[1:] == (7, 0)


def _script(verb: str) -> str:
    done = subprocess.run(
        ["bash", str(SCRIPT), verb], capture_output=True, text=True, check=False
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"{SCRIPT} {verb} failed"]
        raise KafkaUnavailableError(lines[-1])
    return done.stdout


def _state(folder: Path) -> Path:
    return folder / "broker.json"


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Two starts over one folder come one after the other."""
    with (folder / "start.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _last_port(folder: Path) -> int | None:
    with suppress(FileNotFoundError):
        text = (folder / "server.properties").read_text()
        found = re.search(r"PLAINTEXT://127\.0\.0\.1:(\d+)", text)
        return int(found[1]) if found else None
    return None


def is_free(port: int) -> bool:
    """Whether nobody listens on this loopback port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _choose(wanted: int | None, *, remembered: int | None, taken: int = 0) -> int:
    if wanted is not None:
        if not is_free(wanted):
            raise KafkaUnavailableError(f"port {wanted} is taken: name another one")
        return wanted
    if remembered is not None and is_free(remembered):
        return remembered
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        if port != taken:
            return port


def _spawn(command: list[str], *, log: Path, heap: str, attached: bool) -> int:
    """Starts it in a session of its own, so that a Ctrl-C for us is none for the node."""
    if attached and shutil.which("setpriv"):
        command = ["setpriv", "--pdeathsig", "TERM", *command]
    write = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    return os.posix_spawnp(
        command[0],
        command,
        {**os.environ, "KAFKA_HEAP_OPTS": f"-Xmx{heap}"},
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), write, 0o644),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
    )


def _is_ours(pid: int, folder: Path) -> bool:
    """Whether this process is the node over this folder (or the script that becomes it)."""
    _reap(pid)
    words = _command_line(pid)
    script = str(SCRIPT) in words and "run" in words and str(folder) in words
    return script or f"-Dstreamrec.kafka.folder={folder}" in words


def _reap(pid: int) -> None:
    """Takes note of the end of a child of ours, which else stays in the process list."""
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def _command_line(pid: int) -> list[str]:
    """A process's words; none if it has ended or ends."""
    process = Path(f"/proc/{pid}")
    for _ in range(50):
        try:
            words = (process / "cmdline").read_bytes().decode(errors="replace")
            state = (process / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return []
        if words or state in "ZX":
            return words.split("\0")
        time.sleep(0.002)  # in the middle of an exec it has none, and is not dead
    return []


def _await_ready(folder: Path, *, pid: int, port: int, limit_s: float) -> None:
    def settled() -> bool:
        return answers(port) or not _is_ours(pid, folder)

    if _within(settled, limit_s=limit_s) and _is_ours(pid, folder):
        return
    stop(folder)
    reason = "it was not up in time" if not _is_ours(pid, folder) else "it does not stop"
    raise KafkaUnavailableError(f"Kafka did not start ({reason}): {_last_words(folder)}")


def _last_words(folder: Path) -> str:
    for name in ("start.log", "logs/server.log"):
        with suppress(FileNotFoundError):
            lines = (folder / name).read_text(errors="replace").strip().splitlines()
            if lines:
                return f"{lines[-1][:300]} (see {folder / name})"
    return f"see {folder}"


def _within(condition: Callable[[], bool], *, limit_s: float) -> bool:
    deadline = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL_S)
    return True


def main(arguments: list[str]) -> int:
    """`up`, `down` or `status`, and the folder; 0 where a node is as it was asked to be."""
    verb = arguments[0] if arguments else ""
    folder = Path(arguments[1]) if len(arguments) > 1 else default_folder()
    if verb == "up":
        try:
            broker = start(folder=folder, port=PORT if is_free(PORT) else None)
        except KafkaUnavailableError as error:
            print(error, file=sys.stderr)  # noqa: T201  # a command line's answer
            return 3
        print(f"up: {broker.bootstrap} pid={broker.pid} folder={broker.folder}")  # noqa: T201
        return 0
    if verb == "down":
        print("stopped" if stop(folder) else "not running")  # noqa: T201
        return 0
    if verb == "status":
        found = status(folder)
        print(f"up: {found.bootstrap} pid={found.pid}" if found else "down")  # noqa: T201
        return 0 if found else 1
    print("usage: python -m workers.laptop_kafka up|down|status [FOLDER]")  # noqa: T201
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
