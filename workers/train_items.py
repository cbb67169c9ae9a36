"""The items that a model learns about: ids, categories and fused vectors, as the log has them.

Of two spaces that are written beside each other the one with more items is learned in: never
are vectors of two versions put side by side.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from encoders.law import hash64
from ranking.learn_log import LearnItems
from schemas import DecodeError, ItemVectors, decode, decode_item
from workers import metrics
from workers.ports import Record

Vectors = dict[str, NDArray[np.float32]]


@dataclass(slots=True, eq=False, kw_only=True)
class TrainItems:
    """`told`: id, categories and time of publication of the items that can be recommended;
    `vectors` by space."""

    items_topic: str
    width: int
    told: dict[int, tuple[str, frozenset[str], int]] = field(default_factory=dict)
    vectors: dict[int, Vectors] = field(default_factory=dict)

    def apply(self, records: Sequence[Record]) -> None:
        """Take in records of items and item vectors, in order."""
        for record in records:
            name = hash64((record.key or b"").decode("utf-8", "replace"))
            try:
                if record.topic == self.items_topic:
                    self._item(record, name)
                else:
                    self._vectors(record, name)
            except DecodeError:  # the recommend workers say so too, for all to see
                metrics.item_unreadable()

    def view(self) -> LearnItems:
        """The items now, in the order of their hashes."""
        names = sorted(self.told)
        spaces = Counter(space for of_item in self.vectors.values() for space in of_item)
        encoder = max(spaces, key=lambda space: (spaces[space], space)) if spaces else ""
        vector_ID = np.zeros((len(names), self.width), np.float32)
        for at, name in enumerate(names):
            if (vector := self.vectors.get(name, {}).get(encoder)) is not None:
                vector_ID[at] = vector
        return LearnItems(
            hash_I=np.array(names, np.uint64),
            item_id_I=[self.told[name][0] for name in names],
            categories_I=[self.told[name][1] for name in names],
            published_at_ms_I=np.array([self.told[name][2] for name in names], np.int64),
            vector_ID=vector_ID,
            encoder=encoder,
        )

    def _item(self, record: Record, name: int) -> None:
        if record.value is None:
            self.told.pop(name, None)
            return
        item, _ = decode_item(record.value, record.header("content-type"))
        told_ms = item.published_at_ms  # as the recommend workers read it
        published_at_ms = record.timestamp_ms if told_ms is None else told_ms
        self.told[name] = (item.item_id, frozenset(item.categories), published_at_ms)

    def _vectors(self, record: Record, name: int) -> None:
        self.vectors.pop(name, None)
        if record.value is None:
            return
        found: ItemVectors = decode(
            "item-vectors", record.value, record.header("content-type")
        )
        spaces = {found.encoder: found.fused, found.encoder_next: found.fused_next}
        kept = {
            space: unit
            for space, fused in spaces.items()
            if fused is not None and (unit := _unit(fused, self.width)) is not None
        }
        if kept and not found.withdrawn:
            self.vectors[name] = kept


def _unit(fused: bytes, width: int) -> NDArray[np.float32] | None:
    vector = np.frombuffer(fused, "<f4").astype(np.float64)
    length = np.linalg.norm(vector)
    if len(vector) != width or not (np.isfinite(length) and length > 0):
        return None
    return (vector / length).astype(np.float32)
