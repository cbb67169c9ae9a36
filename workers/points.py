"""What a point of each collection looks like, and which users a store may overwrite.

Shared by edge.py and qdrant.py, so that an embedded store and a server hold the same. The
state travels as base64: a payload is JSON.
"""

from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import compress
from typing import Any

import numpy as np

from ranking.index import IndexedItem
from workers.ports import Applied, Progress, StoredUser

INTEREST = "interest"
"""The vector of a user's point."""
CONTENT = "content"
"""The vector of an item's point."""
TURN = "turn"
"""A progress point needs some vector; nobody searches by it."""
OFFSET = "applied.offset"
TOPIC = "applied.topic_id"
PARTITION = "applied.partition"
CATEGORIES = "categories"
LISTED_UNTIL = "listed_until_ms"
UNLISTED = -(1 << 62)
"""`listed_until_ms` of an item that is not available: one condition says both."""

Payload = dict[str, Any]


def user_payload(user: StoredUser) -> Payload:
    """The payload of a user's point; a tombstone's names nobody."""
    applied = user.applied
    payload: Payload = {
        "applied": {
            "topic_id": applied.topic_id,
            "partition": applied.partition,
            "offset": applied.offset,
        },
        "as_of_ms": user.as_of_ms,
        "model": user.model,
        "state": b64encode(user.state).decode("ascii"),
    }
    if user.user_id is not None:
        payload["user_id"] = user.user_id
    return payload


def applied_of(payload: Mapping[str, Any]) -> Applied:
    """How far a stored user is folded."""
    return Applied(**payload["applied"])


def user_of(point_id: str, payload: Mapping[str, Any], vector: Any) -> StoredUser:
    """The user that was saved as this point."""
    return StoredUser(
        point_id=point_id,
        user_id=payload.get("user_id"),
        interest=np.asarray(vector[INTEREST], np.float32),
        applied=applied_of(payload),
        as_of_ms=payload["as_of_ms"],
        model=payload["model"],
        state=b64decode(payload["state"]),
    )


def progress_payload(progress: Progress) -> Payload:
    """The payload of a partition's progress point, whose id is the partition's number."""
    return {
        "topic_id": progress.topic_id,
        "partition": progress.partition,
        "offset": progress.offset,
        "writer": progress.writer,
        "turn": progress.turn,
        "law": progress.law,
    }


def item_payload(item: IndexedItem) -> Payload:
    """The payload of an item's point, whose id is the item's hash."""
    until = item.expires_at_ms if item.available else UNLISTED
    return {CATEGORIES: sorted(item.categories), LISTED_UNTIL: until}


def newest(users: Iterable[StoredUser]) -> list[StoredUser]:
    """One of each user, the furthest folded: a store may keep any one of two in a batch."""
    latest: dict[str, StoredUser] = {}
    for user in users:
        known = latest.get(user.point_id)
        if known is None or not behind(user, known.applied):
            latest[user.point_id] = user
    return list(latest.values())


def behind(user: StoredUser, stored: Applied) -> bool:
    """Whether the store is ahead of this user. Offsets of another log say nothing."""
    return same_log(user.applied, stored) and user.applied.offset < stored.offset


def ahead(user: StoredUser, stored: Applied) -> bool:
    """Whether this user must be written: it is stored with a lower offset."""
    return not same_log(user.applied, stored) or user.applied.offset > stored.offset


def same_log(one: Applied, other: Applied) -> bool:
    """Whether two offsets are of one partition of one topic, and so tell an order."""
    return (one.topic_id, one.partition) == (other.topic_id, other.partition)


def thresholds(
    users: Sequence[StoredUser], stored: Mapping[str, Applied]
) -> Iterator[tuple[Applied, list[StoredUser]]]:
    """Groups that one condition `stored offset < threshold` serves, as few as can be:
    (log and threshold, users). `stored`: what is known of users, none of them ahead.

    A threshold is at most each user's own offset, so a store that is ahead is never
    overwritten, and above what is known to be stored. Usually a partition is one group: a
    worker saves all that it folded, so the lowest offset of a batch is above all that it
    saved before."""
    logs: dict[tuple[str, int], list[StoredUser]] = {}
    for user in sorted(users, key=lambda user: user.applied.offset):
        logs.setdefault((user.applied.topic_id, user.applied.partition), []).append(user)
    for log in logs.values():
        left = log
        while left:
            threshold = left[0].applied
            served = [_known(user, stored) < threshold.offset for user in left]
            yield threshold, list(compress(left, served))
            left = [user for user, done in zip(left, served, strict=True) if not done]


def _known(user: StoredUser, stored: Mapping[str, Applied]) -> int:
    known = stored.get(user.point_id)
    return known.offset if known and same_log(known, user.applied) else -1


def portions(
    users: Sequence[StoredUser], *, count: int, nbytes: int
) -> Iterator[list[StoredUser]]:
    """The users in order, at most so many and about so many bytes at a time."""
    portion: list[StoredUser] = []
    size = 0
    for user in users:
        # Base64 of the state, the vector as text, and the rest of a point.
        cost = 4 * len(user.state) // 3 + 12 * len(user.interest) + 500
        if portion and (len(portion) == count or size + cost > nbytes):
            yield portion
            portion, size = [], 0
        portion.append(user)
        size += cost
    if portion:
        yield portion
