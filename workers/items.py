"""The item tables of a recommend worker: attributes, the index, and what is popular now.

Fed from rec.items.v1 (attributes, availability, withdrawal: never behind an encoder) and
rec.item-vectors.v1 (vectors). An item can be listed when it is in the first; it is searched
by vector when it is in both and its vector is of this worker's version of the space.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import structlog
import torch
from numpy.typing import NDArray

from encoders.fusion import sketch
from encoders.law import Law, hash64
from ranking.catalogue import Catalogue
from schemas import DecodeError, ItemVectors, decode, decode_item, refused
from workers import metrics
from workers.decode import check_key
from workers.ports import NEVER_MS, IndexedItem, ItemIndex, Record, Table
from workers.spaces import Spaces

log = structlog.get_logger(__name__)

Sketches = dict[str, NDArray[np.float16]]


@dataclass(slots=True, eq=False)
class Items:
    """The tables. `arrived` has the vectors that are not in the index yet: they came before
    their item, or their item was withdrawn for now."""

    table: Table
    index: ItemIndex
    catalogue: Catalogue
    items_topic: str
    encoder: str
    width: int
    law: Law
    arrived: dict[int, tuple[NDArray[np.float32], Sketches]] = field(default_factory=dict)
    other_versions: set[str] = field(default_factory=set)
    labels: dict[int, frozenset[str]] = field(
        default_factory=dict
    )  # of items without categories
    bare: set[int] = field(
        default_factory=set
    )  # items that name no categories of their own
    fresh: set[int] = field(default_factory=set)  # changed since lists last took them in
    spaces: Spaces | None = None  # where another space may be rolled out beside this one

    def catch_up(self, *, keep_on: Callable[[], bool]) -> None:
        """Read up to the end that the tables had at start; ends early when told to stop."""
        while (behind := self.table.behind()) and keep_on():
            metrics.gauges(tables_behind=behind)
            self.apply(self.table.refresh(limit=5_000, timeout_s=0.2))
        metrics.gauges(tables_behind=self.table.behind())
        if self.spaces is not None and not self.table.behind():
            self.spaces.caught_up()

    def refresh(self, *, clock: Callable[[], float]) -> int:
        """Apply what is new; measures uploads from the broker's append to here."""
        records = self.table.refresh(limit=2_000, timeout_s=0.0)
        if records:
            self.apply(records)
            now_ms = clock() * 1000
            for record in records:
                caused_at = record.header("caused-at-ms") or ""
                if caused_at.isdecimal() and len(caused_at) < 16:  # anybody may set headers
                    metrics.upload_to_recommendable(
                        max(0.0, now_ms - int(caused_at)) / 1000
                    )
        return len(records)

    def switch(self) -> bool:
        """Move over to the space that is rolled out, once it is complete (spaces.py)."""
        if self.spaces is None or self.table.behind() or not self.spaces.complete():
            return False
        waiting, before = self.spaces.switch(), self.arrived
        self.encoder = self.spaces.encoder
        self.arrived = {n: (v, before.get(n, (v, {}))[1]) for n, v in waiting.items()}
        return True

    def apply(self, records: Sequence[Record]) -> None:
        """Fold records of both topics into catalogue and index, in order."""
        changed: dict[int, None] = {}
        gone: dict[int, None] = {}
        for record in records:
            name = hash64((record.key or b"").decode("utf-8", "replace"))
            try:
                self._apply(record, name, gone)
            except DecodeError as error:
                # the encode worker sets the record aside; here it must only not stop lists
                metrics.item_unreadable()
                log.warning("item_unreadable", topic=record.topic, reason=error.reason)
                continue
            changed[name] = None
        self.index.remove([name for name in gone if name not in self.catalogue.row_of])
        self._project(changed)
        self.fresh.update(changed)
        metrics.gauges(items_indexed=len(self.index))

    def _apply(self, record: Record, name: int, gone: dict[int, None]) -> None:
        if record.topic != self.items_topic:
            self._vectors(record, name)
        elif record.value is None:
            self._keep_vector(name)
            self.catalogue.remove(name)
            gone[name] = None
        else:
            self._item(record, name)

    def _item(self, record: Record, name: int) -> None:
        item, _ = decode_item(record.value or b"", record.header("content-type"))
        check_key(record, "item_id", item.item_id)
        (self.bare.discard if item.categories else self.bare.add)(name)
        self.catalogue.put(
            name,
            item_id=item.item_id,
            categories=frozenset(item.categories) or self.labels.get(name, frozenset()),
            available=item.available,
            expires_at_ms=NEVER_MS if item.expires_at_ms is None else item.expires_at_ms,
            published_at_ms=(
                record.timestamp_ms
                if item.published_at_ms is None
                else item.published_at_ms
            ),
        )

    def _vectors(self, record: Record, name: int) -> None:
        """The newest vectors wait in `arrived` until the projection; none: out of the index."""
        if record.value is not None:
            found: ItemVectors = decode(
                "item-vectors", record.value, record.header("content-type")
            )
            check_key(record, "item_id", found.item_id)
            self._label(name, frozenset(found.labels))
            if self.spaces is not None:
                found = self.spaces.seen(name, found)
                if self.spaces.says_nothing(found):
                    return
            if (fused := self._checked(found)) is not None:
                self.arrived[name] = (fused, _sketches(found))
                return
        else:
            self._label(name, frozenset())
            if self.spaces:
                self.spaces.gone(name)
        self.arrived.pop(name, None)
        self.index.remove([name])

    def _label(self, name: int, labels: frozenset[str]) -> None:
        """What the encode worker is confident that the item is: its categories, where it names
        none itself."""
        if labels == self.labels.get(name, frozenset()):
            return
        self.labels[name] = labels
        if name in self.bare and name in self.catalogue.row_of:
            self.catalogue.categorise(name, labels)

    def _checked(self, vectors: ItemVectors) -> NDArray[np.float32] | None:
        if vectors.withdrawn or vectors.fused is None:
            return None
        if vectors.encoder != self.encoder or len(vectors.fused) != 4 * self.width:
            if vectors.encoder not in self.other_versions:
                self.other_versions.add(vectors.encoder)
                log.warning("other_encoder", theirs=vectors.encoder, ours=self.encoder)
            return None
        fused = np.frombuffer(vectors.fused, "<f4").astype(np.float64)
        length = np.linalg.norm(fused)
        if not (np.isfinite(length) and length > 0):
            raise refused(
                "non_finite", "fused", "a vector", "send finite numbers, not all 0"
            )
        return (fused / length).astype(np.float32)

    def _keep_vector(self, name: int) -> None:
        """A withdrawn item's vector stays at hand, in case its item comes back."""
        if name in self.catalogue.row_of and name not in self.arrived:
            vectors, known = self.index.vectors(np.array([name], np.uint64))
            if known[0]:
                row = self.catalogue.row_of[name]
                kept = {
                    m: column[row].copy() for m, column in self.catalogue.sketches.items()
                }
                self.arrived[name] = (
                    vectors[0].copy(), {m: v for m, v in kept.items() if v.any()}
                )  # fmt: skip

    def _project(self, changed: Iterable[int]) -> None:
        """Bring the index in line with the catalogue and the vectors for these items."""
        here = [name for name in changed if name in self.catalogue.row_of]
        vectors, known = self.index.vectors(np.array(here, np.uint64))
        put = []
        for at, name in enumerate(here):
            if name in self.arrived:
                vector, sketches = self.arrived.pop(name)
                self.catalogue.sketch(name, sketches)
            elif known[at]:
                vector = vectors[at]
            else:
                continue
            row = self.catalogue.row_of[name]
            put.append(
                IndexedItem(
                    hash=name,
                    vector=vector,
                    categories=self.catalogue.categories[row],
                    available=bool(self.catalogue.available[row]),
                    expires_at_ms=int(self.catalogue.expires_at_ms[row]),
                )
            )
        self.index.put(put)


def _sketches(vectors: ItemVectors) -> Sketches:
    return {
        modality: sketch(
            modality, torch.from_numpy(np.frombuffer(slot.vector, "<f4").copy())[None]
        )[0].numpy()
        for modality, slot in vectors.slots.items()
    }
