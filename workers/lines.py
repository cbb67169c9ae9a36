"""A line of JSON as a record on its way: which topic, which key, which bytes. Pure.

`rec produce` reads such lines; what a worker would set aside is refused here already, with
the same words.
"""

from dataclasses import dataclass
from typing import Any

import msgspec

from schemas import DecodeError, Encoding, Item, Media, Record, decode, encode, refused
from schemas.records import TYPES

PRODUCED = ("items", "media", "events")
ROLE_OF = {
    str(record.__struct_config__.tag): role for role in PRODUCED for record in TYPES[role]
}


@dataclass(frozen=True, slots=True)
class Line:
    """What one line asks to be sent. `value` None withdraws the item that `key` names."""

    role: str
    key: str
    value: bytes | None


def read_line(text: bytes, wire: Encoding = "msgpack") -> Line:
    """The line's record, validated. With the wire JSON the line travels as it stands; in
    msgpack without fields that we do not know. Raises DecodeError that names the field."""
    tree = _tree(text)
    if (item_id := _withdrawn(tree)) is not None:
        checked = decode("items", encode(Item(item_id=item_id)))
        return Line("items", checked.item_id, None)
    role = ROLE_OF.get(str(tree.get("type")))
    if role is None:
        remedy = f'send one of {", ".join(ROLE_OF)}, or {{"withdraw": item id}}'
        raise refused("unknown_type", "type", tree.get("type"), remedy)
    record = decode(role, text, "application/json")
    return Line(
        role, key_of(record), text.strip() if wire == "json" else encode(record, wire)
    )


def key_of(record: Record) -> str:
    """The key under which a record belongs: its item, its uploader or its user."""
    if isinstance(record, Item):
        return record.item_id
    if isinstance(record, Media):
        key = record.user_id or record.item_id
        if key is None:
            raise refused(
                "missing_field", "item_id", None, "an upload has item_id or user_id"
            )
        return key
    return str(getattr(record, "user_id"))  # noqa: B009  # every event has one


def _tree(text: bytes) -> dict[str, Any]:
    try:
        tree = msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise DecodeError("unreadable", f"not JSON: {error}; one record a line") from error
    if not isinstance(tree, dict):
        raise DecodeError("unreadable", f"a line is a JSON map, not {text[:40]!r}")
    return tree


def _withdrawn(tree: dict[str, Any]) -> str | None:
    """The item id, if the line takes an item back."""
    if "withdraw" in tree and "type" not in tree:
        return _id("withdraw", tree["withdraw"])
    if tree.get("type") == "item" and tree.get("withdrawn") is True:
        return _id("item_id", tree.get("item_id"))
    return None


def _id(field: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise refused("wrong_field", field, value, "name the item by its id")
    return value
