"""What is to be encoded in a record: items and uploads whole, of events what they carry. Pure.

record -> Job: its subject, and its parts in order
"""

from collections.abc import Collection, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from schemas import (
    DecodeError,
    Interaction,
    Item,
    Media,
    MediaRef,
    Query,
    decode,
    decode_item,
    encode,
    refused,
)
from workers.decode import check_key, check_value
from workers.media import DECODED_KINDS
from workers.ports import Record

Refusal = tuple[Record, DecodeError]
_CARRIERS = (b"text", b"media", b"query", b"\\u")
"""What an event with content has somewhere in its bytes; the last for JSON that spells its
keys in escapes. Clicks have none of them, and are not decoded."""
MAX_BROUGHT = 1 << 17
"""Numbers in all the vectors of one item. A number of one byte comes back as four: without
a limit, an item that the log takes has vectors that it does not."""


@dataclass(frozen=True, slots=True)
class Topics:
    """Names of the topics that an encode worker reads and writes."""

    items: str
    media: str
    events: str
    item_vectors: str
    dead_letters: str


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """A null item record."""

    item_id: str


Subject = Item | Withdrawn | Media | Interaction | Query


@dataclass(frozen=True, slots=True)
class Part:
    """One content of a record: a reference, or the text itself. `field` is where it stands,
    `at` its number among the record's contents."""

    modality: str
    field: str
    ref: MediaRef | None = None
    text: str = ""
    at: int = 0


@dataclass(frozen=True, slots=True)
class Job:
    """One record's work. `brought` are the vectors that its producer sent along."""

    record: Record
    subject: Subject
    parts: tuple[Part, ...] = ()
    brought: Mapping[str, bytes] = field(default_factory=dict)


def jobs_of(
    records: Sequence[Record],
    *,
    topics: Topics,
    modalities: Collection[str],
    spaces: MutableMapping[str, int],
) -> tuple[list[Job], list[Refusal]]:
    """What these records ask for, and what of them is refused: whole records, or single
    vectors of items that go on without them. Events that carry no content are passed over,
    and so are unreadable ones: the recommend worker sets them aside.

    `modalities`: those that have an encoder; parts of others are left out. `spaces`: the
    width of each space of brought vectors; a new space takes that of its first vector.
    """
    jobs: list[Job] = []
    refusals: list[Refusal] = []
    for record in records:
        try:
            if record.topic == topics.items:
                job, bad = _item_job(record, modalities, spaces)
                refusals += [(record, error) for error in bad]
                jobs.append(job)
            elif record.topic == topics.media:
                jobs.append(_media_job(record, modalities))
            elif (event_job := _event_job(record, modalities)) is not None:
                jobs.append(event_job)
        except DecodeError as error:
            refusals.append((record, error))
    return jobs, refusals


def item_of(job: Job) -> str | None:
    """The item whose slots the job changes; None where it is about a user."""
    subject = job.subject
    if isinstance(subject, (Item, Withdrawn)):
        return subject.item_id
    if isinstance(subject, Media) and subject.user_id is None:
        return subject.item_id
    return None


def _item_job(
    record: Record, modalities: Collection[str], spaces: MutableMapping[str, int]
) -> tuple[Job, list[DecodeError]]:
    if record.value is None:
        return Job(record, Withdrawn(_withdrawn_id(record))), []
    item, bad = decode_item(record.value, record.header("content-type"))
    check_key(record, "item_id", item.item_id)
    brought, unusable = brought_vectors(item, spaces)
    bad += unusable
    parts = [Part("text", "title", text=text)] if (text := item_text(item)) else []
    parts += _parts("media", item.media)
    parts = [part for part in parts if part.modality not in brought]
    return Job(record, item, _encodable(parts, modalities), brought), bad


def _withdrawn_id(record: Record) -> str:
    """The key of a null record, which must be an id as good as any."""
    try:
        return str(decode("items", _as_item(record.key or b"")).item_id)
    except UnicodeDecodeError as error:
        raise refused("bad_id", "key", record.key, "an item id is UTF-8") from error


def _as_item(key: bytes) -> bytes:
    return encode(Item(item_id=key.decode()))


def _media_job(record: Record, modalities: Collection[str]) -> Job:
    if record.value is None:
        raise refused(
            "null_value", "value", None, "uploads are not withdrawn; put the item"
        )
    media: Media = decode("media", record.value, record.header("content-type"))
    if media.user_id is None and media.item_id is None:
        raise refused("missing_field", "item_id", None, "an upload has item_id or user_id")
    field_name = "item_id" if media.user_id is None else "user_id"
    check_key(record, field_name, media.user_id or media.item_id or "")
    ref = MediaRef(
        kind=media.kind,
        uri=media.uri,
        data=media.data,
        content_type=media.content_type,
        sha256=media.sha256,
    )
    return Job(record, media, _encodable([Part(media.kind, "", ref)], modalities))


def _event_job(record: Record, modalities: Collection[str]) -> Job | None:
    value = record.value
    if value is None or not any(word in value for word in _CARRIERS):
        return None
    try:
        event: Any = decode("events", value, record.header("content-type"))
        if not isinstance(event, (Interaction, Query)):
            return None
        check_key(record, "user_id", event.user_id)
        check_value(event)
    except DecodeError:
        return None
    parts = [Part("text", "text", text=event.text)] if event.text.strip() else []
    parts += _parts("media", event.media)
    if not parts and isinstance(event, Interaction):
        return None
    return Job(record, event, _encodable(parts, modalities))


def item_text(item: Item) -> str:
    """What an item says of itself, most telling first: encoders read only the beginning."""
    said = [item.title, item.description, ", ".join(item.categories), item.creator]
    said += _strings(item.attributes)
    return "\n".join(text.strip() for text in said if text.strip())


def brought_vectors(
    item: Item, spaces: MutableMapping[str, int]
) -> tuple[dict[str, bytes], list[DecodeError]]:
    """The usable vectors that came with an item, as float32 bytes, and what is wrong with
    the others."""
    brought: dict[str, bytes] = {}
    bad: list[DecodeError] = []
    room = MAX_BROUGHT
    for name, numbers in item.vectors.items():
        try:
            room -= len(numbers) // (4 if isinstance(numbers, bytes) else 1)
            if room < 0:
                raise refused(
                    "too_large", f"vectors.{name}", f"{len(numbers)} long",
                    f"the vectors of an item have {MAX_BROUGHT} numbers in all, at most",
                )  # fmt: skip
            brought[name] = _checked(name, numbers, spaces)
        except DecodeError as error:
            bad.append(error)
    return brought, bad


def _checked(name: str, numbers: Any, spaces: MutableMapping[str, int]) -> bytes:
    field_name = f"vectors.{name}"
    if isinstance(numbers, bytes) and len(numbers) % 4:
        raise refused(
            "wrong_width", field_name, f"{len(numbers)} bytes", "send float32, 4 bytes each"
        )
    if isinstance(numbers, bytes):
        vector = np.frombuffer(numbers, "<f4")
    else:
        with np.errstate(over="ignore"):  # what is too large is infinite, and refused below
            vector = np.asarray(numbers, "<f8").astype("<f4")
    if not np.isfinite(vector).all():
        raise refused("non_finite", field_name, "a vector", "send finite numbers")
    if not vector.any():
        raise refused("empty", field_name, "all zeros", "send a vector with a direction")
    width = spaces.setdefault(name, len(vector))
    if len(vector) != width:
        raise refused(
            "wrong_width", field_name, f"{len(vector)} numbers",
            f"the space `{name}` has {width}; send as many, or name another space",
        )  # fmt: skip
    return vector.tobytes()


def _parts(field_name: str, refs: Sequence[MediaRef]) -> list[Part]:
    return [Part(ref.kind, f"{field_name}[{at}]", ref) for at, ref in enumerate(refs)]


def _encodable(parts: Sequence[Part], modalities: Collection[str]) -> tuple[Part, ...]:
    """Numbered, and without those whose modality has no encoder here. Kinds that nobody
    decodes stay, to be refused by name."""
    left_out = set(DECODED_KINDS) - set(modalities)
    numbered = [replace(part, at=at) for at, part in enumerate(parts)]
    return tuple(part for part in numbered if part.modality not in left_out)


def _strings(tree: Any) -> Iterator[str]:
    if isinstance(tree, str):
        yield tree
    elif isinstance(tree, dict):
        for _, value in sorted(tree.items()):
            yield from _strings(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from _strings(value)
