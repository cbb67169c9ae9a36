"""How items are kept: whole now and then, and in between what changed of them.

An item has up to thousands of rows, of which an event changes twenty. So a save writes a part:
the counts and the rows that changed, as they are. Once the parts of an item have as many rows as
the item, it is written whole, and the next part takes the first one's place: what is written is
at most about twice what changed, what is kept about twice the item.

Each value carries the offset of the last event applied. A part counts if it is newer than the
whole value that is there, so it does not matter which of a save's values reached the store.
"""

from array import array
from collections.abc import Iterable, Mapping
from sys import intern

import msgspec
import numpy as np
from msgspec import Struct

from ranking.trend_state import ItemTrend

SMALL = 32
"""An item of so many rows is always written whole."""
HEAD = 4
"""What a value costs besides its rows, in rows."""
PART = "\x02"  # no item's id has it


class Value(Struct, array_like=True):
    """An item as it is kept, or a part of it: `names` and their rows of `weights` (of 8 bytes,
    little-endian as all machines that this runs on) are then those that changed."""

    popular: list[float]
    windows: list[list[int]]
    offset: int
    at_ms: int
    newest_ms: int
    base_ms: int
    names: list[str]
    weights: bytes


class Parts(Struct):
    """The parts of an item since it was last whole: how many, of how many rows; and how many,
    older ones as well, are in the store."""

    count: int = 0
    rows: int = 0
    stored: int = 0


_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(Value)


def part_key(item_id: str, number: int) -> str:
    """What a part is kept under."""
    return f"{item_id}{PART}{number}"


def keys(item_id: str, parts: Parts) -> list[str]:
    """All that an item may be kept under, itself first: parts without it are none."""
    return [item_id, *(part_key(item_id, n) for n in range(parts.stored))]


def value_of(
    item_id: str, item: ItemTrend, changed: Iterable[str], parts: Parts
) -> tuple[str, bytes, Parts]:
    """What to write of an item of which these rows changed, some told twice, under which key, and what its parts
    are then."""
    names = list(dict.fromkeys(changed))
    rows = parts.rows + len(names) + HEAD
    if item.moved or len(item.before) <= SMALL or rows >= len(item.before):
        whole = _value(item, list(item.before), item.weights.tobytes())
        return item_id, whole, Parts(stored=parts.stored)
    row_RV = np.frombuffer(item.weights).reshape(len(item.before), -1)
    changed_RV = row_RV[[item.before[name] for name in names]]
    key = part_key(item_id, parts.count)
    count = parts.count + 1
    parts = Parts(count, rows, max(parts.stored, count))
    return key, _value(item, names, changed_RV.tobytes()), parts


def items_from(values: Mapping[str, bytes]) -> dict[str, tuple[ItemTrend, Parts]]:
    """All items, of their values by key."""
    out = dict[str, tuple[ItemTrend, Parts]]()
    later = list[tuple[int, int, str, Value]]()
    for key, data in values.items():
        value = _decoder.decode(data)
        item_id, part, at = key.partition(PART)
        if part:
            later.append((value.offset, int(at), item_id, value))
        else:
            out[intern(item_id)] = (_item(value), Parts())
    whole = {item_id: item.offset for item_id, (item, _) in out.items()}
    for offset, number, item_id, value in sorted(later, key=lambda part: part[:2]):
        if item_id in out:
            item, parts = out[item_id]
            parts.stored = max(parts.stored, number + 1)
            if offset > whole[item_id]:
                parts.count = max(parts.count, number + 1)
                parts.rows += len(value.names) + HEAD
                _merge(item, value)
    return out


def _value(item: ItemTrend, names: list[str], weights: bytes) -> bytes:
    return _encode(
        Value(
            item.popular, item.windows, item.offset, item.at_ms, item.newest_ms,
            item.base_ms, names, weights,
        )
    )  # fmt: skip


def _item(value: Value) -> ItemTrend:
    return ItemTrend(
        value.popular, value.windows, value.offset, value.at_ms, value.newest_ms,
        value.base_ms, {intern(name): n for n, name in enumerate(value.names)},
        array("d", value.weights), moved=False,
    )  # fmt: skip


def _merge(item: ItemTrend, part: Value) -> None:
    """The item as it was when the part was saved."""
    item.popular, item.windows, item.offset = part.popular, part.windows, part.offset
    item.at_ms, item.newest_ms = part.at_ms, part.newest_ms
    weights = array("d", part.weights)
    width = len(weights) // len(part.names) if part.names else 0
    for n, name in enumerate(part.names):
        row = item.before.setdefault(intern(name), len(item.before))
        item.weights[row * width : (row + 1) * width] = weights[n * width : (n + 1) * width]
