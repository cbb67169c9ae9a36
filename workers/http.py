"""The worker's own small HTTP port: is it well, what does it count, what does it know.

/metrics, /healthz, /readyz, /user?user_id=, /why?user_id=&item_id=. JSON except /metrics.
Each worker writes where it listens into a folder (var/http), so that `rec user`, `rec why`
and `rec doctor` find the running ones.
"""

import json
import os
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import msgspec

from workers import metrics
from workers.health import Answer, Health, Question, Questions

if TYPE_CHECKING:
    from workers.config import HttpConfig

FOLDER = Path("var/http")
MAX_TARGET = 4096
MAX_ID_BYTES = 256
MAX_THREADS = 16
PATIENCE_S = 10.0


@dataclass(frozen=True, slots=True)
class Announced:
    """A worker's file in the folder. `born` is when the process was made, so that another
    process with the same number is not taken for it."""

    url: str
    pid: int
    role: str
    worker: str
    born: int = 0

    def alive(self) -> bool:
        """Whether the process that wrote this still runs."""
        born = _born(self.pid)
        return born is not None and self.born in (0, born)


@dataclass(frozen=True, slots=True)
class Server:
    """A port that answers until it is closed."""

    url: str
    port: int
    close: Callable[[], None]


def serve(
    config: "HttpConfig",
    health: Health,
    questions: Questions | None,
    *,
    role: str,
    worker: str,
    folder: Path = FOLDER,
) -> Server:
    """Listens, announces itself, and answers from threads of its own until closed. Without
    `questions` it is a worker that knows no users, and says so."""
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    httpd = type("Httpd", (_Httpd,), {"address_family": family})(
        (config.host, config.port),
        partial(_Handler, health, questions, threading.BoundedSemaphore(MAX_THREADS)),
    )
    port = int(httpd.server_address[1])
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(config.host, config.host)
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    thread = threading.Thread(
        target=httpd.serve_forever, kwargs={"poll_interval": 0.1}, name="http", daemon=True
    )
    thread.start()
    here = Announced(url, os.getpid(), role, worker, _born(os.getpid()) or 0)
    path = _announce(here, folder)

    def close() -> None:
        if _read(path) == here:  # a successor of our name may have announced itself by now
            path.unlink(missing_ok=True)
        httpd.shutdown()
        httpd.server_close()
        thread.join(PATIENCE_S)

    return Server(url, port, close)


def announced(folder: Path = FOLDER) -> list[Announced]:
    """Every worker that announced itself here, dead ones (`alive()` is false) included."""
    found = (_read(path) for path in sorted(folder.glob("*.json")))
    return [one for one in found if one is not None]


class _Httpd(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64


class _Handler(BaseHTTPRequestHandler):
    """One request. What it is about comes before what the standard library gives."""

    timeout = PATIENCE_S
    server_version = "streamrec"
    sys_version = ""

    def __init__(
        self,
        health: Health,
        questions: Questions | None,
        slots: threading.BoundedSemaphore,
        *given: Any,
    ) -> None:
        self._health, self._questions, self._slots = health, questions, slots
        super().__init__(*given)

    def do_GET(self) -> None:
        if not self._slots.acquire(blocking=False):
            self._send(Answer(503, {"error": "too many requests at once; ask again"}))
            return
        try:
            if urlsplit(self.path).path == "/metrics":
                metrics.gauges(ready=float(self._health.ready().ok))
                self._write(200, metrics.exposition(), metrics.CONTENT_TYPE)
            else:
                self._send(_answer(self.path, self._health, self._questions))
        finally:
            self._slots.release()

    do_HEAD = do_GET

    def send_error(
        self, code: int, message: str | None = None, explain: str | None = None
    ) -> None:
        """The standard library's own refusals, as JSON too."""
        self.close_connection = True
        self._send(Answer(code, {"error": message or explain or "see the code"}))

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Nothing: targets hold user ids, and a scrape is no news."""

    def _send(self, answer: Answer) -> None:
        self._write(
            answer.status, msgspec.json.encode(answer.body) + b"\n", "application/json"
        )

    def _write(self, status: int, body: bytes, content_type: str) -> None:
        with suppress(ConnectionError, TimeoutError):  # the asker has gone: not our trouble
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)


def _answer(target: str, health: Health, questions: Questions | None) -> Answer:
    """What a request target is answered with."""
    if len(target) > MAX_TARGET:
        return Answer(400, {"error": f"a target has at most {MAX_TARGET} characters"})
    split = urlsplit(target)
    if split.path in ("/healthz", "/readyz"):
        report = health.alive() if split.path == "/healthz" else health.ready()
        return Answer(200 if report.ok else 503, report.body)
    wanted = {"/user": ("user_id",), "/why": ("user_id", "item_id")}.get(split.path)
    if wanted is None:
        known = "/metrics, /healthz, /readyz, /user?user_id=, /why?user_id=&item_id="
        return Answer(404, {"error": f"no such path; there are {known}"})
    if questions is None:
        return Answer(404, {"error": "this worker knows no users; ask a recommend worker"})
    try:
        ids = _ids(split.query, wanted)
    except ValueError as error:
        return Answer(400, {"error": str(error)})
    return questions.ask(Question(kind="user" if len(ids) == 1 else "why", **ids))


def _ids(query: str, wanted: tuple[str, ...]) -> dict[str, str]:
    given = parse_qs(query, errors="strict", max_num_fields=8)
    ids = {name: values[-1] for name, values in given.items()}
    for name in wanted:
        if not ids.get(name):
            raise ValueError(f"give {name}: ?{'&'.join(f'{n}=...' for n in wanted)}")
        if len(ids[name].encode()) > MAX_ID_BYTES:
            raise ValueError(f"{name} has at most {MAX_ID_BYTES} bytes")
    return {name: ids[name] for name in wanted}


def _announce(here: Announced, folder: Path) -> Path:
    """In one step: a reader sees the whole file or the one before it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{here.role}-{here.worker}.json"
    draft = path.with_suffix(f".{here.pid}.new")
    draft.write_text(json.dumps(asdict(here)) + "\n")
    draft.replace(path)
    return path


def _read(path: Path) -> Announced | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Announced)
    except (OSError, msgspec.DecodeError):
        return None


def _born(pid: int) -> int | None:
    """When this process was made, in ticks since boot; None if there is none (or a zombie)."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if state in "ZX" else int(fields[18])
