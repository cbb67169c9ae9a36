"""Qdrant's engine inside the worker: the default store, and the item index of large catalogues.

One opener a folder; a lock file says so before the engine would, and a killed process leaves
it open. Points are replaced in place in one appendable segment and the room of old payloads
is used again, so nothing has to be optimised and nothing grows (docs/adr/0009). The engine
holds Python's global lock while it works, so work goes to it in portions.
"""

from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import qdrant_edge as edge
from numpy.typing import NDArray

from workers.edge_folder import Folder
from workers.points import (
    CATEGORIES,
    CONTENT,
    INTEREST,
    LISTED_UNTIL,
    TURN,
    ahead,
    applied_of,
    behind,
    item_payload,
    newest,
    portions,
    progress_payload,
    user_of,
    user_payload,
)
from workers.ports import Ask, Found, IndexedItem, Progress, StoredUser
from workers.recent import RecentVectors, ranked

PORTION = 1000
PORTION_BYTES = 16 << 20
FLUSH_ITEMS = 5000


class EdgeUserStore:
    """Users and progress in a folder. The only opener, and one call at a time, so that reading
    what is stored and then writing is as good as a condition (and a third faster)."""

    def __init__(self, path: str | Path, *, width: int) -> None:
        self._folder = Folder(Path(path), "users")
        self._users = self._folder.open("users", {INTEREST: width})
        self._progress = self._folder.open("progress", {TURN: 1})
        self._turn = Lock()

    def load(self, point_ids: Sequence[str]) -> dict[str, StoredUser]:
        """The users that are there."""
        wanted = list(dict.fromkeys(point_ids))
        found: dict[str, StoredUser] = {}
        for start in range(0, len(wanted), PORTION):
            with self._turn:
                records = self._users.retrieve(
                    wanted[start : start + PORTION], with_payload=True, with_vector=True
                )
            for record in records:
                name = str(record.id)
                found[name] = user_of(name, record.payload, record.vector)
        return found

    def save(self, users: Sequence[StoredUser]) -> int:
        """Write those that are absent or stored with a lower offset, on disk on return; how
        many were behind what is stored."""
        refused = 0
        for portion in portions(newest(users), count=PORTION, nbytes=PORTION_BYTES):
            with self._turn:
                refused += self._save(portion)
        return refused

    def _save(self, users: list[StoredUser]) -> int:
        records = self._users.retrieve(
            [user.point_id for user in users],
            with_payload=["applied"],
            with_vector=False,
        )
        stored = {str(record.id): applied_of(record.payload) for record in records}
        points = [
            _point(user.point_id, INTEREST, user.interest.tolist(), user_payload(user))
            for user in users
            if user.point_id not in stored or ahead(user, stored[user.point_id])
        ]
        if points:
            self._users.update(edge.UpdateOperation.upsert_points(points))
            self._users.flush()
        return sum(u.point_id in stored and behind(u, stored[u.point_id]) for u in users)

    def progress(self, partitions: Sequence[int]) -> dict[int, Progress]:
        """Progress points of these partitions, where there are any."""
        with self._turn:
            records = self._progress.retrieve(
                list(partitions), with_payload=True, with_vector=False
            )
        return {record.id: Progress(**record.payload) for record in records}

    def advance(self, progress: Sequence[Progress]) -> None:
        """Write progress points, on disk on return."""
        points = [
            _point(p.partition, TURN, [float(p.turn)], progress_payload(p))
            for p in progress
        ]
        with self._turn:
            self._progress.update(edge.UpdateOperation.upsert_points(points))
            self._progress.flush()

    def close(self) -> None:
        """Everything on disk, and the folder free for another."""
        with self._turn:
            self._folder.close()


class EdgeItemIndex:
    """Items in a folder, searched exactly (no graph is built: that would stall the worker
    for minutes). A projection of the log: what a crash takes comes back from there."""

    def __init__(self, path: str | Path, *, width: int) -> None:
        self._folder = Folder(Path(path), "items")
        self._items = self._folder.open("items", {CONTENT: width})
        for key, schema in (
            (LISTED_UNTIL, edge.PayloadSchemaType.Integer),
            (CATEGORIES, edge.PayloadSchemaType.Keyword),
        ):
            self._items.update(edge.UpdateOperation.create_field_index(key, schema))
        self._recent = RecentVectors(width)
        self._unflushed = 0

    def __len__(self) -> int:
        return int(self._items.count(edge.CountRequest(exact=True)))

    def put(self, items: Sequence[IndexedItem]) -> None:
        """Add items or replace them whole; of the same hash twice, the last counts."""
        latest = list({item.hash: item for item in items}.values())
        for start in range(0, len(latest), PORTION):
            portion = latest[start : start + PORTION]
            points = [
                _point(item.hash, CONTENT, item.vector.tolist(), item_payload(item))
                for item in portion
            ]
            self._update(
                edge.UpdateOperation.upsert_points(points), [i.hash for i in portion]
            )

    def remove(self, hashes: Sequence[int]) -> None:
        """Forget items; hashes that are not here are fine."""
        gone: list[Any] = [int(name) for name in hashes]
        if gone:
            self._update(edge.UpdateOperation.delete_points(gone), gone)

    def _update(self, operation: Any, hashes: list[int]) -> None:
        self._items.update(operation)
        self._recent.forget(hashes)
        self._unflushed += len(hashes)
        if self._unflushed >= FLUSH_ITEMS:
            self._items.flush()
            self._unflushed = 0

    def vectors(
        self, hash_E: NDArray[np.uint64]
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """E x D vectors of items (zero where unknown), and which are known."""
        return self._recent.get(hash_E, self._fetch)

    def _fetch(self, hashes: list[int]) -> dict[int, Any]:
        records = self._items.retrieve(hashes, with_payload=False, with_vector=True)
        return {record.id: record.vector[CONTENT] for record in records}

    def search(self, ask: Ask, *, limit: int) -> Found:
        """The best `limit` items of each row; see Ask for what is left out."""
        queries = [
            edge.QueryRequest(
                limit=limit,
                query=edge.Query.Nearest(vector_D, using=CONTENT),
                filter=_listed(as_of_ms, category, exclude),
                params=edge.SearchParams(exact=True),
            )
            for vector_D, as_of_ms, category, exclude in zip(
                ask.vector_UD, ask.as_of_ms_U.tolist(), ask.category_U, ask.exclude_U,
                strict=True,
            )
        ]  # fmt: skip
        if not limit or not queries:
            return ranked([[]] * len(queries), limit=limit)
        answers = self._items.query_batch(edge.QueryBatchRequest(queries))
        return ranked([[(p.id, p.score) for p in row] for row in answers], limit=limit)

    def close(self) -> None:
        """Everything on disk, and the folder free for another."""
        self._folder.close()


def _point(name: int | str, vector: str, values: Any, payload: dict[str, Any]) -> Any:
    return edge.Point(name, {vector: values}, payload)


def _listed(as_of_ms: int, category: str, exclude: NDArray[np.uint64]) -> Any:
    must: list[Any] = [
        edge.FieldCondition(LISTED_UNTIL, range=edge.RangeFloat(gt=float(as_of_ms)))
    ]
    if category:
        must.append(edge.FieldCondition(CATEGORIES, match=edge.MatchValue(category)))
    seen = set(exclude.tolist())
    return edge.Filter(must=must, must_not=[edge.HasIdCondition(seen)] if seen else None)
