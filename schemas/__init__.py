"""What crosses a wire. Imports nothing of ours."""

from schemas.codec import (
    CONTENT_TYPES,
    DecodeError,
    Encoding,
    decode,
    decode_item,
    encode,
    encoding_of,
    refused,
)
from schemas.records import (
    EVENTS,
    MEDIA_KINDS,
    TYPES,
    Erase,
    Event,
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

__all__ = [
    "CONTENT_TYPES", "EVENTS", "MEDIA_KINDS", "TYPES", "DecodeError", "Encoding", "Erase",
    "Event", "Interaction", "Item", "ItemVectors", "Media", "MediaRef", "ModelCard", "Query",
    "Reason", "Record", "Signal", "Slate", "SlateItem", "Slot", "TrendTable", "Undo",
    "Undone", "Visit", "decode", "decode_item", "encode", "encoding_of", "refused",
]  # fmt: skip
