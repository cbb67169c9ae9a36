"""How a command speaks: exit codes, errors of one line, tables or JSON."""

import json
import os
import sys
from enum import IntEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console


WIDTH = 110
"""Columns where nobody says how many there are: in a file, in CI."""


class Exit(IntEnum):
    """What a program may rely on (`rec --help`, docs/cli.md)."""

    DONE = 0
    NO = 1
    USAGE = 2
    MISSING = 3
    INTERRUPTED = 130


EXIT_CODES = {
    Exit.DONE: "done; the answer is yes",
    Exit.NO: "the answer is no: a check failed, something was lost, nobody has it, time is up",
    Exit.USAGE: "wrong usage, settings or input",
    Exit.MISSING: "something needed is not there: a broker, a worker, a program, a file",
    Exit.INTERRUPTED: "interrupted",
}


wanted = {"debug": False}
"""Options before the command, which hold for all of them."""


class CommandError(Exception):
    """Ends a command: one line that says what is wrong and what to do, and its exit code."""

    def __init__(self, message: str, code: Exit = Exit.NO) -> None:
        super().__init__(message)
        self.code = code


def console(*, stderr: bool = False) -> "Console":
    """Where people read: colours and progress only on a terminal."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or "COLUMNS" in os.environ else WIDTH
    return Console(stderr=stderr, highlight=False, width=width)


def say_json(value: Any) -> None:
    """One line of JSON on stdout, at once: for programs."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def complain(message: str) -> None:
    """One line on stderr; below it, where there are any, lines of somebody else's log."""
    sys.stderr.write(f"rec: {message.rstrip()}\n")


def hush() -> None:
    """Clients that try again say so in the logs of workers. A tool's answer is its own."""
    import logging

    import structlog

    if not wanted["debug"]:
        logging.getLogger("streamrec").setLevel(logging.CRITICAL)
        silent = structlog.make_filtering_bound_logger(logging.CRITICAL)
        structlog.configure(wrapper_class=silent)
