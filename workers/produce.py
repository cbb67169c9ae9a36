"""`rec produce`: JSON lines to records on their topics, each acknowledged.

line -> record, topic, key (lines.py) -> wire -> broker -> acknowledged
"""

import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from schemas import CONTENT_TYPES, DecodeError, Encoding
from workers.bootstrap import for_tools
from workers.config import Config
from workers.config import topic as topic_of
from workers.ledger import Pace
from workers.lines import Line, read_line
from workers.ports import Outbound
from workers.terminal import CommandError, Exit, complain, console, say_json

if TYPE_CHECKING:
    from rich.progress import Progress

    from workers.kafka import LiveWriter


@dataclass(frozen=True, slots=True, kw_only=True)
class Production:
    """What is to be sent, and how."""

    file: str
    topic: str = ""
    wire: str = "msgpack"
    rate: float = 0.0
    skip_bad: bool = False
    as_json: bool = False


@dataclass(slots=True)
class Sending:
    """Lines on their way: how many went where, and how many were bad."""

    production: Production
    config: Config
    sent: Counter[str] = field(default_factory=Counter)
    skipped: int = 0

    def outbound(self, number: int, text: bytes) -> Outbound | None:
        """The record of a line; None for one that is passed over."""
        if not text.strip():
            return None
        try:
            line = read_line(text, cast(Encoding, self.production.wire))
        except DecodeError as error:
            if not self.production.skip_bad:
                raise CommandError(
                    f"line {number}: {error}; {self.sent.total()} records before it were "
                    "sent (--skip-bad goes on past bad lines)",
                    Exit.USAGE,
                ) from error
            self.skipped += 1
            complain(f"line {number} skipped: {error}")
            return None
        return self._addressed(line)

    def _addressed(self, line: Line) -> Outbound:
        name = self.production.topic or topic_of(self.config.kafka, line.role)
        content_type = CONTENT_TYPES[cast(Encoding, self.production.wire)].encode()
        headers = () if line.value is None else (("content-type", content_type),)
        self.sent[name] += 1
        return Outbound(name, line.key.encode(), line.value, headers=headers)


def produce_lines(production: Production) -> int:
    """Sends every line; returns when all are acknowledged."""
    if production.wire not in CONTENT_TYPES:
        raise CommandError(
            f"--wire is msgpack or json, not {production.wire!r}", Exit.USAGE
        )
    if production.rate < 0:
        raise CommandError("--rate is records a second, 0 or more", Exit.USAGE)
    config = for_tools()
    from workers.kafka import LiveWriter

    sending = Sending(production, config)
    writer = LiveWriter(config.kafka)
    try:
        with _opened(production.file) as (lines, size):
            _send_all(sending, writer, lines, size=size)
    finally:
        unsettled = writer.settle(timeout_s=30.0)
        writer.close()
    if unsettled:
        raise CommandError(
            f"{unsettled} of {writer.sent} records were not acknowledged in 30 s: see `rec doctor`",
            Exit.MISSING,
        )
    _report(sending, writer.acknowledged)
    return Exit.DONE


def _send_all(
    sending: Sending, writer: "LiveWriter", lines: BinaryIO, *, size: int
) -> None:
    rate, began_s = sending.production.rate, time.monotonic()
    pace = Pace(rate, began_s) if rate else None
    with _progress(show=bool(size) and not sending.production.as_json) as progress:
        task = progress.add_task("sending", total=size) if progress else None
        for number, text in enumerate(lines, start=1):
            if (record := sending.outbound(number, text)) is not None:
                if pace is not None:
                    _wait_until(pace.due_at_s(writer.sent), writer)
                writer.send(record)
            if progress and task is not None:
                progress.advance(task, len(text))


def _wait_until(at_s: float, writer: "LiveWriter") -> None:
    """Until its turn, taking acknowledgements."""
    writer.settle(timeout_s=0)
    if (left_s := at_s - time.monotonic()) > 0:
        time.sleep(left_s)


@contextmanager
def _opened(file: str) -> Iterator[tuple[BinaryIO, int]]:
    """The lines, and their size where it is known."""
    if file == "-":
        yield sys.stdin.buffer, 0
        return
    path = Path(file)
    if not path.is_file():
        raise CommandError(f"there is no file {file}; - reads stdin", Exit.USAGE)
    with path.open("rb") as lines:
        yield lines, path.stat().st_size


def _progress(*, show: bool) -> "Progress | nullcontext[None]":
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TimeRemainingColumn

    out = console(stderr=True)
    if not show or not out.is_terminal:
        return nullcontext()
    columns = (
        "[progress.description]{task.description}",
        BarColumn(),
        TaskProgressColumn(),
    )
    return Progress(*columns, TimeRemainingColumn(), console=out, transient=True)


def _report(sending: Sending, acknowledged: int) -> None:
    by_topic = dict(sorted(sending.sent.items()))
    if sending.production.as_json:
        say_json(
            {"acknowledged": acknowledged, "topics": by_topic, "skipped": sending.skipped}
        )
        return
    where = ", ".join(f"{count:,} to {name}" for name, count in by_topic.items())
    skipped = f"; {sending.skipped:,} bad lines skipped" if sending.skipped else ""
    said = f"{acknowledged:,} records acknowledged{': ' if where else ''}{where}{skipped}"
    console().print(said, markup=False, soft_wrap=True)
