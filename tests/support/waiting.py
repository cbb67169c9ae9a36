"""Waiting for a condition with a limit: no test of ours sleeps for a while and hopes."""

from __future__ import annotations

import time
from collections.abc import Callable
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
