"""Candidates into lists: the interest's neighbours first, then what is popular and fresh.

Shapes:  U = lists,  K = places of a list,  D = vector width

Filters are strict and the same for every source: no item that the user has seen, that is
withdrawn, unavailable or expired at the list's event time, or not of the asked category.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ranking.catalogue import Catalogue, mixed
from schemas import Reason, SlateItem

Columns = tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.object_]]
"""Rows of the catalogue, scores and sources of lists: U x K each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """One list that is asked for. `exclude`: hashes that must not be in it."""

    as_of_ms: int
    category: str
    exclude: NDArray[np.uint64]
    source: str  # what the searched candidates are: "interest" or "query"


@dataclass(frozen=True, slots=True)
class Places:
    """The places of all lists as columns; a list ends at its first hash 0."""

    hash_UK: NDArray[np.uint64]
    score_UK: NDArray[np.float64]
    source_UK: NDArray[np.object_]

    @property
    def counts(self) -> NDArray[np.int64]:
        """How many places each list has."""
        count_U: NDArray[np.int64] = (self.hash_UK != 0).sum(axis=1)
        return count_U


def places(
    wanted: Sequence[Wanted],
    *,
    hash_UK: NDArray[np.uint64],
    score_UK: NDArray[np.floating[Any]],
    catalogue: Catalogue,
    fresh_share: float,
    source_UK: NDArray[np.object_] | None = None,
) -> Places:
    """Each list's places: what was found (best first, then hashes 0), filled up with what is
    popular and fresh. `source_UK` where a list's own source is not that of all its places."""
    if source_UK is None:
        source_U1 = np.array([[row.source] for row in wanted], object).reshape(-1, 1)
        source_UK = np.broadcast_to(source_U1, hash_UK.shape)
    out = Places(hash_UK.copy(), score_UK.astype(np.float64).round(6), source_UK.copy())
    newest_ms = max((row.as_of_ms for row in wanted), default=0)
    filler = Filler(catalogue, share=fresh_share, as_of_ms=newest_ms)
    k = hash_UK.shape[1]
    for u in np.flatnonzero(out.counts < k).tolist():
        count = int((hash_UK[u] != 0).sum())
        chosen = filler.fill(wanted[u], hash_UK[u, :count].tolist(), room=k - count)
        below = out.score_UK[u, count - 1] if count else 1.0
        for at, (name, fresh) in enumerate(chosen):
            out.hash_UK[u, count + at] = name
            out.score_UK[u, count + at] = round(below - 0.001 * (at + 1), 6)
            out.source_UK[u, count + at] = "fresh" if fresh else "popular"
    return out


@dataclass(slots=True, eq=False)
class Filler:
    """What is popular and what is fresh, interleaved; ranked once a batch and category, and
    only as deep as lists need it."""

    catalogue: Catalogue
    share: float
    as_of_ms: int  # of the newest list: what is published later comes last
    ranked: dict[str, tuple[int, list[tuple[int, bool]]]] = field(default_factory=dict)

    def fill(
        self, row: Wanted, found: Sequence[int], *, room: int
    ) -> list[tuple[int, bool]]:
        """At most `room` more items (hash, whether it is fresh): the first that pass the
        list's filters and were not found already."""
        barred = {*found, *row.exclude.tolist()}
        depth = 4 * room + len(barred)
        while True:
            held, ranked = self.ranked.get(row.category, (0, []))
            if held < depth:
                ranked = self._ranked(row.category, depth)
                self.ranked[row.category] = (depth, ranked)
            chosen = self._passing(row, barred, ranked, room)
            if len(chosen) == room or max(held, depth) >= len(self.catalogue):
                return chosen
            depth = len(self.catalogue)  # many are sold out or expired: look at all

    def _ranked(self, category: str, depth: int) -> list[tuple[int, bool]]:
        rows = self.catalogue.rows_in(category) if category else None
        return mixed(
            self.catalogue.popular(depth, rows),
            self.catalogue.fresh(depth, rows, as_of_ms=self.as_of_ms),
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


def slate_items(
    rows: Places, why: Sequence[list[Reason]], catalogue: Catalogue
) -> list[list[SlateItem]]:
    """Places and their reasons (place after place) as they stand on the wire. Scores fall
    along a list; what fills it up has no reasons."""
    users, k = rows.hash_UK.shape
    filled = np.isin(rows.source_UK, ("popular", "fresh", "explore")).ravel()
    made = list(
        map(
            SlateItem,
            catalogue.item_id[catalogue.find(rows.hash_UK)].ravel().tolist(),
            list(range(1, k + 1)) * users,
            rows.score_UK.ravel().tolist(),
            rows.source_UK.ravel().tolist(),
            [[] if at else said for at, said in zip(filled.tolist(), why, strict=True)],
        )
    )
    counts = rows.counts.tolist()
    return [made[u * k : u * k + count] for u, count in enumerate(counts)]


def listed(wanted: Sequence[Wanted], catalogue: Catalogue) -> NDArray[np.bool_]:
    """U x N: available, not expired by then, of the category, not seen."""
    rows = catalogue.size
    here_N = (catalogue.hash[:rows] != 0) & catalogue.available[:rows]
    as_of_U1 = np.array([[w.as_of_ms] for w in wanted], np.int64)
    listed_UN: NDArray[np.bool_] = here_N & (catalogue.expires_at_ms[:rows] > as_of_U1)
    barred = [w.exclude for w in wanted]
    row_E = catalogue.named.find(np.concatenate(barred).astype(np.uint64))
    list_E = np.repeat(np.arange(len(wanted)), [len(names) for names in barred])
    listed_UN[list_E[row_E >= 0], row_E[row_E >= 0]] = False
    for u, one in enumerate(wanted):
        if one.category:
            of_N = np.zeros(rows, np.bool_)
            of_N[catalogue.rows_in(one.category)] = True
            listed_UN[u] &= of_N
    return listed_UN


def placed(
    parts: Sequence[Columns],
    hash_N: NDArray[np.uint64],
    *,
    k: int,
) -> Places:
    """Lists by rows of the catalogue (-1: no more), part after part, as places."""
    row_UK, score_UK, source_UK = (np.concatenate(c) for c in zip(*parts, strict=True))
    row_UK, score_UK, source_UK = _padded(row_UK, score_UK, source_UK, k=k)
    hash_UK = np.where(row_UK >= 0, hash_N[np.maximum(row_UK, 0)], 0)
    source_UK[row_UK < 0] = "popular"
    return Places(
        hash_UK.astype(np.uint64), score_UK.astype(np.float64).round(6), source_UK
    )


def _padded(
    row_UK: NDArray[np.int64],
    score_UK: NDArray[np.float32],
    source_UK: NDArray[np.object_],
    *,
    k: int,
) -> Columns:
    """K places, where there are fewer candidates than that."""
    if row_UK.shape[1] == k:
        return row_UK, score_UK, source_UK
    pad = ((0, 0), (0, k - row_UK.shape[1]))
    return (
        np.pad(row_UK, pad, constant_values=-1),
        np.pad(score_UK, pad),
        np.pad(source_UK, pad, constant_values="popular"),
    )
