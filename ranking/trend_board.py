"""The reader's side of the trends: tables of all partitions taken in, summed when asked.

A row is taken where it is newer than what is known, so that the order of whole tables and of
rows that came alone does not matter, nor that a record comes again.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import exp2

from schemas import TrendTable

Values = dict[str, tuple[float, int]]
"""By key: a value and the time in ms that it is decayed to."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a table, wherever it stood. `table` is "popular", "follows" or "window";
    `label` the half-life or the width in s, or the variant; `owner` the item that is followed,
    the start of the window in ms, or empty."""

    table: str
    label: str
    partition: int
    owner: str
    key: str
    value: float


def rows_of(record: TrendTable) -> Iterator[Row]:
    """The rows of a record of rec.trends, whole table or rows alone."""
    if record.name.startswith("rows/"):
        for key, value in record.rows:
            name, _, row = key.partition("\n")
            yield _row(name, record.at_ms, row, value)
        return
    for key, value in record.rows:
        yield _row(record.name, record.at_ms, key, value)


def _row(name: str, at_ms: int, key: str, value: float) -> Row:
    table, label, number, *rest = name.split("/", 3)
    owner = {"follows": "".join(rest), "window": str(at_ms)}.get(table, "")
    return Row(table, label, int(number), owner, key, value)


class TrendBoard:
    """All tables of all source partitions."""

    def __init__(self) -> None:
        self._popular: dict[tuple[str, int], Values] = defaultdict(dict)
        self._follows: dict[tuple[str, str], dict[int, Values]] = defaultdict(
            lambda: defaultdict(dict)
        )
        self._windows: dict[tuple[str, int], dict[int, dict[str, float]]] = defaultdict(
            lambda: defaultdict(dict)
        )
        self.newest_ms = 0

    def take(self, record: TrendTable) -> None:
        """Take a record in. (One row at a time in Python: about a microsecond each.)"""
        self.newest_ms = max(self.newest_ms, record.at_ms)
        for row in rows_of(record):
            if row.table == "popular":
                _newer(self._popular[row.label, row.partition], row, record.at_ms)
            elif row.table == "follows":
                of = self._follows[row.label, row.owner]
                _newer(of[row.partition], row, record.at_ms)
            elif row.table == "window":
                kept = self._windows[row.label, row.partition]
                kept[record.at_ms][row.key] = row.value
                for start in sorted(kept)[:-2]:
                    del kept[start]

    def popular(self, half_life_s: int, *, at_ms: int) -> dict[str, float]:
        """Decayed counts by item, all partitions together, as of a time."""
        tables = [v for (label, _), v in self._popular.items() if label == str(half_life_s)]
        return _summed(tables, at_ms=at_ms, half_life_ms=1000.0 * half_life_s)

    def follows(
        self, variant: str, item_id: str, *, at_ms: int, half_life_ms: float
    ) -> dict[str, float]:
        """Decayed weights by the item that came next. `half_life_ms`: the variant's."""
        of = self._follows.get((variant, item_id), {})
        return _summed(of.values(), at_ms=at_ms, half_life_ms=half_life_ms)

    def window(self, width_s: int, *, start_ms: int) -> dict[str, float]:
        """Counts by item in the tumbling window that begins then; only the newest two are kept."""
        total: dict[str, float] = defaultdict(float)
        for (label, _), kept in self._windows.items():
            if label == str(width_s):
                for name, count in kept.get(start_ms, {}).items():
                    total[name] += count
        return dict(total)


def by_category(
    popular: Mapping[str, float], categories: Mapping[str, Iterable[str]]
) -> dict[str, float]:
    """Popularity of categories: the sum over their items, an item counting in each of its own.
    Categories are the catalogue's: events do not name them."""
    total: dict[str, float] = defaultdict(float)
    for item_id, value in popular.items():
        for category in categories.get(item_id, ()):
            total[category] += value
    return dict(total)


def _newer(values: Values, row: Row, at_ms: int) -> None:
    known = values.get(row.key)
    if known is None or known[1] <= at_ms:
        values[row.key] = (row.value, at_ms)


def _summed(
    tables: Iterable[Values], *, at_ms: int, half_life_ms: float
) -> dict[str, float]:
    total: dict[str, float] = defaultdict(float)
    for values in tables:
        for name, (value, then_ms) in values.items():
            total[name] += value * exp2(min(0, then_ms - at_ms) / half_life_ms)
    return dict(total)
