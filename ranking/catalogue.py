"""What lists need to know of items besides their vectors: columns, one row an item."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from ranking.rows import HashRows

_RESCALE = 64.0  # half-lives by which a new event may lead before popularity is rescaled


@dataclass(slots=True, eq=False)
class Catalogue:
    """A row is an item's for as long as the worker lives, withdrawn or not, so that trends and
    models may point at it; some are known by name alone (`name`), for trends or a model speak of
    them, and have hash 0. `popularity` is a decayed count relative to `popular_at_ms`."""

    popular_half_life_ms: float
    row_of: dict[int, int] = field(default_factory=dict)
    rows: HashRows = field(default_factory=HashRows)
    named: HashRows = field(default_factory=HashRows)
    name: NDArray[np.uint64] = field(default_factory=lambda: np.zeros(64, np.uint64))
    item_id: NDArray[np.object_] = field(default_factory=lambda: np.full(64, "", object))
    categories: list[frozenset[str]] = field(default_factory=list)
    in_category: dict[str, set[int]] = field(default_factory=dict)
    hash: NDArray[np.uint64] = field(default_factory=lambda: np.zeros(64, np.uint64))
    available: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(64, np.bool_))
    expires_at_ms: NDArray[np.int64] = field(default_factory=lambda: np.zeros(64, np.int64))
    published_at_ms: NDArray[np.int64] = field(
        default_factory=lambda: np.zeros(64, np.int64)
    )
    popularity: NDArray[np.float64] = field(default_factory=lambda: np.zeros(64))
    popular_at_ms: int = -1
    sketches: dict[str, NDArray[np.float16]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.row_of)

    def put(
        self,
        name: int,
        *,
        item_id: str,
        categories: frozenset[str],
        available: bool,
        expires_at_ms: int,
        published_at_ms: int,
    ) -> None:
        """Add an item, or replace its attributes."""
        row = self.row_of.get(name)
        if row is None:
            row = int(self.place([name])[0])
            self.row_of[name] = row
            self.rows.place(np.array([name], np.uint64), np.array([row]))
        self.hash[row], self.item_id[row] = name, item_id
        self.categorise(name, categories)
        self.available[row] = available
        self.expires_at_ms[row] = expires_at_ms
        self.published_at_ms[row] = published_at_ms

    def categorise(self, name: int, categories: frozenset[str]) -> None:
        """Replace the categories of an item that is here."""
        row = self.row_of[name]
        for category in self.categories[row]:
            self.in_category[category].discard(row)
        for category in categories:
            self.in_category.setdefault(category, set()).add(row)
        self.categories[row] = categories

    def remove(self, name: int) -> None:
        """Withdraw an item; unknown ones are fine."""
        row = self.row_of.pop(name, None)
        if row is None:
            return
        for category in self.categories[row]:
            self.in_category[category].discard(row)
        self.hash[row], self.available[row], self.popularity[row] = 0, False, 0.0
        self.item_id[row], self.categories[row] = "", frozenset()
        for column in self.sketches.values():
            column[row] = 0
        self.rows.place(np.array([name], np.uint64), np.array([-1]))

    def id_of(self, name: int) -> str | None:
        """The item id of a hash, if the item is here."""
        row = self.row_of.get(name)
        return None if row is None else str(self.item_id[row])

    def find(self, hash_E: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Rows of many hashes, in their shape; -1 for items that are not here."""
        return self.rows.find(hash_E.ravel()).reshape(hash_E.shape)

    @property
    def size(self) -> int:
        """Rows in use, those known by name alone among them."""
        return len(self.categories)

    def place(self, names: Sequence[int] | NDArray[np.uint64]) -> NDArray[np.int64]:
        """The row of each of these hashes, whether the item is here or not yet."""
        name_E = np.asarray(names, np.uint64)
        row_E = self.named.find(name_E)
        new_X = np.unique(name_E[row_E < 0])
        if len(new_X):
            first = len(self.categories)
            self.categories += [frozenset()] * len(new_X)
            while len(self.categories) > len(self.hash):
                self._grow()
            row_X = np.arange(first, first + len(new_X))
            self.name[row_X] = new_X
            self.named.place(new_X, row_X)
            row_E = self.named.find(name_E)
        return row_E

    def sketch(self, name: int, sketches: dict[str, NDArray[np.float16]]) -> None:
        """Set the item's sketch of each modality; those not named are emptied."""
        row = self.row_of[name]
        for column in self.sketches.values():
            column[row] = 0
        for modality, vector in sketches.items():
            if modality not in self.sketches:
                self.sketches[modality] = np.zeros(
                    (len(self.hash), len(vector)), np.float16
                )
            self.sketches[modality][row] = vector

    def touch(self, name: int, gain: float, at_ms: int) -> None:
        """An event made the item more popular, in event time. Approximate by nature."""
        row = self.row_of.get(name)
        if row is None or gain <= 0:
            return
        if self.popular_at_ms < 0:
            self.popular_at_ms = at_ms
        age = (at_ms - self.popular_at_ms) / self.popular_half_life_ms
        if age > _RESCALE:
            self.popularity *= 2.0 ** -min(age, 1_000.0)
            self.popular_at_ms, age = at_ms, 0.0
        self.popularity[row] += gain * 2.0 ** max(age, -1_000.0)

    def popular(
        self, limit: int, rows: NDArray[np.int64] | None = None
    ) -> NDArray[np.int64]:
        """Rows of the most popular items (of `rows`), best first; never-touched ones left out."""
        pool = np.flatnonzero(self.popularity > 0) if rows is None else rows
        pool = pool[self.popularity[pool] > 0]
        return _best(pool, self.popularity[pool], self.hash[pool], limit)

    def fresh(
        self, limit: int, rows: NDArray[np.int64] | None = None, *, as_of_ms: int
    ) -> NDArray[np.int64]:
        """Rows of the newest items (of `rows`), newest first; what is published only after
        `as_of_ms` is not new then, and comes last."""
        pool = np.flatnonzero(self.hash) if rows is None else rows
        published_ms = self.published_at_ms[pool]
        newness = np.where(published_ms <= as_of_ms, published_ms, -1)
        return _best(pool, newness, self.hash[pool], limit)

    def rows_in(self, category: str) -> NDArray[np.int64]:
        """Rows of the items that have a category."""
        rows = self.in_category.get(category, set())
        return np.fromiter(rows, np.int64, len(rows))

    def _grow(self) -> None:
        for column in (
            "hash",
            "name",
            "available",
            "expires_at_ms",
            "published_at_ms",
            "popularity",
        ):
            held = getattr(self, column)
            setattr(self, column, np.concatenate([held, np.zeros_like(held)]))
        self.item_id = np.concatenate(
            [self.item_id, np.full(len(self.item_id), "", object)]
        )
        for modality, held in self.sketches.items():
            self.sketches[modality] = np.concatenate([held, np.zeros_like(held)])


def _best(
    rows: NDArray[np.int64],
    value: NDArray[np.float64] | NDArray[np.int64],
    tie: NDArray[np.uint64],
    limit: int,
) -> NDArray[np.int64]:
    """The `limit` rows of highest value, ties by lower hash."""
    if len(rows) > 4 * limit:
        kept = np.argpartition(-value, limit)[: 2 * limit]
        rows, value, tie = rows[kept], value[kept], tie[kept]
    order = np.lexsort((tie, -value))
    return rows[order][:limit]


def mixed(
    first: NDArray[np.int64], second: NDArray[np.int64], *, share: float
) -> list[tuple[int, bool]]:
    """Two ranked lists as one, `share` of it from the second, no row twice; True marks rows
    of the second."""
    a, b = iter(first.tolist()), iter(second.tolist())
    taken: set[int] = set()
    out: list[tuple[int, bool]] = []
    owed = 0.0
    while len(taken) < len(first) + len(second):
        owed += share
        from_second = owed >= 1.0
        owed -= from_second
        row = next(
            islice((r for r in (b if from_second else a) if r not in taken), 1), None
        )
        if row is None:  # that list is at its end: the rest is the other one's
            rest = ((r, not from_second) for r in (a if from_second else b))
            out.extend((r, mark) for r, mark in rest if r not in taken)
            break
        taken.add(row)
        out.append((row, from_second))
    return out
