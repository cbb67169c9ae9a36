"""The law by which an item's slots are merged. Pure, and the same in whatever order.

An item has two registers: what came with its newest record (replaced as a whole), and what
was uploaded for it (the newest of each name). Of two slots of a name the newer is in force
and the other is kept in its shadow. A withdrawal ends all that is older than it; what is
uploaded after it is kept but does not revive the item: only a newer record does.

Everything is decided by stamps, (broker's milliseconds, topic, offset), so that re-delivery
and re-ordering change nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from schemas import ItemVectors, Slot
from workers.ports import Record

Stamp = tuple[int, str, int]


@dataclass(frozen=True, slots=True)
class Put:
    """An item record: its slots take the place of all that came with an older one."""

    stamp: Stamp
    slots: Mapping[str, Slot] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """A null item record."""

    stamp: Stamp


@dataclass(frozen=True, slots=True)
class Upload:
    """One slot that was uploaded for an item."""

    name: str
    slot: Slot


Change = Put | Withdrawal | Upload


def merge(known: ItemVectors, change: Change) -> ItemVectors:
    """What is known of an item after one more change. `fused` is left as it was.

    Commutative, associative and idempotent over changes, which a property test holds.
    """
    if isinstance(change, Upload):
        return _upload(known, change)
    if isinstance(change, Withdrawal):
        return _withdraw(known, change.stamp)
    return _put(known, change)


def stamp_of(at: Slot | Record) -> Stamp:
    """When a slot or a record was written, by the log's own account."""
    if isinstance(at, Record):
        return at.timestamp_ms, at.topic, at.offset
    return at.stamp_ms, at.source[0], at.source[2]


def _put(known: ItemVectors, put: Put) -> ItemVectors:
    if _before(put.stamp, known.withdrawn_by) or not _before(known.put, put.stamp):
        return known
    return _made(known, put.slots, _uploaded(known), put=put.stamp)


def _withdraw(known: ItemVectors, stamp: Stamp) -> ItemVectors:
    if not _before(known.withdrawn_by, stamp):
        return known
    uploads = {n: s for n, s in _uploaded(known).items() if _before(stamp, stamp_of(s))}
    if known.put is not None and _before(stamp, known.put):
        slots = _with_item(known)
        return _made(known, slots, uploads, put=known.put, withdrawn_by=stamp)
    return _made(known, {}, uploads, put=None, withdrawn_by=stamp)


def _upload(known: ItemVectors, upload: Upload) -> ItemVectors:
    uploads = _uploaded(known)
    newest = stamp_of(uploads[upload.name]) if upload.name in uploads else None
    stamp = stamp_of(upload.slot)
    if _before(stamp, known.withdrawn_by) or not _before(newest, stamp):
        return known
    return _made(
        known, _with_item(known), uploads | {upload.name: upload.slot}, put=known.put
    )


def _before(a: Stamp | None, b: Stamp | None) -> bool:
    """Whether a is older than b; None is older than all."""
    return b is not None and (a is None or tuple(a) < tuple(b))


def _with_item(known: ItemVectors) -> dict[str, Slot]:
    return {name: s for name, s in _all(known) if _came_with_item(known, s)}


def _uploaded(known: ItemVectors) -> dict[str, Slot]:
    return {name: s for name, s in _all(known) if not _came_with_item(known, s)}


def _all(known: ItemVectors) -> list[tuple[str, Slot]]:
    return [*known.slots.items(), *known.shadowed.items()]


def _came_with_item(known: ItemVectors, slot: Slot) -> bool:
    return known.put is not None and slot.source[0] == known.put[1]


def _made(
    known: ItemVectors,
    item: Mapping[str, Slot],
    uploads: Mapping[str, Slot],
    *,
    put: Stamp | None,
    withdrawn_by: Stamp | None = None,
) -> ItemVectors:
    slots, shadowed = {}, {}
    for name in sorted({*item, *uploads}):
        pair = sorted((r[name] for r in (item, uploads) if name in r), key=stamp_of)
        slots[name] = pair[-1]
        if len(pair) > 1:
            shadowed[name] = pair[0]
    withdrawn_by = withdrawn_by or known.withdrawn_by
    return ItemVectors(
        item_id=known.item_id,
        slots=slots,
        fused=known.fused,
        encoder=known.encoder,
        withdrawn=withdrawn_by is not None and put is None,
        shadowed=shadowed,
        put=put,
        withdrawn_by=withdrawn_by,
    )
