"""What a worker knows about its own health, and questions that its loop answers.

Both are shared by two sides: the loop's thread, which owns all state, and the threads of
workers/http.py, which only ask. Nothing here knows HTTP.
"""

import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field
from typing import Any, Literal

from workers.ports import TransientError

CONDITIONS = ("tables", "group", "store")


@dataclass(frozen=True, slots=True)
class Report:
    """Whether something holds, and the reasons as they are shown."""

    ok: bool
    body: dict[str, Any]


class Health:
    """Alive: the loop turned lately and nothing fatal happened. Ready: alive, and each
    condition was reported to hold.

    Before its first beat a worker has `start_limit_s` (weights are loaded, logs replayed),
    after it `limit_s` between two beats. `clock` is the one that beats are taken from.
    """

    def __init__(
        self,
        *,
        conditions: Sequence[str] = CONDITIONS,
        limit_s: float = 30.0,
        start_limit_s: float = 300.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limit_s, self._start_limit_s, self._clock = limit_s, start_limit_s, clock
        self._created, self._beat = clock(), float("-inf")
        self._fatal = ""
        self._conditions = dict.fromkeys(conditions, (False, "not yet"))
        self._lock = threading.Lock()

    def beat(self, now: float) -> None:
        """The loop turned. A plain store: cheap enough for every turn."""
        self._beat = now

    def set(self, condition: str, ok: bool, why: str = "") -> None:
        """A condition of being ready holds, or does not and why."""
        with self._lock:
            self._conditions[condition] = (ok, why)

    def failed(self, why: str) -> None:
        """Something fatal happened: from now on the worker is not alive."""
        self._fatal = why

    def alive(self) -> Report:
        """What /healthz shows."""
        started = self._beat > float("-inf")
        age_s = self._clock() - (self._beat if started else self._created)
        limit_s = self._limit_s if started else self._start_limit_s
        why = self._fatal
        if not why and age_s > limit_s:
            did = "turned" if started else "started to turn"
            why = f"the loop has not {did} for {age_s:.1f} s (limit {limit_s:g} s)"
        body: dict[str, Any] = {
            "alive": not why,
            "started": started,
            "age_s": round(age_s, 3),
        }
        return Report(not why, body | ({"why": why} if why else {}))

    def ready(self) -> Report:
        """What /readyz shows."""
        alive = self.alive()
        with self._lock:
            conditions = dict(self._conditions)
        shown = {
            name: {"ok": ok} | ({"why": why} if why else {})
            for name, (ok, why) in conditions.items()
        }
        shown["alive"] = {"ok": alive.ok} | (
            {"why": alive.body["why"]} if not alive.ok else {}
        )
        ok = all(condition["ok"] for condition in shown.values())
        return Report(ok, {"ready": ok, "conditions": shown})


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Something about a user that only the loop's thread may look up."""

    kind: Literal["user", "why"]
    user_id: str
    item_id: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP status and what msgspec can write as JSON."""

    status: int
    body: Any


Handler = Callable[[Question], Any]
"""What answers: an object for JSON, or None (or LookupError) for "no such user or item",
ValueError for a question that makes no sense, TransientError while a store is away."""


@dataclass(slots=True)
class _Asked:
    question: Question
    answer: Future[Answer] = field(default_factory=Future)


class Questions:
    """A short queue from the HTTP threads to the loop's thread, and the answers back."""

    def __init__(self, *, size: int = 16, limit_s: float = 5.0) -> None:
        self._waiting: queue.Queue[_Asked] = queue.Queue(maxsize=size)
        self._limit_s = limit_s

    def ask(self, question: Question) -> Answer:
        """Waits for the loop's answer; status 503 where the queue is full or it takes long."""
        asked = _Asked(question)
        try:
            self._waiting.put_nowait(asked)
        except queue.Full:
            return Answer(503, {"error": "too many questions wait already; ask again"})
        try:
            return asked.answer.result(self._limit_s)
        except (TimeoutError, CancelledError):
            asked.answer.cancel()
            error = f"the worker's loop gave no answer in {self._limit_s:g} s; see /healthz"
            return Answer(503, {"error": error})

    def answer(self, handler: Handler) -> int:
        """Called by the loop once a turn: answers what waits now and tells how many that
        were. Never raises for a question: the loop has better things to do."""
        answered = 0
        for _ in range(self._waiting.qsize()):
            asked = self._waiting.get_nowait()
            if asked.answer.set_running_or_notify_cancel():
                asked.answer.set_result(_answered(handler, asked.question))
                answered += 1
        return answered


def _answered(handler: Handler, question: Question) -> Answer:
    try:
        found = handler(question)
    except LookupError as error:
        return Answer(404, {"error": str(error.args[0]) if error.args else "not found"})
    except ValueError as error:
        return Answer(400, {"error": str(error)})
    except TransientError as error:
        return Answer(503, {"error": f"try again: {error}"})
    except Exception as error:  # noqa: BLE001  # the edge: a question must not stop the loop
        return Answer(500, {"error": f"{type(error).__name__}: {error}"})
    return (
        Answer(200, found)
        if found is not None
        else Answer(404, {"error": _unknown(question)})
    )


def _unknown(question: Question) -> str:
    about = f" and item {question.item_id!r}" if question.item_id else ""
    return f"this worker knows nothing of user {question.user_id!r}{about}"
