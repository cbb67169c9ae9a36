"""A line of somebody's data as one of our records: each cell by what the map says. Pure.

Every refusal names the column, the cell's beginning and the remedy.
"""

import math
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from schemas import DecodeError, decode
from workers.import_map import (
    Cell,
    EventFields,
    Events,
    Field,
    ItemFields,
    Items,
    Media,
    as_field,
    names_of,
)

Row = Mapping[str, Any]
_PER_MS = {"s": 1_000.0, "ms": 1.0, "us": 1e-3, "ns": 1e-6}
_TRUE = ("1", "true", "yes", "x")


class CellError(ValueError):
    """A cell that can't be taken. The message names column, value and remedy."""


class PassedOver(Exception):
    """The map says that this line is no record."""


def event_of(row: Row, part: Events, *, name: str) -> bytes:
    """The interaction of this line as JSON; `name` is its id where the map has none. Raises
    CellError or PassedOver."""
    fields = part.fields
    tree: dict[str, Any] = {"type": "interaction", "event_id": name}
    for of in ("event_id", "user_id", "item_id", "kind", "session_id", "text"):
        _put(tree, of, _text(row, getattr(fields, of)))
    _put(tree, "value", _number(row, fields.value))
    _put(tree, "at_ms", _time(row, fields.at))
    context = {key: _plain(row, cell) for key, cell in part.context.items()}
    _put(tree, "context", {key: v for key, v in context.items() if v is not None})
    _put(tree, "media", _media(row, part.media))
    return _checked("events", tree, fields)


def item_of(row: Row, part: Items) -> bytes:
    """The item of this line as JSON. Raises CellError or PassedOver."""
    fields = part.fields
    tree: dict[str, Any] = {"type": "item"}
    for of in ("item_id", "title", "description", "creator", "language"):
        _put(tree, of, _text(row, getattr(fields, of)))
    _put(tree, "categories", _several(row, as_field(fields.categories)))
    _put(tree, "published_at_ms", _time(row, fields.published_at))
    _put(tree, "expires_at_ms", _time(row, fields.expires_at))
    if (said := _text(row, fields.available)) is not None:
        tree["available"] = said.lower() in as_field(fields.available).true
    told = {key: _plain(row, cell) for key, cell in part.attributes.items()}
    _put(tree, "attributes", {key: v for key, v in told.items() if v is not None})
    vectors = {key: _vector(row, as_field(cell)) for key, cell in part.vectors.items()}
    _put(tree, "vectors", {key: v for key, v in vectors.items() if v})
    _put(tree, "media", _media(row, part.media))
    return _checked("items", tree, fields)


def _put(tree: dict[str, Any], name: str, value: Any) -> None:
    if value is not None and value not in ({}, []):
        tree[name] = value


def _checked(role: str, tree: dict[str, Any], fields: EventFields | ItemFields) -> bytes:
    """The record, as the worker will read it; what it would refuse is refused here, by the
    name of the column that it came from."""
    line = msgspec.json.encode(tree)
    try:
        decode(role, line, "application/json")
    except DecodeError as error:
        said = str(error)
        for of in fields.__struct_fields__:
            columns = names_of(as_field(getattr(fields, of)))
            if columns and f"`{of}" in said:
                said = f"column `{columns[0]}` is {_shown(tree.get(of, ''))}: {said}"
                break
        raise CellError(said) from error
    return line


def _said(row: Row, field: Field) -> Any:
    """What the cell says, as it stands; "" where it says nothing."""
    if field.value is not None:
        return field.value
    if isinstance(field.column, list):
        parts = [str(row.get(name) or "").strip() for name in field.column]
        return "\n".join(part for part in parts if part) or field.default or ""
    said = row.get(field.column) if field.column else None
    said = said.strip() if isinstance(said, str) else said
    return (field.default or "") if said is None or said == "" else said


def _text(row: Row, cell: Cell) -> str | None:
    field = as_field(cell)
    said = str(_said(row, field))
    if said in field.pass_over:
        raise PassedOver
    if not said:
        return None
    if field.map and said not in field.map and field.value is None:
        raise _refused(field, said, "name this word in the field's `map` or `pass_over`")
    return field.prefix + field.map.get(said, said)


def _number(row: Row, cell: Cell) -> float | None:
    field = as_field(cell)
    if (said := _text(row, field)) is None:
        return None
    other = "," if field.decimal == "." else "."
    plain = said.replace(other, "").replace(" ", "").replace("\u00a0", "")
    try:
        number = float(plain.replace(field.decimal, "."))
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise _refused(field, said, "send a number; `decimal` says what parts its digits")
    return number * field.scale


def _plain(row: Row, cell: Cell) -> str | float | None:
    """A value of a context or of an attribute: a number where the map says so."""
    return _number(row, cell) if as_field(cell).number else _text(row, cell)


def _time(row: Row, cell: Cell) -> int | None:
    """Milliseconds since 1970."""
    field = as_field(cell)
    said = str(_said(row, field))
    if not said:
        return None
    try:
        if field.format:
            moment = datetime.strptime(said, field.format)  # noqa: DTZ007  # zoned below
        elif field.unit == "iso":
            moment = datetime.fromisoformat(said)
        else:
            return math.floor(float(said) * _PER_MS[field.unit])
    except (ValueError, OverflowError) as error:
        remedy = "set the field's `unit` (s, ms, us, ns, iso) or its `format`"
        raise _refused(field, said, remedy) from error
    if moment.tzinfo is None:
        if not field.zone:
            raise _refused(field, said, "it has no zone: set the field's `zone`, as UTC")
        moment = moment.replace(tzinfo=_zone(field.zone))
    return round(moment.timestamp() * 1000)


@lru_cache(maxsize=64)
def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError) as error:
        remedy = "use a name such as Europe/Berlin or UTC"
        raise CellError(f"`zone` is {name!r}; {remedy}") from error


def _several(row: Row, field: Field) -> list[str]:
    """Several in one cell, flags whose columns say yes; each once, in their order."""
    raw = _said(row, field)
    if isinstance(raw, list):
        parts = [str(part) for part in raw]
    else:
        parts = str(raw).split(field.separator) if field.separator else [str(raw)]
    named = [part.strip() for part in parts if part.strip()]
    flags = [flag for flag in field.flags if str(row.get(flag, "")).lower() in _TRUE]
    words = [field.prefix + field.map.get(name, name) for name in [*named, *flags]]
    return list(dict.fromkeys(words))


def _vector(row: Row, field: Field) -> list[float]:
    raw = _said(row, field)
    try:
        if isinstance(raw, str) and raw.startswith("["):
            raw = msgspec.json.decode(raw)
        numbers = raw if isinstance(raw, list) else str(raw).split(field.separator or None)
        return [float(number) for number in numbers]
    except (ValueError, TypeError, msgspec.DecodeError) as error:
        remedy = "send numbers parted by the field's `separator`, or [1.0, 2.0]"
        raise _refused(field, raw, remedy) from error


def _media(row: Row, columns: list[Media]) -> list[dict[str, str]]:
    found = []
    for media in columns:
        field = Field(column=media.column, separator=media.separator)
        for part in _several(row, field):
            # blanks and letters outside ASCII are not of a URI; what is one already stays
            path = quote(part, safe="/%:?&=#+,;@~!$'()*")
            found.append({"kind": media.kind, "uri": media.prefix + path})
    return found


def _refused(field: Field, value: Any, remedy: str) -> CellError:
    where = ", ".join(names_of(field)) or "a constant"
    return CellError(f"column `{where}` is {_shown(value)}; {remedy}")


def _shown(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 80 else shown[:77] + "..."
