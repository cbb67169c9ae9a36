"""How the columns of somebody's data become the fields of our records: MAP.toml, read. Values
only; what is done with them is in import_cells.py.

A field is told by the name of a column, or by a table where more has to be said:

    user_id = "customer"
    item_id = { column = "sku", prefix = "sku-" }
    kind    = { column = "action", map = { bought = "purchase" }, pass_over = ["returned"] }
"""

import tomllib
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from workers.terminal import CommandError, Exit

Unit = Literal["s", "ms", "us", "ns", "iso"]


class Field(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One field, from a column (or several, joined), or the same for every line."""

    column: str | list[str] = ""
    """the column; of several the texts are joined, a line each"""
    value: str | None = None
    """a constant, instead of a column"""
    default: str | None = None
    """what an empty cell says; without it an empty cell says nothing"""
    prefix: str = ""
    """put before what the cell says"""
    map: dict[str, str] = {}
    """from the words of the cell to ours; a word that is not named is refused"""
    pass_over: list[str] = []
    """a line whose cell says one of these is no record"""
    separator: str = ""
    """between several in one cell (categories, media, numbers of a vector)"""
    flags: list[str] = []
    """categories: columns that say 1 or true where their name is a category"""
    unit: Unit = "iso"
    """of a time: s, ms, us, ns since 1970, or iso: ISO 8601"""
    format: str = ""
    """of a time, as strptime reads it: %d.%m.%Y %H:%M"""
    zone: str = ""
    """of a time that names no zone: Europe/Berlin, UTC"""
    scale: float = 1.0
    """what a number is multiplied by"""
    decimal: Literal[".", ","] = "."
    """of a number; the other of the two, and blanks, part its thousands"""
    number: bool = False
    """an attribute that is a number"""
    true: tuple[str, ...] = ("1", "true", "yes")
    """words for yes, of a field that is yes or no"""


Cell = str | Field


class Media(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A column of media: what kind, and what to put before the cell to have a URI."""

    kind: Literal["image", "audio", "video", "sensor", "text"]
    column: str
    prefix: str = ""
    separator: str = ""


class EventFields(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Fields of an interaction. Without `event_id` it is the file's name and the line."""

    user_id: Cell
    item_id: Cell
    kind: Cell
    at: Cell
    event_id: Cell = ""
    value: Cell = ""
    session_id: Cell = ""
    text: Cell = ""


class ItemFields(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Fields of an item."""

    item_id: Cell
    title: Cell = ""
    description: Cell = ""
    categories: Cell = ""
    creator: Cell = ""
    language: Cell = ""
    published_at: Cell = ""
    expires_at: Cell = ""
    available: Cell = ""


class Source(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the file is written. Without `format` its name says so (.tsv, .jsonl, else csv)."""

    format: Literal["", "csv", "tsv", "jsonl"] = ""
    delimiter: Annotated[str, Meta(max_length=8)] = ""
    columns: list[str] = []
    """names of the columns, where the file has no header line"""
    encoding: str = "utf-8-sig"


class Events(Source, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[events]"""

    fields: EventFields
    context: dict[str, Cell] = {}
    media: list[Media] = []


class Items(Source, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[items]"""

    fields: ItemFields
    attributes: dict[str, Cell] = {}
    media: list[Media] = []
    vectors: dict[str, Cell] = {}


class Mapping(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """MAP.toml"""

    events: Events | None = None
    items: Items | None = None


def read_mapping(file: Path) -> Mapping:
    """The mapping of this file. CommandError names the setting and what is wrong with it."""
    try:
        return msgspec.convert(tomllib.loads(file.read_text("utf-8")), Mapping)
    except FileNotFoundError as error:
        raise CommandError(f"there is no file {file}", Exit.USAGE) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        remedy = "see docs/import.md for what a map says"
        raise CommandError(f"{file}: {error}; {remedy}", Exit.USAGE) from error


def columns_of(part: Events | Items) -> list[str]:
    """Every column that this part of the map reads, in its order."""
    cells: list[Cell] = [getattr(part.fields, n) for n in part.fields.__struct_fields__]
    if isinstance(part, Events):
        cells += part.context.values()
    else:
        cells += [*part.attributes.values(), *part.vectors.values()]
    found = [name for cell in cells for name in names_of(as_field(cell))]
    return [*found, *(media.column for media in part.media)]


def as_field(cell: Cell) -> Field:
    """A column's name alone, as the table that it is short for."""
    return cell if isinstance(cell, Field) else Field(column=cell)


def names_of(field: Field) -> list[str]:
    """The columns that a field reads."""
    columns = [field.column] if isinstance(field.column, str) else field.column
    return [name for name in [*columns, *field.flags] if name]
