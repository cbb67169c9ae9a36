"""Vectors into what is to be written: items merged, Signals, dead letters; all fused at once."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

from msgspec.structs import replace
from torch import Tensor

from encoders.fusion import columns_of
from encoders.fusion_load import Fusion
from schemas import DecodeError, Item, ItemVectors, Slot, encode
from workers import metrics
from workers.contents import Refusal, Topics, Withdrawn, item_of
from workers.decode import dead_letter
from workers.model import Key
from workers.plan import Plan, Planned, tensor, vector_of, wire
from workers.ports import Outbound, Record
from workers.shelf import BROUGHT, Shelf
from workers.signals import Draft, caused, drafts_of, modality_of, outbound
from workers.slots import Change, Put, Upload, Withdrawal, merge, stamp_of


@dataclass(slots=True, eq=False)
class _Touched:
    """An item that changes, and when the broker had the first cause (None: no record's)."""

    number: int
    vectors: ItemVectors
    caused_at_ms: int | None


@dataclass(frozen=True, slots=True)
class _Row:
    """Slots by name, and whose vectors they are."""

    vectors: Mapping[str, Tensor]
    encoders: Mapping[str, str]


def assemble(
    plan: Plan,
    vectors: Mapping[Key, Tensor],
    *,
    shelf: Shelf,
    topics: Topics,
    fusion: Fusion,
) -> list[Outbound]:
    """All that a batch writes. The shelf has the items as they are after it."""
    touched = _merged(plan.planned, vectors, shelf)
    drafts = [draft for planned in plan.planned for draft in drafts_of(planned, vectors)]
    rows = [_fusible(t.vectors, shelf) for t in touched]
    rows += [_told(d.slots, shelf.encoders) for d in drafts]
    fused, fused_next = fuse_rows(rows, fusion), _next(rows, shelf)
    out = _items(touched, zip(fused, fused_next, strict=True), shelf, topics)
    # once all items have both, the readers are about to go over, or have
    said, space = (fused_next, shelf.version_next) if shelf.both else (fused, shelf.version)
    for draft, vector in zip(drafts, said[len(touched) :], strict=True):
        out += _signal(draft, vector, space, topics)
    return out + set_aside(plan.refusals, topics)


def fused_again(
    items: Sequence[tuple[int, ItemVectors]],
    *,
    shelf: Shelf,
    topics: Topics,
    fusion: Fusion,
) -> list[Outbound]:
    """Items that were fused into another space than today's, by the slots that they have."""
    rows = [_fusible(vectors, shelf) for _, vectors in items]
    fused = zip(fuse_rows(rows, fusion), _next(rows, shelf), strict=True)
    touched = [_Touched(number, vectors, None) for number, vectors in items]
    return _items(touched, fused, shelf, topics)


def _next(rows: Sequence[_Row], shelf: Shelf) -> list[bytes | None]:
    """Each row in the space that is rolled out; None where none is."""
    return fuse_rows(rows, shelf.next) if shelf.next else [None] * len(rows)


def fuse_rows(rows: Sequence[_Row], fusion: Fusion) -> list[bytes | None]:
    """Each row's slots as one vector; None for a row without any."""
    if not rows:
        return []
    with metrics.stage("fuse"):
        columns = columns_of([row.vectors for row in rows], [row.encoders for row in rows])
        fused = fusion.fuse(columns, rows=len(rows))
    pairs = zip(fused.vector_ED, fused.present_E.tolist(), strict=True)
    return [wire(vector) if present else None for vector, present in pairs]


def set_aside(refusals: Sequence[Refusal], topics: Topics) -> list[Outbound]:
    """One dead letter a record, with all that is wrong with it."""
    errors: dict[int, list[DecodeError]] = {}
    records: dict[int, Record] = {}
    for record, error in refusals:
        records[id(record)] = record
        errors.setdefault(id(record), []).append(error)
    out = []
    for name, record in records.items():
        reason = errors[name][0].reason
        metrics.dead_letter(reason)
        error = DecodeError(reason, "; ".join(str(error) for error in errors[name]))
        out.append(dead_letter(record, error, topic=topics.dead_letters, stage="encode"))
    return out


def change_of(
    planned: Planned, vectors: Mapping[Key, Tensor], shelf: Shelf
) -> Change | None:
    """What a job does to its item; None for an upload that could not be encoded."""
    subject, record = planned.job.subject, planned.job.record
    if isinstance(subject, Withdrawn):
        return Withdrawal(stamp_of(record))
    slots = {
        group.name: _slot(
            record,
            wire(vector_of(group, vectors)),
            shelf.encoders[group.name],
            group.sha256,
            shelf.prepared.get(group.name, ""),
        )
        for group in planned.groups
    }
    if isinstance(subject, Item):
        for name, vector in planned.job.brought.items():
            slots[name] = _slot(record, vector, BROUGHT, sha256(vector).hexdigest())
        return Put(stamp_of(record), slots)
    for name, slot in slots.items():
        return Upload(name, slot)
    return None


def _slot(
    record: Record, vector: bytes, encoder: str, content: str, prepared: str = ""
) -> Slot:
    return Slot(
        vector=vector,
        encoder=encoder,
        source=(record.topic, record.partition, record.offset),
        stamp_ms=record.timestamp_ms,
        content=content,
        prepared=prepared,
    )


def _merged(
    jobs: Sequence[Planned], vectors: Mapping[Key, Tensor], shelf: Shelf
) -> list[_Touched]:
    """The items that really change, after all changes of the batch."""
    touched: dict[tuple[int, str], _Touched] = {}
    for planned in jobs:
        record, item_id = planned.job.record, item_of(planned.job)
        _count(planned)
        if item_id is None:
            continue
        change = change_of(planned, vectors, shelf)
        before = shelf.get(record.partition, item_id)
        after = before if change is None else merge(before, change)
        if after is not before:
            shelf.put(record.partition, after)
            new = _Touched(record.partition, after, record.timestamp_ms)
            known = touched.setdefault((record.partition, item_id), new)
            known.vectors = after
    return list(touched.values())


def _fusible(vectors: ItemVectors, shelf: Shelf) -> _Row:
    slots = {} if vectors.withdrawn else shelf.fusible(vectors)
    return _Row(
        {name: tensor(slot.vector) for name, slot in slots.items()},
        {name: slot.encoder for name, slot in slots.items()},
    )


def _told(slots: Mapping[str, Tensor], encoders: Mapping[str, str]) -> _Row:
    return _Row(slots, {name: encoders[name] for name in slots if name in encoders})


def _items(
    touched: Sequence[_Touched],
    fused: Iterable[tuple[bytes | None, bytes | None]],
    shelf: Shelf,
    topics: Topics,
) -> list[Outbound]:
    """The items with their vectors: of the space in force, and of the next."""
    labelled = _labelled([t.vectors for t in touched], shelf)
    out = []
    for t, vectors, (now, later) in zip(touched, labelled, fused, strict=False):
        whole = replace(
            vectors,
            fused=now,
            encoder=shelf.version,
            fused_next=later,
            encoder_next=shelf.version_next,
        )
        out.append(_item(whole, t, shelf, topics))
    return out


def _labelled(items: Sequence[ItemVectors], shelf: Shelf) -> list[ItemVectors]:
    """The items with what today's labeller says of their slots."""
    rows = [
        {
            name: (slot.encoder, tensor(slot.vector))
            for name, slot in shelf.fusible(v).items()
        }
        if shelf.labeller.version and not v.withdrawn
        else {}
        for v in items
    ]
    said = shelf.labeller.label(rows)
    return [
        replace(vectors, labels=labels, labeller=shelf.labeller.version)
        for vectors, labels in zip(items, said, strict=True)
    ]


def _item(
    vectors: ItemVectors, touched: _Touched, shelf: Shelf, topics: Topics
) -> Outbound:
    shelf.put(touched.number, vectors)
    return Outbound(
        topics.item_vectors,
        vectors.item_id.encode(),
        encode(vectors),
        touched.number,
        caused(touched.caused_at_ms),
    )


def _signal(
    draft: Draft, fused: bytes | None, space: str, topics: Topics
) -> list[Outbound]:
    signal = draft.signal
    if fused is None and signal.cause != "query":
        return []
    metrics.signal(signal.cause)
    said = replace(
        signal, vector=fused, modality=modality_of(list(draft.slots)), encoder=space
    )
    return [outbound(said, draft.record, topic=topics.events)]


def _count(planned: Planned) -> None:
    subject = planned.job.subject
    if isinstance(subject, Withdrawn):
        metrics.events("item", "withdrawn")
    else:
        metrics.events(str(subject.__struct_config__.tag), "accepted")
