"""What people say and show, as Signals in their own logs. Pure.

One for each content of an interaction and for each upload; one for a query as a whole, which
is sent even where nothing of it could be encoded, since its list waits for it. Ids follow
from the cause's, so that a repetition is known as one.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from msgspec.structs import replace
from torch import Tensor

from schemas import CONTENT_TYPES, Interaction, Media, Query, Signal, encode
from workers.decode import carried
from workers.model import Key
from workers.plan import Planned, vector_of
from workers.ports import Headers, Outbound, Record

MAX_ID_BYTES = 256
MAX_BYTES = 1_000_000  # of a Signal: an event as large as the log takes has a larger one
MAX_CATEGORY = 1_025  # characters: one more than any category has


@dataclass(frozen=True, slots=True)
class Draft:
    """A Signal without its vector, and the slots that are to be fused into it."""

    record: Record
    signal: Signal
    slots: Mapping[str, Tensor]


def drafts_of(planned: Planned, vectors: Mapping[Key, Tensor]) -> list[Draft]:
    """The Signals that a job asks for."""
    subject, record = planned.job.subject, planned.job.record
    slots = [(group, vector_of(group, vectors)) for group in planned.groups]
    if isinstance(subject, Interaction):
        return [
            Draft(record, _of_interaction(subject, group.at), {group.name: vector})
            for group, vector in slots
        ]
    if isinstance(subject, Query):
        return [Draft(record, _of_query(subject), {g.name: vector for g, vector in slots})]
    if isinstance(subject, Media) and subject.user_id is not None:
        signal = _of_upload(subject, subject.user_id)
        return [Draft(record, signal, {group.name: vector}) for group, vector in slots]
    return []


def derived_id(of: str, suffix: str) -> str:
    """An id that follows from another's; where it would be too long, from its hash."""
    if len(of.encode()) + len(suffix) > MAX_ID_BYTES:
        of = hashlib.sha256(of.encode()).hexdigest()
    return of + suffix


def outbound(signal: Signal, record: Record, *, topic: str) -> Outbound:
    """A Signal on its way: into the partition number of its cause. Where the cause's context
    and headers would make it too large for the log, it goes with the category alone."""
    value, headers = encode(signal), carried(record)
    if len(value) + sum(len(k) + len(v or b"") for k, v in headers) > MAX_BYTES:
        category = signal.context.get("category", "")
        kept = {"category": category[:MAX_CATEGORY]} if isinstance(category, str) else {}
        value, headers = encode(replace(signal, context=kept)), ()
    return Outbound(
        topic,
        signal.user_id.encode(),
        value,
        record.partition,
        caused(record.timestamp_ms) + headers,
    )


def caused(at_ms: int | None) -> Headers:
    """Headers of what we write: its encoding and, if there is one, when the broker had its
    cause."""
    encoding = (("content-type", CONTENT_TYPES["msgpack"].encode()),)
    return encoding if at_ms is None else (*encoding, ("caused-at-ms", str(at_ms).encode()))


def modality_of(names: Sequence[str]) -> str:
    """One name for what a Signal is made of, such as image+text."""
    return "+".join(sorted(names))


def _of_interaction(event: Interaction, at: int) -> Signal:
    return Signal(
        event_id=derived_id(event.event_id, f"#m{at}"),
        of=event.event_id,
        user_id=event.user_id,
        item_id=event.item_id,
        at_ms=event.at_ms,
        cause="interaction",
    )


def _of_query(query: Query) -> Signal:
    return Signal(
        event_id=derived_id(query.event_id, "#q"),
        of=query.event_id,
        user_id=query.user_id,
        at_ms=query.at_ms,
        cause="query",
        context=query.context,
    )


def _of_upload(media: Media, user_id: str) -> Signal:
    """Of the event that the upload belongs to, if it names one: undone with it."""
    return Signal(
        event_id=derived_id(media.media_id, "#u"),
        of=media.event_id or media.media_id,
        user_id=user_id,
        item_id=media.item_id,
        at_ms=media.at_ms,
        cause="upload",
    )
