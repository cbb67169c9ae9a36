"""An HTTP server on loopback that answers as OpenAI's embeddings do, or badly on purpose."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

WIDTH = 6


@dataclass
class EmbeddingServer:
    """What it was asked, how often it is busy first, and how it answers."""

    port: int = 0
    asked: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    busy: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    spoil: Callable[[dict[str, Any]], Any] = lambda answer: answer
    released: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"


def vector_of(text: str) -> list[float]:
    """What it says of a text: of length one, told by its hash."""
    numbers = [byte - 127.5 for byte in hashlib.sha256(text.encode()).digest()[:WIDTH]]
    length = sum(number**2 for number in numbers) ** 0.5
    return [number / length for number in numbers]


@contextlib.contextmanager
def embedding_server() -> Iterator[EmbeddingServer]:
    """Runs until the block ends."""
    state = EmbeddingServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None: ...

        def do_POST(self) -> None:
            with contextlib.suppress(ConnectionError):  # the client has had enough
                answer(self, state)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
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


def answer(handler: BaseHTTPRequestHandler, state: EmbeddingServer) -> None:
    body = json.loads(handler.rfile.read(int(handler.headers["content-length"])))
    state.asked.append({**body, "path": handler.path})
    state.keys.append(handler.headers.get("authorization", ""))
    if state.busy:
        status, headers = state.busy.pop(0)
        if status == 0:  # says nothing until the end
            state.released.wait(30)
            handler.close_connection = True
            return
        _send(handler, status, b"not now", headers)
        return
    if body["model"] != "letters":
        _send(handler, 404, b'{"error": "no such model"}', {})
        return
    rows = [
        {"object": "embedding", "index": at, "embedding": vector_of(text)}
        for at, text in enumerate(body["input"])
    ]
    # out of order: the index counts
    told = state.spoil({"object": "list", "data": rows[::-1], "model": body["model"]})
    data = told if isinstance(told, bytes) else json.dumps(told).encode()
    _send(handler, 200, data, {})


def _send(
    handler: BaseHTTPRequestHandler, status: int, body: bytes, headers: dict[str, str]
) -> None:
    handler.send_response(status)
    for name, value in {**headers, "content-length": str(len(body))}.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)
