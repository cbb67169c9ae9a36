"""The reader's side of the trends: tables of all partitions taken in, summed when asked.

A row is taken where it is newer than what is known, so that the order of whole tables and of
rows that came alone does not matter, nor that a record comes again.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from math import exp2

from schemas import TrendTable

Values = dict[str, tuple[float, int]]
"""By key: a value and the time in ms that it is decayed to."""


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
        self._tables: dict[str, Values] = {}
        self.newest_ms = 0

    def take(self, record: TrendTable) -> None:
        """Take a record in, a whole table or rows that came alone. (One row at a time in
        Python: one or two microseconds each.)"""
        at_ms = record.at_ms
        self.newest_ms = max(self.newest_ms, at_ms)
        if record.name.startswith("window/"):
            _, label, number, *_ = record.name.split("/")
            kept = self._windows[label, int(number)]
            kept[at_ms].update(record.rows)
            for start in sorted(kept)[:-2]:
                del kept[start]
        elif record.name.startswith("rows/"):
            for key, value in record.rows:
                table, _, name = key.partition("\n")
                _newer(self._tables.get(table) or self._table(table), name, value, at_ms)
        else:
            values = self._table(record.name)
            for name, value in record.rows:
                _newer(values, name, value, at_ms)

    def _table(self, name: str) -> Values:
        """What is known of a table, by its name; nothing of one that we do not know."""
        found = self._tables.get(name)
        if found is None:
            table, label, number, *owner = name.split("/", 3)
            found = {}
            if table == "popular":
                found = self._popular[label, int(number)]
            elif table == "follows":
                found = self._follows[label, "".join(owner)][int(number)]
            self._tables[name] = found
        return found

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


def _newer(values: Values, name: str, value: float, at_ms: int) -> None:
    known = values.get(name)
    if known is None or known[1] <= at_ms:
        values[name] = (value, at_ms)


def _summed(
    tables: Iterable[Values], *, at_ms: int, half_life_ms: float
) -> dict[str, float]:
    total: dict[str, float] = defaultdict(float)
    for values in tables:
        for name, (value, then_ms) in values.items():
            total[name] += value * exp2(min(0, then_ms - at_ms) / half_life_ms)
    return dict(total)
