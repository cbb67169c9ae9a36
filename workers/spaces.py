"""Two spaces of item vectors beside each other while a new fusion is rolled out.

    records (vectors of both) -> today's index, and the next one -> complete? -> one switch

Never are vectors of two spaces compared: each has an index of its own, a record is read as
one space sees it, and between two batches everything moves over at once: index, the name of
the space that Signals must be of, and people's interests, which are made anew. The switch
comes when every item that has a vector of today's space has one of the next, or is known to
have none there; those must be few, or a person has to confirm that the space is wanted.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import structlog
from msgspec.structs import replace
from numpy.typing import NDArray

from ranking.catalogue import Catalogue
from schemas import ItemVectors
from workers import metrics
from workers.model_cards import CONFIRMED, FUSION, card_of, fits
from workers.ports import Ask, Found, IndexedItem, ItemIndex, Record

log = structlog.get_logger(__name__)
PORTION = 10_000
Vector = NDArray[np.float32]


@dataclass(slots=True, eq=False)
class TwinIndex:
    """Today's index, and the next one where there is one; holds `ItemIndex`. `arrived`: the
    next space's vectors of items that are not placed; `none`: items that have none there;
    `lacking`: items of today's index of which the next space says nothing yet."""

    now: ItemIndex
    next: ItemIndex | None = None
    arrived: dict[int, Vector] = field(default_factory=dict)
    none: set[int] = field(default_factory=set)
    lacking: set[int] = field(default_factory=set)

    def __len__(self) -> int:
        return len(self.now)

    def put(self, items: Sequence[IndexedItem]) -> None:
        """As ItemIndex promises; in both, as far as there are vectors."""
        self.now.put(items)
        if self.next is None:
            return
        vectors, known = self.next.vectors(np.array([i.hash for i in items], np.uint64))
        both = []
        for at, item in enumerate(items):
            if (vector := self.arrived.pop(item.hash, None)) is None and known[at]:
                vector = vectors[at]
            if vector is not None:
                both.append(_with(item, vector))
                self.lacking.discard(item.hash)
            elif item.hash not in self.none:
                self.lacking.add(item.hash)
        self.next.put(both)

    def remove(self, hashes: Sequence[int]) -> None:
        """As ItemIndex promises; the next space's vectors stay at hand, in case the items
        come back."""
        self.now.remove(hashes)
        if self.next is None or not len(hashes):
            return
        vectors, known = self.next.vectors(np.array(hashes, np.uint64))
        for at in np.flatnonzero(known).tolist():
            self.arrived.setdefault(int(hashes[at]), vectors[at].copy())
        self.next.remove(hashes)
        self.lacking.difference_update(hashes)

    def vectors(self, hash_E: NDArray[np.uint64]) -> tuple[Vector, NDArray[np.bool_]]:
        """As ItemIndex promises, of today's space."""
        return self.now.vectors(hash_E)

    def search(self, ask: Ask, *, limit: int) -> Found:
        """As ItemIndex promises, of today's space."""
        return self.now.search(ask, limit=limit)

    def begin(self, index: ItemIndex, items: Iterable[int]) -> None:
        """Another next space, with nothing in it; `items`: all that may be in today's."""
        self.forget()
        self.next = index
        names = np.fromiter(items, np.uint64)
        for at in range(0, len(names), PORTION):
            some = names[at : at + PORTION]
            self.lacking.update(some[self.now.vectors(some)[1]].tolist())

    def forget(self) -> None:
        """No next space any more."""
        if (close := getattr(self.next, "close", None)) is not None:
            close()
        self.next, self.arrived, self.none, self.lacking = None, {}, set(), set()

    def close(self) -> None:
        """Let go of what indexes hold open."""
        self.forget()
        if (close := getattr(self.now, "close", None)) is not None:
            close()


@dataclass(slots=True, eq=False, kw_only=True)
class Spaces:
    """Follows records and cards. `encoder`: today's space; `next`: the other that is seen;
    `wanted`: those that were announced, by a fusion's card or beside today's vectors; `carded`:
    the one that the card names, as far as it was read, and whether that is `confirmed`.
    `open_index` opens the index of a space."""

    index: TwinIndex
    catalogue: Catalogue
    encoder: str
    width: int
    open_index: Callable[[str], ItemIndex]
    next: str = ""
    wanted: set[str] = field(default_factory=set)
    carded: str = ""
    confirmed: bool = False
    held_up: str = ""  # the space of which it was said that it fits too few

    def __post_init__(self) -> None:
        metrics.gauges(space_items_lacking=0)  # shown before anything is rolled out, too

    def card(self, record: Record) -> None:
        """A record of rec.models.v1: the fusion that is rolled out is announced by its card."""
        card = card_of(record) if record.key == FUSION.encode() else None
        if card is not None and card.name == FUSION:
            self.wanted, self.carded = {card.version}, card.version
            self.confirmed = card.state == CONFIRMED
            if card.version == self.encoder and self.next:
                log.info("space_given_up", version=self.next)
                self._forget()

    def seen(self, name: int, vectors: ItemVectors) -> ItemVectors:
        """Keeps the other space's vector of this item; gives the record as today's sees it."""
        if vectors.encoder_next:
            self.wanted.add(vectors.encoder_next)
        other, fused = self._other(vectors)
        if other != self.next and other in self.wanted:
            log.info("space_begun", version=other, today=self.encoder)
            self.next = other
            self.index.begin(self.open_index(other), self.catalogue.row_of)
        if self.next:
            told = other == self.next or vectors.withdrawn
            self._keep(name, fused if other == self.next else None, told=told)
        if vectors.encoder_next == self.encoder:
            return replace(vectors, fused=vectors.fused_next, encoder=vectors.encoder_next)
        return vectors

    def gone(self, name: int) -> None:
        """The item's vectors are forgotten, in every space."""
        if self.next:
            self._keep(name, None, told=True)

    def complete(self) -> bool:
        """Whether the next space has all that today's has. Nobody goes where the card doesn't
        send him: records that were written before it may still speak of the other space."""
        if self.next not in self.wanted or self.carded not in ("", self.next):
            return False
        lacking, following = len(self.index.lacking), self.index.next
        if not lacking and following is not None and not self.confirmed:
            many, have = len(following), len(self.index.now)
            if not fits(many, of=have):
                lacking = have - many
                self._too_few(many, have)
        metrics.gauges(space_items_lacking=lacking)
        return not lacking and following is not None

    def _too_few(self, many: int, have: int) -> None:
        if self.held_up != self.next:
            self.held_up = self.next
            log.warning(
                "space_fits_too_few", version=self.next, items=many, of=have,
                remedy="rec models rollback --name fusion, or confirm it if that is meant",
            )  # fmt: skip

    def caught_up(self) -> None:
        """All that the log had at start is read. A space beside today's that the card doesn't
        name is history: nobody will write the rest of it."""
        if self.next and self.carded not in ("", self.next):
            self.wanted = {self.carded}
            self._forget()

    def says_nothing(self, vectors: ItemVectors) -> bool:
        """Whether a record, as today's space sees it, is of the next space alone: an encode
        worker is ahead of us. Today's vector stays until the switch."""
        return bool(self.next) and vectors.encoder == self.next and not vectors.withdrawn

    def switch(self) -> dict[int, Vector]:
        """The next space is today's from here on. Gives its vectors of items that are not in
        the catalogue."""
        index, twin = self.index.next, self.index
        assert index is not None
        placed = [n for n in twin.arrived if n in self.catalogue.row_of]
        index.put([self._item(name, twin.arrived.pop(name)) for name in placed])
        waiting, before, twin.next = twin.arrived, twin.now, None
        if (close := getattr(before, "close", None)) is not None:
            close()
        twin.now, self.encoder, self.next = index, self.next, ""
        twin.forget()
        metrics.gauges(space_items_lacking=0)
        metrics.info(encoder=self.encoder)
        log.info("space_switched", version=self.encoder, items=len(index))
        return waiting

    def _other(self, vectors: ItemVectors) -> tuple[str, bytes | None]:
        """The space that is not today's. Beside today's as the newer one stands the space
        before: nobody goes back there by it."""
        if vectors.encoder_next == self.encoder:
            return "", None
        if vectors.encoder == self.encoder or vectors.encoder_next:
            return vectors.encoder_next, vectors.fused_next
        return vectors.encoder, vectors.fused

    def _keep(self, name: int, fused: bytes | None, *, told: bool) -> None:
        """`told`: the record speaks of the next space; without a vector the item has none."""
        twin = self.index
        vector = None if fused is None else _unit(fused, self.width)
        if vector is not None:
            twin.none.discard(name)
            twin.arrived[name] = vector
        else:
            twin.arrived.pop(name, None)
            if twin.next is not None:
                twin.next.remove([name])
            (twin.none.add if told else twin.none.discard)(name)
        if told:
            twin.lacking.discard(name)

    def _forget(self) -> None:
        self.next = ""
        self.index.forget()
        metrics.gauges(space_items_lacking=0)

    def _item(self, name: int, vector: Vector) -> IndexedItem:
        row = self.catalogue.row_of[name]
        return IndexedItem(
            hash=name,
            vector=vector,
            categories=self.catalogue.categories[row],
            available=bool(self.catalogue.available[row]),
            expires_at_ms=int(self.catalogue.expires_at_ms[row]),
        )


def _with(item: IndexedItem, vector: Vector) -> IndexedItem:
    return IndexedItem(
        hash=item.hash,
        vector=vector,
        categories=item.categories,
        available=item.available,
        expires_at_ms=item.expires_at_ms,
    )


def _unit(fused: bytes, width: int) -> Vector | None:
    """A unit vector, or None for what is no vector of this width."""
    vector = np.frombuffer(fused, "<f4").astype(np.float64)
    length = np.linalg.norm(vector)
    if len(vector) != width or not (np.isfinite(length) and length > 0):
        return None
    return (vector / length).astype(np.float32)
