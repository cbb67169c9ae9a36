"""Candidates into lists: the interest's neighbours first, then what is popular and fresh.

Shapes:  U = lists,  K = places of a list,  D = vector width

Filters are strict and the same for every source: no item that the user has seen, that is
withdrawn, unavailable or expired at the list's event time, or not of the asked category.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ranking.catalogue import Catalogue, mixed
from schemas import Reason, SlateItem


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """One list that is asked for. `exclude`: hashes that must not be in it."""

    as_of_ms: int
    category: str
    exclude: NDArray[np.uint64]
    source: str  # what the searched candidates are: "interest" or "query"


@dataclass(frozen=True, slots=True)
class Place:
    """One place of a list before it is written."""

    name: int
    score: float
    source: str


def places(
    wanted: Sequence[Wanted],
    *,
    hash_UK: NDArray[np.uint64],
    score_UK: NDArray[np.float32],
    catalogue: Catalogue,
    k: int,
    fresh_share: float,
) -> list[list[Place]]:
    """Each list's places: what was found, filled up with what is popular and fresh."""
    filler = Filler(catalogue, share=fresh_share)
    lists = []
    for row, names, scores in zip(
        wanted, hash_UK.tolist(), score_UK.astype(np.float64).round(6).tolist(), strict=True
    ):
        found = [
            Place(name, score, row.source)
            for name, score in zip(names, scores, strict=True)
            if name
        ][:k]
        lists.append(found + filler.fill(row, found, room=k - len(found)))
    return lists


@dataclass(slots=True, eq=False)
class Filler:
    """What is popular and what is fresh, interleaved; ranked once a batch and category, and
    only as deep as lists need it."""

    catalogue: Catalogue
    share: float
    ranked: dict[str, tuple[int, list[tuple[int, bool]]]] = field(default_factory=dict)

    def fill(self, row: Wanted, found: Sequence[Place], *, room: int) -> list[Place]:
        """At most `room` more places: the first that pass the list's filters."""
        if not room:
            return []
        barred = {place.name for place in found}
        barred.update(row.exclude.tolist())
        depth = 4 * room + len(barred)
        while True:
            held, ranked = self.ranked.get(row.category, (0, []))
            if held < depth:
                ranked = self._ranked(row.category, depth)
                self.ranked[row.category] = (depth, ranked)
            chosen = self._passing(row, barred, ranked, room)
            if len(chosen) == room or max(held, depth) >= len(self.catalogue):
                return _places(chosen, below=found[-1].score if found else 1.0)
            depth = len(self.catalogue)  # many are sold out or expired: look at all

    def _ranked(self, category: str, depth: int) -> list[tuple[int, bool]]:
        rows = self.catalogue.rows_in(category) if category else None
        return mixed(
            self.catalogue.popular(depth, rows),
            self.catalogue.fresh(depth, rows),
            share=self.share,
        )

    def _passing(
        self, row: Wanted, barred: set[int], ranked: list[tuple[int, bool]], room: int
    ) -> list[tuple[int, bool]]:
        catalogue = self.catalogue
        out: list[tuple[int, bool]] = []
        for at, fresh in ranked:
            if len(out) == room:
                break
            name = int(catalogue.hash[at])
            listed = catalogue.available[at] and catalogue.expires_at_ms[at] > row.as_of_ms
            if listed and name not in barred:
                out.append((name, fresh))
        return out


def _places(chosen: Sequence[tuple[int, bool]], *, below: float) -> list[Place]:
    """Scores fall along a list: what fills it up stands below what was found."""
    return [
        Place(name, round(below - 0.001 * (at + 1), 6), "fresh" if fresh else "popular")
        for at, (name, fresh) in enumerate(chosen)
    ]


def slate_items(
    lists: Sequence[Sequence[Place]],
    why: Sequence[Sequence[list[Reason]]],
    catalogue: Catalogue,
) -> list[list[SlateItem]]:
    """Places and their reasons as they stand on the wire."""
    return [
        [
            SlateItem(
                item_id=catalogue.item_id[catalogue.row_of[place.name]],
                rank=rank,
                score=place.score,
                source=place.source,
                reasons=reason if place.source not in ("popular", "fresh") else [],
            )
            for rank, (place, reason) in enumerate(zip(row, said, strict=True), start=1)
        ]
        for row, said in zip(lists, why, strict=True)
    ]
