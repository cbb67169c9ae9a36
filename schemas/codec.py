"""Bytes to records and back. The only file that knows the encodings.

Both msgpack and JSON are accepted on every topic, told apart by the `content-type` header
and, without one that we know, by the first byte. A refusal names the field, the beginning
of its value and the remedy (`DecodeError`).
"""

import math
import re
from base64 import b64decode
from collections.abc import Callable, Iterator
from typing import Any, Literal, Union

import msgspec

from schemas.records import F32, TYPES, Item, MediaRef, Numbers, Record

Encoding = Literal["msgpack", "json"]
CONTENT_TYPES: dict[Encoding, str] = {
    "msgpack": "application/msgpack",
    "json": "application/json",
}
MAX_DEPTH = 16
MAX_MEDIA = 64
MAX_ID_BYTES = 256
_NOT_A_CONTAINER = bytes(
    b for b in range(256) if not (0x80 <= b <= 0x9F or 0xDC <= b <= 0xDF)
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_IDS = ("event_id", "user_id", "item_id", "media_id", "undoes", "of", "name")


class DecodeError(ValueError):
    """The bytes are not a record that we take. Never retried: it will not get better.

    `reason` is one of a small closed set and becomes a metric label.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def encoding_of(value: bytes, content_type: str | None = None) -> Encoding:
    """Which encoding a value is in: by header, else by its first byte."""
    if content_type:
        if "msgpack" in content_type:
            return "msgpack"
        if "json" in content_type:
            return "json"
    return (
        "json"
        if value[:1] in (b"{", b" ", b"\n", b"\r", b"\t", b"[", b"\xef")
        else "msgpack"
    )


UNREADABLE = (
    msgspec.DecodeError, ValueError, OverflowError, TypeError, RecursionError,
)  # fmt: skip
"""What the library raises at bytes that are no value, or none that Python can hold."""


def encode(record: Record, encoding: Encoding = "msgpack") -> bytes:
    """A record as bytes."""
    return _ENCODERS[encoding](record)


def decode(role: str, value: bytes, content_type: str | None = None) -> Any:
    """A value of the topic with this role ("events", "items", ...) as its record.

    Raises DecodeError for anything that is not a valid record of that topic.
    """
    encoding = encoding_of(value, content_type)
    try:
        record = _DECODERS[encoding, role](value)
    except UNREADABLE as error:
        raise _explained(role, value, encoding, error) from error
    if isinstance(record, _Untyped):
        raise _bad("unknown_type", "type", "", _types(role))
    _check_depth(value, encoding, record)
    _check(record)
    return record


def decode_item(
    value: bytes, content_type: str | None = None
) -> tuple[Item, list[DecodeError]]:
    """An item and what of its `vectors` and `media` had to be left out: one bad slot does not
    take the others with it. Raises DecodeError where anything else is wrong."""
    try:
        item: Item = decode("items", value, content_type)
    except DecodeError as refusal:
        encoding = encoding_of(value, content_type)
        tree = _tree(value, encoding)
        if not isinstance(tree, dict):
            raise
        kept, faults = _without_bad_slots(tree)
        if not faults:
            raise
        coder = msgspec.json if encoding == "json" else msgspec.msgpack
        try:
            coded = coder.encode(kept)
        except UNREADABLE:  # numbers that we can't write, in what a producer may say freely
            raise refusal from None
        return decode("items", coded, CONTENT_TYPES[encoding]), faults
    return item, []


def _without_bad_slots(tree: dict[Any, Any]) -> tuple[dict[Any, Any], list[DecodeError]]:
    """The fields of an item that we know, without the entries of `vectors` and `media` that are
    none."""
    known, faults = {"type", *Item.__struct_fields__}, list[DecodeError]()
    kept = {name: value for name, value in tree.items() if name in known}
    if isinstance(vectors := tree.get("vectors"), dict):
        kept["vectors"] = {
            name: vector
            for name, vector in vectors.items()
            if _is_slot(f"vectors.{name}", vector, Numbers | F32, faults)
        }
    if isinstance(media := tree.get("media"), list):
        if surplus := media[MAX_MEDIA:]:
            remedy = f"an item has at most {MAX_MEDIA} media; send the others as uploads"
            faults.append(_bad("wrong_field", f"media[{MAX_MEDIA}]", surplus[0], remedy))
        kept["media"] = [
            ref
            for at, ref in enumerate(media[:MAX_MEDIA])
            if _is_slot(f"media[{at}]", ref, MediaRef, faults)
        ]
    return kept, faults


def _is_slot(field: str, value: Any, kind: Any, faults: list[DecodeError]) -> bool:
    """Whether a value from a generic decoder is of this type; if not, a fault that says why.
    (Bytes are themselves in msgpack and base64 in JSON: a round of msgpack takes both.)"""
    try:
        msgspec.msgpack.decode(msgspec.msgpack.encode(_unbased(value, kind)), type=kind)
    except UNREADABLE as error:
        said = _PATH.sub("", str(error))
        faults.append(
            _bad("wrong_field", field, value, f"{said}; {_REMEDIES['wrong_field']}")
        )
        return False
    return True


def _unbased(value: Any, kind: Any) -> Any:
    """Base64 of JSON as the bytes that it stands for. Raises ValueError if it is none."""
    if kind is MediaRef:
        if isinstance(value, dict) and isinstance(value.get("data"), str):
            return {**value, "data": b64decode(value["data"], validate=True)}
        return value
    return b64decode(value, validate=True) if isinstance(value, str) else value


def _check(record: Any) -> None:
    """What the types cannot say: id bytes, control characters, finite numbers."""
    for name in _IDS:
        if (value := getattr(record, name, None)) and isinstance(value, str):
            _check_id(name, value)
    number = getattr(record, "value", None)
    if number is not None and not math.isfinite(number):
        raise _bad("non_finite", "value", number, "send a finite number, or leave it out")
    if (undone := getattr(record, "of", None)) is not None and not isinstance(undone, str):
        _check_id("of.item_id", undone.item_id)
        if undone.value is not None and not math.isfinite(undone.value):
            raise _bad("non_finite", "of.value", undone.value, "send a finite number")
    for name in ("context", "attributes"):
        if tree := getattr(record, name, None):
            _check_finite(name, tree)


def _check_id(name: str, value: str) -> None:
    if len(value) * 4 > MAX_ID_BYTES and len(value.encode()) > MAX_ID_BYTES:
        raise _bad(
            "bad_id", name, value, f"an id has at most {MAX_ID_BYTES} bytes of UTF-8"
        )
    if not value.isprintable() and _CONTROL.search(value):
        raise _bad("bad_id", name, value, "an id has no control characters")


def _check_finite(name: str, tree: Any) -> None:
    for path, leaf in _leaves(name, tree):
        if isinstance(leaf, float) and not math.isfinite(leaf):
            raise _bad("non_finite", path, leaf, "send a finite number")


def _leaves(path: str, tree: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from _leaves(f"{path}.{key}", value)
    elif isinstance(tree, list):
        for at, value in enumerate(tree):
            yield from _leaves(f"{path}[{at}]", value)
    else:
        yield path, tree


def _check_depth(value: bytes, encoding: Encoding, record: Any) -> None:
    """Refuse nesting over MAX_DEPTH, unknown fields included. Cheap for flat records:
    a value with few container bytes cannot be deep."""
    if encoding == "json":
        if value.count(b"{") + value.count(b"[") <= MAX_DEPTH:
            return
    elif len(value.translate(None, _NOT_A_CONTAINER)) <= MAX_DEPTH:
        return
    try:
        tree = _generic(value, encoding)
    except RecursionError:
        raise _bad("too_deep", "record", "", _FLATTER) from None
    except UNREADABLE:
        # An unknown field, which is tolerated, holds what no generic decoder takes (text that is
        # none, a number that is too large). What is read of the record was read.
        tree = {name: getattr(record, name, None) for name in ("context", "attributes")}
    if deep := _too_deep(tree):
        raise _bad("too_deep", *deep, _FLATTER)


def _generic(value: bytes, encoding: Encoding) -> Any:
    """Whatever is in these bytes. Raises any of UNREADABLE."""
    if encoding == "json":
        return msgspec.json.decode(value)
    return msgspec.msgpack.decode(value, ext_hook=lambda _code, _data: None)


def _too_deep(tree: Any) -> tuple[str, Any] | None:
    """The first place under which nesting goes on beyond the limit: its path and what is there."""
    level: list[Any] = [tree]
    for _ in range(MAX_DEPTH):
        level = [
            value
            for above in level
            for value in (above.values() if type(above) is dict else above)
            if type(value) in _CONTAINERS  # a decoder makes no others, and there are many
        ]
    return _place(tree, level[0]) if level else None


def _place(tree: Any, wanted: Any) -> tuple[str, Any]:
    """Where in the tree this very map or list is, and it."""
    level: list[tuple[str, Any]] = [("", tree)]
    while all(value is not wanted for _, value in level):
        level = [
            (f"{path}{step}", below)
            for path, above in level
            for step, below in _steps(above)
        ]
    path = next(path for path, value in level if value is wanted)
    return path.lstrip("."), wanted


def _steps(tree: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(tree, dict):
        yield from ((f".{key}", value) for key, value in tree.items())
    elif isinstance(tree, (list, tuple)):
        yield from ((f"[{at}]", value) for at, value in enumerate(tree))


_CONTAINERS = (dict, list)
_FLATTER = f"a record is nested at most {MAX_DEPTH} deep; flatten it"
_REMEDIES = {
    "missing_field": "add the field",
    "wrong_field": "send the type and range that the JSON Schema of this record gives",
    "unknown_type": "send one of the types of this topic in `type`",
    "unknown_kind": "send one of the kinds in the JSON Schema",
}
_PATH = re.compile(r" - at `(?:key in )?\$?\.?(.*)`$")
_MISSING = re.compile(r"missing required field `([^`]+)`")


def _explained(
    role: str, value: bytes, encoding: Encoding, error: Exception
) -> DecodeError:
    """The library's error as ours: which field, how its value begins, what to do."""
    text = str(error)
    found = _PATH.search(text)
    path = found.group(1) if found else ""
    said = _PATH.sub("", text)
    tree = _tree(value, encoding)
    if not isinstance(tree, dict):
        shown = value[:40]
        return DecodeError(
            "unreadable",
            f"the value is not a {encoding} map ({said}; it begins {shown!r}); send a map in "
            "msgpack or JSON and name the encoding in the header content-type",
        )
    if missing := _MISSING.search(said):
        field = f"{path}.{missing.group(1)}".strip(".")
        if field == "type":
            return _bad("unknown_type", "type", None, f"missing: {_types(role)}")
        return DecodeError("missing_field", f"field `{field}` is missing; add the field")
    if path == "type" or ("Invalid value" in said and not path):
        return _bad("unknown_type", "type", tree.get("type"), _types(role))
    reason = "unknown_kind" if path.endswith("kind") else "wrong_field"
    return _bad(reason, path or "record", _at(tree, path), f"{said}; {_REMEDIES[reason]}")


def _types(role: str) -> str:
    names = ", ".join(_tag(t) for t in TYPES[role])
    return f"records of this topic have type: {names}"


def _tag(record: type[msgspec.Struct]) -> str:
    return str(record.__struct_config__.tag)


def _tree(value: bytes, encoding: Encoding) -> Any:
    try:
        return _generic(value, encoding)
    except UNREADABLE:
        return None


def _at(tree: Any, path: str) -> Any:
    """Follow `a.b[3].c`; `[...]` (the library's word for any element) ends the walk."""
    for step in re.findall(r"[^.\[\]]+", path):
        if isinstance(tree, dict) and step in tree:
            tree = tree[step]
        elif isinstance(tree, list) and step.isdigit() and int(step) < len(tree):
            tree = tree[int(step)]
        else:
            break
    return tree


def _bad(reason: str, field: str, value: Any, remedy: str) -> DecodeError:
    shown = repr(value)
    shown = shown if len(shown) <= 80 else shown[:77] + "..."
    return DecodeError(reason, f"field `{field}` is {shown}; {remedy}")


refused = _bad
"""A DecodeError that names reason, field, value and remedy; for checks made elsewhere."""


class _Untyped(msgspec.Struct, tag="", tag_field="type"):
    """Beside the one type of a topic, so that `type` has to be there and to be right."""


def _union(role: str) -> Any:
    return Union[(*TYPES[role], _Untyped)]


_ENCODERS: dict[Encoding, Callable[[Any], bytes]] = {
    "msgpack": msgspec.msgpack.Encoder().encode,
    "json": msgspec.json.Encoder().encode,
}
_DECODERS: dict[tuple[Encoding, str], Callable[[bytes], Any]] = {
    ("msgpack", role): msgspec.msgpack.Decoder(_union(role)).decode for role in TYPES
} | {("json", role): msgspec.json.Decoder(_union(role)).decode for role in TYPES}
