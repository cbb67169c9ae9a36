"""Which user store and which item index a worker has, from its configuration."""

from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from ranking.resident import ResidentIndex
from workers.config import Config
from workers.ports import Ask, Found, IndexedItem, ItemIndex, UserStore

MOVED = 1000


class StoredIndex(ItemIndex, Protocol):
    """An item index that holds something open."""

    def close(self) -> None: ...


def open_user_store(config: Config, *, width: int) -> UserStore:
    """The store of users: a Qdrant server where one is named, else the embedded engine in
    this worker's own folder. FatalError where that folder is open elsewhere."""
    settings = config.qdrant
    if settings.url:
        from workers.qdrant import QdrantUserStore

        return QdrantUserStore(
            settings.url,
            width=width,
            users=settings.users,
            progress=settings.progress,
            timeout_s=settings.timeout_s,
            api_key=settings.api_key,
        )
    from workers.edge import EdgeUserStore

    return EdgeUserStore(_folder(config), width=width)


def open_item_index(config: Config, *, width: int, space: str = "") -> "SwitchingIndex":
    """The index of items: the resident matrix up to index.resident_items, then Qdrant. With
    `space`: of a space other than the configured one, in a place of its own."""
    device = config.index.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return SwitchingIndex(
        ResidentIndex(width, device=device),
        limit=config.index.resident_items,
        larger=lambda: _stored_index(config, width, space),
    )


def _stored_index(config: Config, width: int, space: str) -> StoredIndex:
    settings = config.qdrant
    own = f"space_{sha256(space.encode()).hexdigest()[:8]}" if space else ""
    if settings.url:
        from workers.qdrant import QdrantItemIndex

        return QdrantItemIndex(
            settings.url,
            width=width,
            items=f"{settings.items}_{own}" if own else settings.items,
            timeout_s=settings.timeout_s,
            api_key=settings.api_key,
        )
    from workers.edge import EdgeItemIndex

    return EdgeItemIndex(_folder(config) / own, width=width)


def _folder(config: Config) -> Path:
    return Path(config.qdrant.path) / config.kafka.worker


class SwitchingIndex:
    """Resident up to a size; then all items move over to a larger index, once."""

    def __init__(
        self, resident: ResidentIndex, *, limit: int, larger: Callable[[], StoredIndex]
    ) -> None:
        self._resident: ResidentIndex | None = resident
        self._limit = limit
        self._open = larger
        self._larger: StoredIndex | None = None
        # The larger index outlives us: what went while we were small has to go there too.
        self._gone: set[int] = set()

    def __len__(self) -> int:
        return len(self._now)

    @property
    def _now(self) -> ItemIndex:
        return self._resident if self._resident is not None else self._opened()

    def put(self, items: Sequence[IndexedItem]) -> None:
        """Add items or replace them whole; of the same hash twice, the last counts."""
        self._now.put(items)
        if self._resident is not None and len(self._resident) > self._limit:
            self._move(self._resident)

    def _move(self, resident: ResidentIndex) -> None:
        """Cut short by an error, it begins again with the next put: putting is idempotent."""
        larger = self._opened()
        moving: list[IndexedItem] = []
        for item in resident.items():
            moving.append(item)
            if len(moving) == MOVED:
                larger.put(moving)
                moving = []
        larger.put(moving)
        gone = np.array(sorted(self._gone), np.uint64)
        larger.remove(gone[~resident.vectors(gone)[1]].tolist())
        self._gone.clear()
        self._resident = None

    def _opened(self) -> StoredIndex:
        if self._larger is None:
            self._larger = self._open()
        return self._larger

    def remove(self, hashes: Sequence[int]) -> None:
        """Forget items; hashes that are not here are fine."""
        self._now.remove(hashes)
        if self._resident is not None:
            self._gone.update(int(name) for name in hashes)

    def vectors(
        self, hash_E: NDArray[np.uint64]
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """E x D vectors of items (zero where unknown), and which are known."""
        return self._now.vectors(hash_E)

    def search(self, ask: Ask, *, limit: int) -> Found:
        """The best `limit` items of each row; see Ask for what is left out."""
        return self._now.search(ask, limit=limit)

    def close(self) -> None:
        """Let go of what was opened."""
        if self._larger is not None:
            self._larger.close()
