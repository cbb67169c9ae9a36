"""What a worker knows, in words; and which worker is asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from workers.ask import ask, did, words_of_user, words_of_why
from workers.terminal import CommandError, Exit

KNOWN = {
    "user_id": "u1", "partition": 3, "applied": 41, "as_of_ms": 884_000_000_000,
    "erased_at_ms": None, "items": 2, "seen": 1, "ring": 2, "said": 1, "shown": 0, "undone": 0,
    "heaviest": [{"item_id": "i1", "weight": 2.0}, {"item_id": "i2", "weight": -1.0}],
    "newest": [{"item_id": "i1", "kind": "rating", "value": 5.0, "at_ms": 884_000_000_000}],
}  # fmt: skip
WHY = {
    "user_id": "u1", "item_id": "i3", "barred": [], "indexed": True, "rank": 7,
    "popularity": 0.5,
    "because": [{"item_id": "i1", "mass": 2.0, "likeness": 0.4, "share": 0.8}],
}  # fmt: skip


def title(item_id: str) -> str:
    return {"i1": "One (i1)"}.get(item_id, item_id)


def test_what_is_known_of_a_user_is_said_in_words():
    said = "\n".join(words_of_user(KNOWN, title))
    assert "u1, in partition 3, as of 1998-01-05 11:33:20" in said
    assert "+2.000  One (i1)" in said
    assert "rating 5: One (i1)" in said
    assert "erased" not in said


def test_an_erasure_is_said():
    said = "\n".join(words_of_user({**KNOWN, "erased_at_ms": 884_000_000_000}, title))
    assert "erased: all up to 1998-01-05 11:33:20 is forgotten" in said


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param({}, "number 7 of all that may be listed now", id="ranked"),
        pytest.param(
            {"barred": ["seen", "expired"]}, "not listed: seen; expired", id="barred"
        ),
        pytest.param({"indexed": False, "rank": None}, "it has no vector", id="no vector"),
        pytest.param({"rank": None}, "beyond the first 1,000", id="far down"),
    ],
)
def test_why_an_item_is_or_is_not_listed_is_said_in_words(change, said):
    lines = "\n".join(words_of_why({**WHY, **change}, title))
    assert said in lines
    assert "+0.800 =  +2.000 x +0.400  One (i1)" in lines


@pytest.mark.parametrize(
    ("kind", "value", "said"),
    [("rating", 5.0, "rating 5"), ("dwell", 12.5, "dwell 12.5 s"), ("click", 0.0, "click")],
)
def test_events_are_said_with_the_value_that_they_have(kind, value, said):
    assert did(kind, value) == said


@contextmanager
def answering(status: int, body: Any) -> Iterator[str]:
    """A worker that answers everything with this."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_the_worker_that_owns_the_user_is_found_among_all():
    with answering(404, {"error": "unknown"}) as other, answering(200, KNOWN) as owner:
        assert ask("/user", {"user_id": "u1"}, urls=[other, owner]) == KNOWN


def test_a_user_that_no_worker_knows_is_a_no():
    with answering(404, {"error": "this worker knows nothing of user 'u1'"}) as url:
        with pytest.raises(CommandError, match="knows nothing of user") as refused:
            ask("/user", {"user_id": "u1"}, urls=[url])
        assert refused.value.code is Exit.NO


def test_a_worker_that_can_not_answer_now_is_not_a_no():
    with answering(503, {"error": "the loop gave no answer"}) as url:
        with pytest.raises(CommandError, match="gave no answer") as refused:
            ask("/user", {"user_id": "u1"}, urls=[url])
        assert refused.value.code is Exit.MISSING
