"""What producers send to an encode worker in tests: items, uploads, comments, queries."""

from __future__ import annotations

from typing import Any

from schemas import Interaction, Item, Media, MediaRef, Query
from tests.support.workshop import NOW, TOPICS, Workshop, picture, sound

RED, BLUE = picture((200, 10, 10)), picture((10, 10, 200))
LOW, HIGH = sound(0.05), sound(1.1)


def inline(kind: str, data: bytes, **more: Any) -> MediaRef:
    return MediaRef(kind=kind, data=data, **more)


def put(shop: Workshop, item_id: str = "i1", title: str = "A film", **fields: Any) -> None:
    shop.send(TOPICS.items, item_id, Item(item_id=item_id, title=title, **fields))


def upload(
    shop: Workshop, kind: str, data: bytes, item_id: str = "i1", **fields: Any
) -> None:
    media = Media(
        media_id=f"m{shop.ms}", kind=kind, at_ms=NOW, item_id=item_id, data=data, **fields
    )
    shop.send(TOPICS.media, media.user_id or item_id, media)


def say(shop: Workshop, event_id: str = "e1", user: str = "ann", **fields: Any) -> None:
    event = Interaction(
        event_id=event_id, user_id=user, item_id="i1", kind="like", at_ms=NOW, **fields
    )
    shop.send(TOPICS.events, user, event)


def ask(shop: Workshop, event_id: str = "q1", user: str = "ann", **fields: Any) -> None:
    query = Query(event_id=event_id, user_id=user, at_ms=NOW, **fields)
    shop.send(TOPICS.events, user, query)


def reasons(shop: Workshop) -> list[str | None]:
    return [r.header("__connect.errors.class.name") for r in shop.dead_letters()]
