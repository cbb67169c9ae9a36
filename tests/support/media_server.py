"""An HTTP server on loopback that serves media well, badly, slowly and not at all."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit


@dataclass
class MediaServer:
    """What it serves by path, what it was asked, and how often it is busy first."""

    port: int = 0
    files: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    busy: int = 0
    released: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextlib.contextmanager
def media_server() -> Iterator[MediaServer]:
    """Runs until the block ends; whoever is still being served slowly is let go then."""
    state = MediaServer()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

        def do_GET(self) -> None:
            state.asked.append(self.path)
            with contextlib.suppress(ConnectionError):  # the client has had enough
                answer(self, state)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = False
    state.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield state
    finally:
        state.released.set()
        server.shutdown()
        thread.join()
        server.server_close()


def answer(handler: BaseHTTPRequestHandler, state: MediaServer) -> None:
    parts = urlsplit(handler.path)
    if state.busy > 0:
        state.busy -= 1
        handler.send_error(503)
    elif parts.path == "/redirect":
        handler.send_response(302)
        handler.send_header("Location", parse_qs(parts.query)["to"][0])
        handler.end_headers()
    elif parts.path in _MISBEHAVIOURS:
        _MISBEHAVIOURS[parts.path](handler, state)
    elif parts.path in state.files:
        _send(handler, state.files[parts.path])
    else:
        handler.send_error(404)


def _send(handler: BaseHTTPRequestHandler, body: bytes, *headers: tuple[str, str]) -> None:
    handler.send_response(200)
    for name, value in headers:
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)


def _drip(handler: BaseHTTPRequestHandler, state: MediaServer) -> None:
    """A byte now and then, each within the limit of one read."""
    _send(handler, b"")
    while not state.released.wait(0.02):
        handler.wfile.write(b"x")


def _drip_headers(handler: BaseHTTPRequestHandler, state: MediaServer) -> None:
    handler.wfile.write(b"HTTP/1.0 200 OK\r\n")
    while not state.released.wait(0.02):
        handler.wfile.write(b"x-more: 1\r\n")


def _silent(_: BaseHTTPRequestHandler, state: MediaServer) -> None:
    state.released.wait(30)


def _endless(handler: BaseHTTPRequestHandler, state: MediaServer) -> None:
    _send(handler, b"")
    while not state.released.is_set():
        handler.wfile.write(b"x" * 65_536)


_MISBEHAVIOURS = {
    "/drip": _drip,
    "/drip-headers": _drip_headers,
    "/silent": _silent,
    "/endless": _endless,
    "/says-less": lambda h, _: _send(h, b"x" * 10_000, ("Content-Length", "10")),
    "/says-more": lambda h, _: _send(h, b"x" * 10, ("Content-Length", "1000")),
    "/says-huge": lambda h, _: _send(h, b"x" * 10, ("Content-Length", "999999999")),
    "/packed": lambda h, _: _send(h, b"\x1f\x8b" + b"x" * 9, ("Content-Encoding", "gzip")),
}
