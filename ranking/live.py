"""The trends as lists read them: popularity and what follows what, by rows of the catalogue.

Fed with the records of rec.trends (docs/trends.md), at most two seconds behind the events.

Shapes:  N = rows of the catalogue,  P = source partitions,  C = cells of a batch of records
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from encoders.law import hash64
from ranking.catalogue import Catalogue
from ranking.follows import Follows
from ranking.trend_config import TrendConfig
from schemas import TrendTable

Floats = NDArray[np.float32]
PARTITIONS = 4096  # of a topic, at most
ENTRIES = 50  # touches by which a variant may go, at most (trend_config.py)


@dataclass(slots=True, eq=False)
class Popular:
    """Decayed counts of one half-life, a row for each source partition, kept by forward decay."""

    half_life_ms: float
    ref_ms: int = -1
    newest_ms: int = -1
    count_PN: NDArray[np.float64] = field(default_factory=lambda: np.zeros((1, 64)))

    def put(self, partition: int, row: int, value: float, at_ms: int) -> None:
        """Set an item's count, as it is at `at_ms`."""
        self.reach(partition, row, at_ms=at_ms)
        age = (at_ms - self.ref_ms) / self.half_life_ms
        self.count_PN[partition, row] = value * 2.0 ** max(age, -1_000.0)

    def reach(self, partition: int, row: int, *, at_ms: int) -> None:
        """Room for this row, and a reference that this time is not far from."""
        self.newest_ms = max(self.newest_ms, at_ms)
        if self.ref_ms < 0:
            self.ref_ms = at_ms
        ahead = (at_ms - self.ref_ms) / self.half_life_ms
        if ahead > 64:
            self.count_PN *= 2.0 ** -min(ahead, 1_000.0)
            self.ref_ms = at_ms
        more_p = partition + 1 - len(self.count_PN)
        more_n = row + 1 - self.count_PN.shape[1]
        if more_p > 0 or more_n > 0:
            grown = max(more_n, self.count_PN.shape[1] // 2) if more_n > 0 else 0
            self.count_PN = np.pad(self.count_PN, ((0, max(more_p, 0)), (0, grown)))

    def read(self, rows: int, *, as_of_ms: int) -> Floats:
        """N counts, all partitions together, decayed to a time; a replay of old events is told
        what is known as of the newest."""
        held = self.count_PN[:, :rows].sum(axis=0)
        out = np.zeros(rows, np.float32)
        lead_ms = max(as_of_ms, self.newest_ms) - self.ref_ms
        out[: len(held)] = held * 2.0 ** -min(lead_ms / self.half_life_ms, 1_000.0)
        return out


@dataclass(slots=True, eq=False)
class Live:
    """All tables. `entry` variants are read by the number of a person's touches, others by
    the items that were touched."""

    config: TrendConfig
    popular: dict[str, Popular] = field(init=False)
    follows: dict[str, Follows] = field(init=False)
    newest_ms: int = -1
    row_of: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.popular = {str(s): Popular(1000.0 * s) for s in self.config.half_lives_s}
        self.follows = {
            v.name: Follows(v.half_life_ms, width=self.config.rows)
            for v in self.config.variants
        }

    @property
    def ready(self) -> bool:
        """Whether anything was heard of trends."""
        return self.newest_ms >= 0

    def take(self, records: Sequence[TrendTable], catalogue: Catalogue) -> None:
        """Take records in, in their order. Windows, and what is of variants and half-lives
        that are not ours, are passed over."""
        counts: list[tuple[_Table, str, float, int]] = []
        cells: dict[str, _Cells] = defaultdict(_Cells)
        names: set[str] = set()
        for record in records:
            at_ms = record.at_ms
            self.newest_ms = max(self.newest_ms, at_ms)
            for table, rows in _tables(record):
                if table.kind == "follows" and self._follows(table):
                    cells[table.label].put(table, rows, at_ms)
                elif table.kind == "popular" and table.label in self.popular:
                    counts += [(table, key, value, at_ms) for key, value in rows]
                    names.update([key for key, _ in rows])
        for label, told in cells.items():
            names.update(told.key, () if label in self.config.entries else told.owner)
        row_of = self._named(names, catalogue)
        for table, key, value, at_ms in counts:
            self.popular[table.label].put(table.partition, row_of[key], value, at_ms)
        for label, told in cells.items():
            number = int if label in self.config.entries else row_of.__getitem__
            self.follows[label].put(
                np.array([number(name) for name in told.owner], np.int64),
                np.array([row_of[name] for name in told.key], np.int64),
                np.array(told.partition, np.int64),
                np.array(told.value, np.float64),
                np.array(told.at_ms, np.int64),
            )

    def _follows(self, table: "_Table") -> bool:
        """Whether a table is of one of our variants and names what is followed."""
        owner = table.owner
        if table.label in self.config.entries:
            return owner.isdecimal() and int(owner) < ENTRIES
        return table.label in self.follows and bool(owner)

    def _named(self, names: Iterable[str], catalogue: Catalogue) -> dict[str, int]:
        """Rows of item ids, remembered."""
        known = self.row_of
        new = [name for name in names if name not in known]
        row_X = catalogue.place([hash64(name) for name in new])
        known.update(zip(new, row_X.tolist(), strict=True))
        return known


class _Table(NamedTuple):
    """A table by its name (docs/trends.md). `owner`: the item, or the number of a touch, that
    is followed."""

    kind: str
    label: str
    partition: int
    owner: str

    @classmethod
    def of(cls, name: str) -> "_Table":
        kind, label, number, owner = (*name.split("/", 3), "", "", "")[:4]
        if not (number.isdecimal() and int(number) < PARTITIONS):
            return cls("", "", 0, "")
        return cls(kind, label, int(number), owner)


@dataclass(slots=True, eq=False)
class _Cells:
    """Cells of one variant, as columns."""

    owner: list[str] = field(default_factory=list)
    key: list[str] = field(default_factory=list)
    partition: list[int] = field(default_factory=list)
    value: list[float] = field(default_factory=list)
    at_ms: list[int] = field(default_factory=list)

    def put(self, table: _Table, rows: Sequence[tuple[str, float]], at_ms: int) -> None:
        """Rows of a table, as of a time."""
        self.owner += [table.owner] * len(rows)
        self.key += [key for key, _ in rows]
        self.partition += [table.partition] * len(rows)
        self.value += [value for _, value in rows]
        self.at_ms += [at_ms] * len(rows)


def _tables(record: TrendTable) -> Iterator[tuple[_Table, Sequence[tuple[str, float]]]]:
    """A whole table, or rows that came alone, by their tables."""
    if not record.name.startswith("rows/"):
        yield _Table.of(record.name), record.rows
        return
    alone = [(*row.partition("\n"), value) for row, value in record.rows]
    for name, rows in groupby(alone, key=itemgetter(0)):
        yield _Table.of(name), [(key, value) for _, _, key, value in rows]
