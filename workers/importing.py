"""`rec import`: somebody's files, whatever their columns, as lines that `rec produce` takes.

map -> rows of a file -> cells -> record, checked as a worker would -> line
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from workers.import_cells import CellError, PassedOver, Row, event_of, item_of
from workers.import_map import Events, Items, columns_of, read_mapping
from workers.import_rows import rows
from workers.terminal import CommandError, Exit, complain, console, say_json

SHOWN = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Import:
    """What is to be read, and where it goes: a folder, or "-" for stdout."""

    mapping: Path
    events: Path | None = None
    items: Path | None = None
    out: str = "-"
    skip_bad: bool = False
    as_json: bool = False


@dataclass(slots=True)
class Tally:
    """What became of a file's lines."""

    records: int = 0
    passed_over: int = 0
    skipped: int = 0


def import_files(wanted: Import) -> int:
    """Reads the files, writes items.jsonl and events.jsonl, items first. A bad line ends it
    (exit code 2), or is passed over where that was asked for."""
    mapping = read_mapping(wanted.mapping)
    parts = (
        ("items", wanted.items, mapping.items),
        ("events", wanted.events, mapping.events),
    )
    if wanted.items is None and wanted.events is None:
        raise CommandError("name a file by --events, by --items, or both", Exit.USAGE)
    told: dict[str, Tally] = {}
    with ExitStack() as stack:
        for name, file, part in parts:
            if file is None:
                continue
            if part is None:
                raise CommandError(f"{wanted.mapping} has no [{name}]", Exit.USAGE)
            out = _opened(wanted.out, f"{name}.jsonl", stack)
            told[name] = Tally()
            for line in lines_of(file, part, told[name], skip_bad=wanted.skip_bad):
                out.write(line + b"\n")
    _report(wanted, told)
    return Exit.DONE


def lines_of(
    file: Path, part: Events | Items, tally: Tally, *, skip_bad: bool = False
) -> Iterator[bytes]:
    """A line of JSON for each record of the file. CommandError names file, line, column,
    value and remedy of the first bad one, or all are counted and the first few told."""
    for number, row in rows(file, part, wanted=columns_of(part)):
        try:
            if isinstance(row, CellError):
                raise row
            line = _record(row, part, name=f"{file.stem}-{number}")
        except PassedOver:
            tally.passed_over += 1
            continue
        except CellError as error:
            said = f"{file}, line {number}: {error}"
            if not skip_bad:
                raise CommandError(f"{said} (--skip-bad goes on)", Exit.USAGE) from error
            tally.skipped += 1
            if tally.skipped <= SHOWN:
                complain(f"skipped: {said}")
            continue
        tally.records += 1
        yield line


def _record(row: Row, part: Events | Items, *, name: str) -> bytes:
    if isinstance(part, Events):
        return event_of(row, part, name=name)
    return item_of(row, part)


def _opened(out: str, name: str, stack: ExitStack) -> BinaryIO:
    """Stdout, or a file that takes its name only when all of it is written."""
    if out == "-":
        return sys.stdout.buffer
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".{name}.partial"
    stack.push(_renamed(partial, folder / name))
    return stack.enter_context(partial.open("wb"))


def _renamed(partial: Path, whole: Path) -> Callable[..., None]:
    def leave(kind: object, *_: object) -> None:
        if kind is None:
            partial.replace(whole)
        else:
            partial.unlink(missing_ok=True)

    return leave


def _report(wanted: Import, told: dict[str, Tally]) -> None:
    if wanted.as_json:
        said = {
            name: {"records": t.records, "passed_over": t.passed_over, "skipped": t.skipped}
            for name, t in told.items()
        }
        if wanted.out != "-":
            say_json(said)
        return
    words = []
    for name, tally in told.items():
        more = f", {tally.passed_over:,} passed over" if tally.passed_over else ""
        more += f", {tally.skipped:,} bad lines skipped" if tally.skipped else ""
        words.append(f"{tally.records:,} {name}{more}")
    where = "" if wanted.out == "-" else f" in {wanted.out}"
    console(stderr=wanted.out == "-").print(
        "; ".join(words) + where, markup=False, soft_wrap=True
    )
