"""A recommend worker on in-memory doors: produce, turn the loop, read what came out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from encoders.config import EncoderConfig
from encoders.fusion import fusion_version
from evaluation.replay import DEAD_LETTERS, EVENTS, ITEMS, SLATES, VECTORS, Replay
from schemas import Event, Interaction, Item, ItemVectors, Slate, Slot, encode
from workers.config import RecommendConfig
from workers.member import Worker
from workers.ports import Outbound, Record

NOW = 1_764_000_000_000
WIDTH = 16
SPACE = fusion_version(EncoderConfig(width=WIDTH))
DEAD = DEAD_LETTERS
__all__ = ["DEAD", "EVENTS", "ITEMS", "SLATES", "VECTORS", "House"]


class Died(Exception):
    """The worker ended here, as a killed one does."""


class House(Replay):
    """A replay of three partitions whose items have vectors that belong to their names."""

    def __init__(self, **more: Any) -> None:
        super().__init__(encoder=SPACE, width=WIDTH, now_ms=NOW, partitions=3, **more)

    def item(self, item_id: str, vector: Any = None, **more: Any) -> None:
        """An item with the vector that its encode worker would have given it."""
        self.write(ITEMS, item_id, encode(Item(item_id=item_id, **more)))
        self.vector(item_id, vector_of(item_id) if vector is None else vector)

    def vector(self, item_id: str, vector: Any, encoder: str = SPACE) -> None:
        data = np.asarray(vector, "<f4").tobytes()
        slots = {"text": Slot(vector=data, encoder="t", source=(ITEMS, 0, 0))}
        record = ItemVectors(item_id=item_id, slots=slots, fused=data, encoder=encoder)
        self.write(VECTORS, item_id, encode(record))

    def put(self, topic: str, key: str, value: bytes | None, **more: Any) -> None:
        """One record with headers or a partition of its own."""
        self.log.append([Outbound(topic, key.encode(), value, **more)])

    def tell(self, *events: Event) -> None:
        self.send(events)

    def hire(self, name: str = "w", *, save_every_s: float = 1.0) -> Worker:
        return self.worker(
            name, config=RecommendConfig(save_every_s=save_every_s, batch=50)
        )

    def crash(self, worker: Worker, turns: int) -> None:
        """Turn the loop so many times; then it is gone, without the last save."""
        left = iter(range(turns))

        def should_stop() -> bool:
            if next(left, None) is None:
                raise Died
            return False

        try:
            self.run(worker, should_stop=should_stop)
        except Died:
            return

    def dead(self) -> list[Record]:
        return self.log.records(DEAD)


def vector_of(name: str) -> Any:
    """A unit vector that belongs to a name."""
    seed = int.from_bytes(name.encode()[:8].ljust(8, b"."), "little")
    vector = np.random.default_rng(seed).standard_normal(WIDTH).astype(np.float32)
    return vector / np.linalg.norm(vector)


def ids(slate: Slate) -> list[str]:
    return [item.item_id for item in slate.items]


def named(slates: Iterable[Slate]) -> list[str]:
    """Every event that a list names, in order, doubles included."""
    return [event for slate in slates for event in slate.caused_by]


def click(event_id: str, user: str = "ann", item: str = "i1", **more: Any) -> Interaction:
    return Interaction(
        event_id=event_id, user_id=user, item_id=item,
        kind=more.pop("kind", "click"), at_ms=more.pop("at_ms", NOW), **more,
    )  # fmt: skip


def answered(house: House, *events: Event, turns: int = 8) -> House:
    house.tell(*events)
    house.turn(house.hire(), turns)
    return house
