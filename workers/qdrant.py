"""Qdrant over the network: the store that workers share, and the item index of large catalogues.

Also `:memory:`, the client's own engine, for trials.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qdrant_client import models

from workers.points import (
    CATEGORIES,
    CONTENT,
    INTEREST,
    LISTED_UNTIL,
    OFFSET,
    PARTITION,
    TOPIC,
    TURN,
    ahead,
    applied_of,
    behind,
    item_payload,
    newest,
    portions,
    progress_payload,
    thresholds,
    user_of,
    user_payload,
)
from workers.ports import (
    Applied,
    Ask,
    Found,
    IndexedItem,
    Progress,
    StoredUser,
    TransientError,
)
from workers.qdrant_collection import Collection, Where, connected
from workers.recent import RecentVectors, ranked

PORTION = 500
PORTION_BYTES = 8 << 20
"""A server refuses bodies over 32 MB."""
ROUNDS = 8


class QdrantUserStore:
    """Users and progress in two collections, which any number of workers share."""

    def __init__(
        self,
        where: Where,
        *,
        width: int,
        users: str = "rec_users",
        progress: str = "rec_progress",
        timeout_s: float = 5.0,
        api_key: str = "",
    ) -> None:
        self._client = connected(where, timeout_s, api_key)
        self._users = Collection(
            self._client, users, INTEREST, width,
            graph=False, indexes={OFFSET: "integer", TOPIC: "keyword"},
        )  # fmt: skip
        self._progress = Collection(self._client, progress, TURN, 1, graph=False)

    def load(self, point_ids: Sequence[str]) -> dict[str, StoredUser]:
        """The users that are there."""
        wanted = list(dict.fromkeys(point_ids))
        found: dict[str, StoredUser] = {}
        for start in range(0, len(wanted), PORTION):
            portion = wanted[start : start + PORTION]
            for point in self._users.retrieve(portion, payload=True, vectors=True):
                found[str(point.id)] = user_of(
                    str(point.id), point.payload or {}, point.vector
                )
        return found

    def save(self, users: Sequence[StoredUser]) -> int:
        """Write those that are absent or stored with a lower offset, on every replica on
        return; how many were behind what is stored."""
        return sum(
            self._save(portion)
            for portion in portions(newest(users), count=PORTION, nbytes=PORTION_BYTES)
        )

    def _save(self, left: list[StoredUser]) -> int:
        """A condition is one for all points of a call: try with the lowest offset, look which
        points it left out although they are lower, and serve those by closer conditions.
        There are some only where someone else wrote, or where old work is done again."""
        stored: dict[str, Applied] = {}
        refused = 0
        for _ in range(ROUNDS):
            for threshold, group in thresholds(left, stored):
                points = [
                    _point(
                        user.point_id, INTEREST, user.interest.tolist(), user_payload(user)
                    )
                    for user in group
                ]
                self._users.upsert(points, only=_lower(threshold))
            stored = self._applied(left)
            refused += sum(
                u.point_id in stored and behind(u, stored[u.point_id]) for u in left
            )
            left = [
                u for u in left if u.point_id not in stored or ahead(u, stored[u.point_id])
            ]
            if not left:
                return refused
        raise TransientError(f"others keep writing the same {len(left)} users")

    def _applied(self, users: Sequence[StoredUser]) -> dict[str, Applied]:
        names = [user.point_id for user in users]
        points = self._users.retrieve(names, payload=["applied"], vectors=False)
        return {str(point.id): applied_of(point.payload or {}) for point in points}

    def progress(self, partitions: Sequence[int]) -> dict[int, Progress]:
        """Progress points of these partitions, where there are any."""
        points = self._progress.retrieve(list(partitions), payload=True, vectors=False)
        return {int(point.id): Progress(**(point.payload or {})) for point in points}

    def advance(self, progress: Sequence[Progress]) -> None:
        """Write progress points, on every replica on return."""
        self._progress.upsert(
            [
                _point(p.partition, TURN, [float(p.turn)], progress_payload(p))
                for p in progress
            ]
        )

    def close(self) -> None:
        self._client.close()


class QdrantItemIndex:
    """Items in a collection, searched by the server: exactly while it is small, by its graph
    when it is large. A projection of the log, which any worker may write."""

    def __init__(
        self,
        where: Where,
        *,
        width: int,
        items: str = "rec_items",
        timeout_s: float = 5.0,
        api_key: str = "",
    ) -> None:
        self._client = connected(where, timeout_s, api_key)
        self._items = Collection(
            self._client, items, CONTENT, width,
            graph=True, indexes={LISTED_UNTIL: "integer", CATEGORIES: "keyword"},
        )  # fmt: skip
        self._recent = RecentVectors(width)

    def __len__(self) -> int:
        return self._items.count()

    def put(self, items: Sequence[IndexedItem]) -> None:
        """Add items or replace them whole; of the same hash twice, the last counts."""
        latest = list({item.hash: item for item in items}.values())
        for start in range(0, len(latest), PORTION):
            portion = latest[start : start + PORTION]
            self._items.upsert(
                [
                    _point(i.hash, CONTENT, i.vector.tolist(), item_payload(i))
                    for i in portion
                ]
            )
        self._recent.forget(item.hash for item in latest)

    def remove(self, hashes: Sequence[int]) -> None:
        """Forget items; hashes that are not here are fine."""
        gone = [int(name) for name in hashes]
        if gone:
            self._items.delete(gone)
            self._recent.forget(gone)

    def vectors(
        self, hash_E: NDArray[np.uint64]
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """E x D vectors of items (zero where unknown), and which are known."""
        return self._recent.get(hash_E, self._fetch)

    def _fetch(self, hashes: list[int]) -> dict[int, Any]:
        found: dict[int, Any] = {}
        for start in range(0, len(hashes), PORTION):
            portion = hashes[start : start + PORTION]
            for point in self._items.retrieve(portion, payload=False, vectors=True):
                vector: Any = point.vector
                found[int(point.id)] = vector[CONTENT]
        return found

    def search(self, ask: Ask, *, limit: int) -> Found:
        """The best `limit` items of each row; see Ask for what is left out."""
        queries = [
            models.QueryRequest(
                query=vector_D.tolist(),
                using=CONTENT,
                filter=_listed(as_of_ms, category, exclude),
                limit=limit,
                with_payload=False,
            )
            for vector_D, as_of_ms, category, exclude in zip(
                ask.vector_UD, ask.as_of_ms_U.tolist(), ask.category_U, ask.exclude_U,
                strict=True,
            )
        ]  # fmt: skip
        if not limit or not queries:
            return ranked([[]] * len(queries), limit=limit)
        return ranked(self._items.query(queries), limit=limit)

    def close(self) -> None:
        self._client.close()


def _point(
    name: int | str, vector: str, values: list[float], payload: dict[str, Any]
) -> models.PointStruct:
    # Validating 256 floats one by one costs more than sending them.
    return models.PointStruct.model_construct(
        id=name, vector={vector: values}, payload=payload
    )


def _lower(threshold: Applied) -> models.Filter:
    """Points whose stored offset is lower, or of another log, where offsets say nothing."""
    match = models.MatchValue
    topic = models.FieldCondition(key=TOPIC, match=match(value=threshold.topic_id))
    number = models.FieldCondition(key=PARTITION, match=match(value=threshold.partition))
    return models.Filter(
        should=[
            models.FieldCondition(key=OFFSET, range=models.Range(lt=threshold.offset)),
            models.Filter(must_not=[models.Filter(must=[topic, number])]),
        ]
    )


def _listed(as_of_ms: int, category: str, exclude: NDArray[np.uint64]) -> models.Filter:
    must = [models.FieldCondition(key=LISTED_UNTIL, range=models.Range(gt=as_of_ms))]
    if category:
        match = models.MatchValue(value=category)
        must.append(models.FieldCondition(key=CATEGORIES, match=match))
    seen = models.HasIdCondition(has_id=exclude.tolist())
    return models.Filter(must=list(must), must_not=[seen] if len(exclude) else None)
