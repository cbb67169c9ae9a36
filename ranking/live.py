"""The trends as lists read them: popularity and what follows what, by rows of the catalogue.

Fed with the records of rec.trends (docs/trends.md), at most two seconds behind the events.

Shapes:  N = rows of the catalogue,  P = source partitions,  C = cells of a batch of records
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from encoders.law import hash64
from ranking.catalogue import Catalogue
from ranking.follows import Follows
from ranking.trend_config import TrendConfig
from schemas import TrendTable

Floats = NDArray[np.float32]


@dataclass(slots=True, eq=False)
class Popular:
    """Decayed counts of one half-life, a row for each source partition, kept by forward decay."""

    half_life_ms: float
    ref_ms: int = -1
    count_PN: NDArray[np.float64] = field(default_factory=lambda: np.zeros((1, 64)))

    def put(self, partition: int, row: int, value: float, at_ms: int) -> None:
        """Set an item's count, as it is at `at_ms`."""
        self.reach(partition, row, at_ms=at_ms)
        age = (at_ms - self.ref_ms) / self.half_life_ms
        self.count_PN[partition, row] = value * 2.0 ** max(age, -1_000.0)

    def reach(self, partition: int, row: int, *, at_ms: int) -> None:
        """Room for this row, and a reference that this time is not far from."""
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
        what is known."""
        held = self.count_PN[:, :rows].sum(axis=0)
        out = np.zeros(rows, np.float32)
        age = max(0.0, (as_of_ms - self.ref_ms) / self.half_life_ms)
        out[: len(held)] = held * 2.0 ** -min(age, 1_000.0)
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
        """Take records in, in their order."""
        cells: dict[str, list[tuple[int, int, int, float, int]]] = defaultdict(list)
        row_of, entries = self._rows(records, catalogue), self.config.entries
        for record in records:
            self.newest_ms = max(self.newest_ms, record.at_ms)
            at_ms, table = record.at_ms, record.name
            alone = table.startswith("rows/")
            named, parts = table, table.split("/", 3)
            for row, value in record.rows:
                key = row
                if alone:
                    table, _, key = row.partition("\n")
                    if table != named:
                        named, parts = table, table.split("/", 3)
                label = parts[1]
                if parts[0] == "follows" and label in self.follows:
                    owner = int(parts[3]) if label in entries else row_of[parts[3]]
                    cells[label].append((owner, row_of[key], int(parts[2]), value, at_ms))
                elif parts[0] == "popular" and label in self.popular:
                    self.popular[label].put(int(parts[2]), row_of[key], value, at_ms)
        for label, rows in cells.items():
            owner_C, next_C, partition_C, value_C, at_ms_C = zip(*rows, strict=True)
            self.follows[label].put(
                np.array(owner_C, np.int64),
                np.array(next_C, np.int64),
                np.array(partition_C, np.int64),
                np.array(value_C, np.float64),
                np.array(at_ms_C, np.int64),
            )

    def _rows(self, records: Sequence[TrendTable], catalogue: Catalogue) -> dict[str, int]:
        """Rows of all item ids in these records, by what is remembered."""
        known = self.row_of
        names = set()
        for record in records:
            alone = record.name.startswith("rows/")
            for row, _ in record.rows:
                table, _, key = row.partition("\n") if alone else (record.name, "", row)
                names.add(key)
                if alone and table.startswith("follows/"):
                    names.add(table.split("/", 3)[3])
            if not alone and record.name.startswith("follows/"):
                names.add(record.name.split("/", 3)[3])
        new = [name for name in names if name not in known]
        known.update(
            zip(new, catalogue.place([hash64(n) for n in new]).tolist(), strict=True)
        )
        return known
