"""Lines of somebody's file as rows by column: CSV, TSV or any parting, JSON lines; streamed.

A file is read once, line by line, whatever its size.
"""

import csv
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

import msgspec

from workers.import_cells import CellError, Row
from workers.import_map import Source
from workers.terminal import CommandError, Exit

MAX_CELL = 1 << 20
Numbered = tuple[int, Row | CellError]


def rows(file: Path, source: Source, *, wanted: Sequence[str]) -> Iterator[Numbered]:
    """(number of the line, its row or what is wrong with it). CommandError where the file
    can't be read, or lacks a column of the map (`wanted`) altogether."""
    kind = source.format or {".tsv": "tsv", ".jsonl": "jsonl"}.get(file.suffix, "csv")
    try:
        with file.open(encoding=source.encoding, newline="") as lines:
            if kind == "jsonl":
                yield from _json_rows(lines)
            else:
                tab = "\t" if kind == "tsv" else ","
                cells = _cells(lines, source.delimiter or tab)
                yield from _named(cells, source, file=file, wanted=wanted)
    except OSError as error:
        raise CommandError(f"{file} can't be read: {error.strerror}", Exit.USAGE) from error
    except LookupError as error:
        raise CommandError(f"`encoding`: {error}", Exit.USAGE) from error
    except UnicodeDecodeError as error:
        raise CommandError(
            f"{file} is not {error.encoding} ({error.reason}): set `encoding` in the map, "
            "such as cp1252 or gb18030",
            Exit.USAGE,
        ) from error


def _json_rows(lines: TextIO) -> Iterator[Numbered]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            tree = msgspec.json.decode(line)
        except msgspec.DecodeError as error:
            yield number, CellError(f"not JSON: {error}; one map a line")
            continue
        if isinstance(tree, dict):
            yield number, flat(tree)
        else:
            yield number, CellError(f"{line[:40]!r} is no map; one map a line")


def flat(tree: dict[str, Any], path: str = "") -> dict[str, Any]:
    """Maps in maps by paths: {"a": {"b": 1}} has the column `a.b`."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            found |= flat(value, f"{path}{key}.")
        else:
            found[f"{path}{key}"] = value
    return found


def _cells(lines: TextIO, delimiter: str) -> Iterator[tuple[int, list[str] | CellError]]:
    """The cells of each record and the number of the line that it begins in."""
    if len(delimiter) > 1:  # such as `::`, which the csv module does not part by
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield number, line.rstrip("\r\n").split(delimiter)
        return
    csv.field_size_limit(MAX_CELL)
    if delimiter == "\t":  # quotes as they stand: inches, names of songs
        reader = csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE)
    else:
        reader = csv.reader(lines, delimiter=delimiter)
    number = 1
    while (cells := _next(reader)) is not None:
        if isinstance(cells, CellError) or any(cell.strip() for cell in cells):
            yield number, cells
        number = reader.line_num + 1


def _next(reader: Iterator[list[str]]) -> list[str] | CellError | None:
    """The next record; None after the last."""
    try:
        return next(reader, None)
    except csv.Error as error:
        return CellError(f"{error}; a cell has at most {MAX_CELL} characters")


def _named(
    cells: Iterable[tuple[int, list[str] | CellError]],
    source: Source,
    *,
    file: Path,
    wanted: Sequence[str],
) -> Iterator[Numbered]:
    names = source.columns
    for number, values in cells:
        if isinstance(values, CellError):
            yield number, values
            continue
        if not names:
            names = [name.strip() for name in values]
            _check(names, file=file, wanted=wanted)
            continue
        if len(values) > len(names):
            yield (
                number,
                CellError(
                    f"{len(values)} cells, {len(names)} columns; quote cells that hold the delimiter"
                ),
            )
        else:
            yield number, dict(zip(names, values, strict=False))
    if source.columns:
        _check(names, file=file, wanted=wanted)


def _check(names: Sequence[str], *, file: Path, wanted: Sequence[str]) -> None:
    if missing := [name for name in wanted if name not in names]:
        raise CommandError(
            f"{file} has no column `{missing[0]}`, which the map names; its columns: "
            f"{', '.join(names)}",
            Exit.USAGE,
        )
