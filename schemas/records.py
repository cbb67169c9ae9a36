"""Every record that crosses a topic, as it stands on the wire (DESIGN: "The wire").

Names are fixed: fields may be added, never renamed or removed (that is a v2). Unknown
fields are tolerated by every reader. Times are milliseconds since the epoch, event time.
Vectors are little-endian float32 bytes; JSON carries them as base64.
"""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

Id = Annotated[str, Meta(min_length=1, max_length=256)]
AtMs = Annotated[int, Meta(ge=0, le=253_402_300_799_999)]
Short = Annotated[str, Meta(max_length=1_024)]
Text = Annotated[str, Meta(max_length=65_536)]
Uri = Annotated[str, Meta(max_length=2_048)]
Numbers = Annotated[list[float], Meta(min_length=1, max_length=8_192)]
F32 = Annotated[bytes, Meta(min_length=4, max_length=32_768)]
Tree = dict[str, Any]

MEDIA_KINDS = ("image", "audio", "video", "sensor", "text")
InteractionKind = Literal[
    "view", "click", "dwell", "like", "save", "share", "rating", "purchase", "complete",
    "skip", "hide", "dislike", "not_interested", "report", "impression",
]  # fmt: skip


class MediaRef(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Content by reference (`uri`, `sha256`) or inline (`data`). `kind`: see MEDIA_KINDS; it
    and the hash are checked where the content is read, so that one bad reference is set
    aside alone and not with its item. What the bytes are is seen in them: video is MP4, MOV,
    WebM, Matroska or AVI; sensor is text/csv (a header line; a first column named time is
    times), application/json ([[...], ...] or {"channels": {...}, "rate_hz": ...}) or
    application/x-npy (channels x time)."""

    kind: Short
    uri: Uri = ""
    data: bytes = b""
    content_type: Short = ""
    sha256: Short = ""


class Undone(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an Undo takes back, repeated: needed once the event has left the ring."""

    item_id: Id
    kind: InteractionKind
    at_ms: AtMs
    value: float | None = None


class Interaction(
    Struct,
    frozen=True,
    kw_only=True,
    omit_defaults=True,
    tag="interaction",
    tag_field="type",
):
    """A user touched an item. `value`: stars for a rating, seconds for a dwell."""

    event_id: Id
    user_id: Id
    item_id: Id
    kind: InteractionKind
    at_ms: AtMs
    value: float | None = None
    session_id: Short = ""
    text: Text = ""
    media: Annotated[list[MediaRef], Meta(max_length=16)] = []
    context: Tree = {}


class Undo(
    Struct, frozen=True, kw_only=True, omit_defaults=True, tag="undo", tag_field="type"
):
    """Takes one earlier (or later) event of the same user back."""

    event_id: Id
    user_id: Id
    undoes: Id
    at_ms: AtMs
    of: Undone | None = None


class Visit(
    Struct, frozen=True, kw_only=True, omit_defaults=True, tag="visit", tag_field="type"
):
    """Asks for a list now. `context.category`: only items that have it."""

    event_id: Id
    user_id: Id
    at_ms: AtMs
    context: Tree = {}


class Query(
    Struct, frozen=True, kw_only=True, omit_defaults=True, tag="query", tag_field="type"
):
    """Asks for a list by a text, a picture or a sound; answered when its Signal arrives."""

    event_id: Id
    user_id: Id
    at_ms: AtMs
    text: Text = ""
    media: Annotated[list[MediaRef], Meta(max_length=16)] = []
    context: Tree = {}


class Erase(
    Struct, frozen=True, kw_only=True, omit_defaults=True, tag="erase", tag_field="type"
):
    """Forget the user: all that happened at or before `at_ms`."""

    event_id: Id
    user_id: Id
    at_ms: AtMs


class Signal(
    Struct, frozen=True, kw_only=True, omit_defaults=True, tag="signal", tag_field="type"
):
    """What a user said or showed, encoded into the space of the fused item vectors.

    `of` is the record it was made from, `cause` that record's type. Without `vector` the
    content could not be encoded (the reason is a dead letter). Written by `rec worker encode`.
    """

    event_id: Id
    of: Id
    user_id: Id
    at_ms: AtMs
    cause: Literal["interaction", "query", "upload"] = "interaction"
    item_id: Id | None = None
    vector: F32 | None = None
    modality: Short = ""
    encoder: Short = ""
    context: Tree = {}


class Item(
    Struct, frozen=True, kw_only=True, omit_defaults=True, tag="item", tag_field="type"
):
    """A thing that can be recommended. A null record withdraws it."""

    item_id: Id
    title: Text = ""
    description: Text = ""
    categories: Annotated[list[Short], Meta(max_length=256)] = []
    creator: Short = ""
    attributes: Tree = {}
    language: Short = ""
    published_at_ms: AtMs | None = None
    expires_at_ms: AtMs | None = None
    available: bool = True
    media: Annotated[list[MediaRef], Meta(max_length=64)] = []
    vectors: dict[Short, Numbers | F32] = {}


class Media(
    Struct, frozen=True, kw_only=True, omit_defaults=True, tag="media", tag_field="type"
):
    """An upload: for an item (key: item_id), or by a user (`user_id`, which is then the key)."""

    media_id: Id
    kind: Short
    at_ms: AtMs
    item_id: Id | None = None
    user_id: Id | None = None
    event_id: Id | None = None
    uri: Uri = ""
    data: bytes = b""
    content_type: Short = ""
    sha256: Short = ""


class Slot(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One modality of an item: its vector, what made it, and the record it came from.

    `source` is (topic, partition, offset) and `stamp_ms` the broker's timestamp of that
    record: together they decide which of two writes is the later. `prepared` names the
    settings by which `content` was cleaned: under others it is encoded anew.
    """

    vector: F32
    encoder: Short
    source: tuple[str, int, int]
    stamp_ms: int = 0
    content: str = ""
    prepared: Short = ""


class ItemVectors(
    Struct,
    frozen=True,
    kw_only=True,
    omit_defaults=True,
    tag="item_vectors",
    tag_field="type",
):
    """All vectors of an item. `slots` are in force; `shadowed` are older ones of the other
    origin, which come back if the newer is dropped. `put` and `withdrawn_by` are the
    (stamp_ms, topic, offset) of the newest item record and the newest withdrawal. `labels`:
    what the item probably is, told from its slots, with a confidence of 0..1; `labeller` is
    the version of what told it.

    While a new fusion is rolled out, `fused_next` is the vector in its space `encoder_next`,
    beside the one in force; without `fused_next` the item has none there.
    """

    item_id: Id
    slots: dict[str, Slot] = {}
    fused: F32 | None = None
    encoder: Short = ""
    withdrawn: bool = False
    shadowed: dict[str, Slot] = {}
    put: tuple[int, str, int] | None = None
    withdrawn_by: tuple[int, str, int] | None = None
    labels: dict[Short, float] = {}
    labeller: Short = ""
    fused_next: F32 | None = None
    encoder_next: Short = ""


class Reason(Struct, frozen=True, omit_defaults=True):
    """Which item of the user's past speaks for this one, how much, and in which modality."""

    because: str
    weight: float
    modality: str = ""


class SlateItem(Struct, frozen=True):
    """One place of a list. `rank` counts from 1; `source` names what proposed it."""

    item_id: str
    rank: int
    score: float
    source: str
    reasons: list[Reason] = []


class Slate(Struct, frozen=True, kw_only=True, tag="slate", tag_field="type"):
    """A fresh top-k list of one user, best first, naming the records that caused it."""

    slate_id: str
    user_id: str
    as_of_ms: int
    k: int
    items: list[SlateItem]
    caused_by: list[str]
    caused_at_ms: int
    versions: dict[str, str] = {}
    arm: str = "control"


class TrendTable(
    Struct,
    frozen=True,
    kw_only=True,
    omit_defaults=True,
    tag="trend_table",
    tag_field="type",
):
    """A chunk of a named table of (key, value) rows: what is popular, what follows what."""

    name: Id
    at_ms: AtMs
    chunk: int = 0
    chunks: int = 1
    rows: list[tuple[str, float]] = []


class ModelCard(
    Struct,
    frozen=True,
    kw_only=True,
    omit_defaults=True,
    tag="model_card",
    tag_field="type",
):
    """Where a trained model is, and how to know that it is the right one. Under the key `name`
    it is the one in force; under `name/version` it is kept to go back to. `state`: "pinned", a
    person chose it and training leaves it alone; "confirmed", the space before this fusion's
    is no longer written."""

    name: Id
    version: Short
    uri: Uri
    sha256: Short
    dims: dict[str, int] = {}
    at_ms: AtMs = 0
    state: Short = ""


Event = Interaction | Undo | Visit | Query | Erase | Signal
Upload = Item | Media
Record = Event | Upload | ItemVectors | Slate | TrendTable | ModelCard

EVENTS: tuple[type[Struct], ...] = (Interaction, Undo, Visit, Query, Erase, Signal)

TYPES: dict[str, tuple[type[Struct], ...]] = {
    "items": (Item,),
    "media": (Media,),
    "events": EVENTS,
    "item-vectors": (ItemVectors,),
    "recommendations": (Slate,),
    "trends": (TrendTable,),
    "models": (ModelCard,),
}
"""The record types of each topic, by the topic's role (its name without prefix and version)."""
