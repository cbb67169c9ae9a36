"""Waiting for a condition with a limit: no test of ours sleeps for a while and hopes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Event
from typing import TypeVar

T = TypeVar("T")


def wait_for(
    condition: Callable[[], T], *, limit_s: float, what: str = "", every_s: float = 0.01
) -> T:
    """What the condition returned once it was true; AssertionError past the limit."""
    pause, deadline = Event(), time.monotonic() + limit_s
    while not (found := condition()):
        if time.monotonic() >= deadline:
            name = what or getattr(condition, "__name__", "the condition")
            raise AssertionError(f"waited {limit_s:g} s for {name}; last seen: {found!r}")
        pause.wait(every_s)
    return found


def _a_moment() -> None:
    Event().wait(0.001)


@dataclass
class Turned:
    """Whether a worker's loop has turned enough: `until` holds, after one turn or more. Beside
    the loop are threads, so a turn is no measure of time: the limit is in seconds. `between`
    waits a little for the threads, as a real poll would."""

    until: Callable[[], object]
    between: Callable[[], object] = _a_moment
    limit_s: float = 60.0
    turns: int = 0

    def __post_init__(self) -> None:
        self._deadline_s = time.monotonic() + self.limit_s

    def enough(self) -> bool:
        """Asked before each turn; AssertionError past the limit."""
        assert time.monotonic() < self._deadline_s, (
            f"the worker does not come to an end: {self.turns} turns in {self.limit_s:g} s"
        )
        if self.turns:
            self.between()
        self.turns += 1
        return self.turns > 1 and bool(self.until())
