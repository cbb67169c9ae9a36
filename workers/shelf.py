"""The items at hand: what is known of every item of the partitions that are ours.

A projection of rec.item-vectors.v1: restored from it when a partition is gained, forgotten
when it is lost.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field

import structlog

from encoders.fusion_load import Fusion
from encoders.labels import Labeller
from schemas import DecodeError, ItemVectors, Slot, decode
from workers.ports import Record

log = structlog.get_logger(__name__)

BROUGHT = "producer"
"""Stands as the encoder of vectors that came with their item."""


@dataclass(slots=True, eq=False)
class Shelf:
    """`encoders`: today's names by modality. `version`: of the fused space. `spaces`: the
    width of each space of brought vectors. `prepared`: today's settings by modality.
    `labeller`: what tells what items are. `next`: the fusion that is rolled out beside the
    one in force (rollout.py); `both`: every item at hand has vectors of the two."""

    encoders: dict[str, str]
    version: str
    spaces: dict[str, int]
    prepared: dict[str, str] = field(default_factory=dict)
    labeller: Labeller = field(default_factory=Labeller)
    next: Fusion | None = None
    both: bool = False
    items: dict[int, dict[str, ItemVectors]] = field(default_factory=dict)
    declared: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        self.declared = frozenset(self.spaces)

    @property
    def version_next(self) -> str:
        """Of the space that is rolled out; empty where none is."""
        return self.next.version if self.next else ""

    def get(self, number: int, item_id: str) -> ItemVectors:
        """What is known of an item; nothing but its id where it is new."""
        return self.items.get(number, {}).get(item_id) or ItemVectors(item_id=item_id)

    def put(self, number: int, vectors: ItemVectors) -> None:
        self.items.setdefault(number, {})[vectors.item_id] = vectors

    def forget(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            self.items.pop(number, None)

    def restore(self, records: Iterable[Record]) -> None:
        """Take in what the log has, in its order. What cannot be read is as if not there."""
        for record in records:
            item_id = (record.key or b"").decode("utf-8", "replace")
            self.items.setdefault(record.partition, {}).pop(item_id, None)
            if record.value is None:
                continue
            try:
                vectors: ItemVectors = decode(
                    "item-vectors", record.value, record.header("content-type")
                )
            except DecodeError as error:
                log.warning("item_vectors_unreadable", reason=error.reason)
                continue
            self.put(record.partition, vectors)

    def learn_widths(self) -> None:
        """A space that is not declared has the width of most vectors that were brought: one
        wrong vector does not keep the right ones out for ever."""
        widths: dict[str, Counter[int]] = defaultdict(Counter)
        for items in self.items.values():
            for vectors in items.values():
                for name, slot in vectors.slots.items():
                    if slot.encoder == BROUGHT and name not in self.declared:
                        widths[name][len(slot.vector) // 4] += 1
        self.spaces |= {name: found.most_common(1)[0][0] for name, found in widths.items()}

    def reusable(self, number: int, item_id: str, name: str, content: str) -> Slot | None:
        """The item's slot that was made of this very content, cleaned by today's settings, by
        today's encoder."""
        made_by = (self.encoders.get(name), self.prepared.get(name, ""))
        vectors = self.get(number, item_id)
        for slots in (vectors.slots, vectors.shadowed):
            slot = slots.get(name)
            if (
                slot
                and slot.content == content
                and (slot.encoder, slot.prepared) == made_by
            ):
                return slot
        return None

    def fusible(self, vectors: ItemVectors) -> dict[str, Slot]:
        """The slots that may be fused: of an encoder of today, or brought."""
        return {
            name: slot
            for name, slot in vectors.slots.items()
            if slot.encoder in (BROUGHT, self.encoders.get(name))
        }

    def outdated(self, numbers: Collection[int]) -> Iterator[tuple[int, ItemVectors]]:
        """Items fused into another space than today's, or labelled otherwise, of these
        partitions."""
        today = (self.version, self.version_next, self.labeller.version)
        for number in numbers:
            for vectors in self.items.get(number, {}).values():
                made_by = (vectors.encoder, vectors.encoder_next, vectors.labeller)
                fusible = vectors.fused is not None or vectors.slots
                if fusible and made_by != today:
                    yield number, vectors
