"""The published tables of one source partition: whole ones within a budget, changed rows at once.

rec.trends is compacted by name, so each whole record stands for itself: a popularity table is
cut into buckets of items, and what follows an item is a table of its own. With many changes a
second, whole tables wait for their turn, and the rows that changed go out alone, in a ring of
records. A table is written whole before the ring comes round to its first row (docs/trends.md).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from heapq import nlargest
from math import exp2
from operator import itemgetter

from encoders.law import item_hash
from ranking.trend_config import TrendConfig, Variant
from ranking.trend_state import ENTRY, ItemTrend
from schemas import TrendTable

MAX_BYTES = 384 * 1024
"""Of one record; the topic and the client take at least 1 MiB."""
MAX_NAME = 256
PART = 400
"""Changed rows of a table that are sized at once."""
RECORD = 50
"""What a record costs besides its rows, in rows, to write and to read."""
LEAST = 1e-9
"""A decayed count below this is none."""
HALVINGS = 50
"""Half-lives after which a count of a million is none. What a count is worth does not tell what
readers hold: an undo leaves next to nothing, and who was not told has all of it still."""
Key = int | str
Rows = list[tuple[str, float]]


class TrendTables:
    """What is to be published of the items at hand. A key is a bucket's number, or the item
    that others follow."""

    def __init__(
        self, partition: int, items: Mapping[str, ItemTrend], config: TrendConfig
    ) -> None:
        self._partition, self._items, self._config = partition, items, config
        self._members: list[dict[str, None]] = [{} for _ in range(config.buckets)]
        self._followers: dict[str, dict[str, list[float]]] = {}
        self._waiting: dict[Key, int] = {}
        self._changed: dict[Key, set[str]] = {}
        self._slot = 0
        self._newest_ms = 0
        variants = list(enumerate(config.variants))
        self._entries = [(n, v) for n, v in variants if v.first]
        self._pairs = [(n, v) for n, v in variants if not v.first]
        self._decays = [Decay(v.half_life_ms, 0) for v in config.variants]
        lasting = [v.half_life_ms for v in config.variants]
        lasting += [1000.0 * half_s for half_s in config.half_lives_s]
        self._told_ms = max(  # a window is told while it is the newest or the one before
            HALVINGS * max(lasting, default=0.0), 2000 * max(config.windows_s, default=0)
        )
        for name, item in items.items():
            if item.at_ms:  # it was counted at some time
                self.touch(name)
            self.seen(item.newest_ms)
            for before, cell in item.before.items():
                self.follow(before, name, cell)
        self._changed.clear()

    def seen(self, at_ms: int) -> None:
        """An event was of this time: values are decayed to the newest."""
        self._newest_ms = max(self._newest_ms, at_ms)

    def touch(self, item_id: str) -> None:
        """An item's counts changed."""
        bucket = item_hash(item_id) % self._config.buckets
        self._members[bucket][item_id] = None
        self._mark(bucket, item_id)

    def follow(self, before: str, item_id: str, row: list[float]) -> None:
        """An item came after another. `row` is the item's own, which goes on changing."""
        rows = self._followers.get(before)
        if rows is None:
            rows = self._followers[before] = {}
        rows[item_id] = row
        changed = self._changed.get(before)  # as _mark does: the busiest line of all
        if changed is None:
            self._mark(before, item_id)
        else:
            changed.add(item_id)

    def forget(self, before: str, item_id: str) -> None:
        """That an item came after another is no longer known."""
        self._followers.get(before, {}).pop(item_id, None)
        self._waiting.setdefault(before, self._slot)
        self._changed.get(before, set()).discard(item_id)

    def faded(self, item: ItemTrend) -> bool:
        """Whether an item's last event is so long ago that nothing which was ever told of it is
        worth anything: counts, windows, pairs."""
        return self._newest_ms - item.newest_ms >= self._told_ms

    def drop(self, item_id: str) -> None:
        """An item that has faded is let go; what readers have of it fades there as well."""
        bucket = item_hash(item_id) % self._config.buckets
        self._members[bucket].pop(item_id, None)
        self._changed.get(bucket, set()).discard(item_id)
        for before in self._items[item_id].before:
            rows = self._followers.get(before, {})
            rows.pop(item_id, None)
            self._changed.get(before, set()).discard(item_id)
            if not rows:
                self._followers.pop(before, None)

    def waiting(self) -> bool:
        """Whether anything is to be published."""
        return bool(self._waiting)

    def drain(self) -> list[TrendTable]:
        """Whole tables, those that wait longest first, as many as the budget takes and those
        that the ring is about to leave behind; then the changed rows of the others."""
        out: list[TrendTable] = []
        room, overdue = self._config.publish_rows, self._slot - self._config.slots * 3 // 4
        while self._waiting:
            key, since = next(iter(self._waiting.items()))
            if room <= 0 and since > overdue:
                break
            whole = list(self._bucket(key) if isinstance(key, int) else self._follows(key))
            room -= sum(RECORD + len(table.rows) for table in whole)
            out += whole
            del self._waiting[key]
            self._changed.pop(key, None)
        out += self._alone()
        self._changed.clear()
        return out

    def _mark(self, key: Key, row: str) -> None:
        changed = self._changed.get(key)
        if changed is None:
            changed = self._changed[key] = set()
            self._waiting.setdefault(key, self._slot)
        changed.add(row)

    def _bucket(self, bucket: int) -> Iterator[TrendTable]:
        names, label = self._members[bucket], f"{self._partition}/b{bucket:02d}"
        for n, half_s in enumerate(self._config.half_lives_s):
            rows = [(name, self._popular(name, n)) for name in names]
            # left out is what has decayed away with readers too; what was taken back is told
            since_ms = self._newest_ms - 1000 * HALVINGS * half_s
            rows = [r for r in rows if r[1] > LEAST or self._items[r[0]].at_ms > since_ms]
            yield self._table(f"popular/{half_s}/{label}", rows)
        for n, width_s in enumerate(self._config.windows_s):
            width_ms = 1000 * width_s
            now = self._newest_ms // width_ms
            for index in (now, now - 1):
                counts = [
                    (name, _counted(self._items[name].windows[n], index)) for name in names
                ]
                rows = [(name, float(count)) for name, count in counts if count is not None]
                if rows:
                    slot = f"window/{width_s}/{self._partition}/{index % 2}/b{bucket:02d}"
                    yield self._table(slot, rows, at_ms=max(0, index * width_ms))

    def _follows(self, before: str) -> Iterator[TrendTable]:
        cells = self._followers.get(before, {})
        for n, variant in self._variants(before):
            name = f"follows/{variant.name}/{self._partition}/{before.lstrip(ENTRY)}"
            rows = self._weights(n, cells, cells)
            if len(rows) > self._config.rows:
                rows = nlargest(self._config.rows, rows, key=itemgetter(1))
            if rows and len(name.encode()) <= MAX_NAME:
                yield self._table(name, rows)

    def _alone(self) -> Iterator[TrendTable]:
        """The changed rows, each named by its table and its key with a line break between."""
        rows: Rows = []
        size = 0
        for key, changed in self._changed.items():
            names = list(changed)
            for at in range(0, len(names), PART):
                part = self._changed_rows(key, names[at : at + PART])
                rows += part
                size += sum([len(row[0]) for row in part]) + 12 * len(part)
                if size > MAX_BYTES // 2:
                    yield self._ring(rows)
                    rows, size = [], 0
        if rows:
            yield self._ring(rows)

    def _changed_rows(self, key: Key, changed: Sequence[str]) -> Rows:
        rows: Rows = []
        if isinstance(key, int):
            for n, half_s in enumerate(self._config.half_lives_s):
                table = f"popular/{half_s}/{self._partition}\n"
                rows += [(table + name, self._popular(name, n)) for name in changed]
            return rows
        cells = self._followers.get(key, {})
        for n, variant in self._variants(key):
            table = f"follows/{variant.name}/{self._partition}/{key.lstrip(ENTRY)}\n"
            rows += [
                (table + name, weight) for name, weight in self._weights(n, changed, cells)
            ]
        return rows

    def _variants(self, key: str) -> list[tuple[int, Variant]]:
        """Those that have tables of this key: a touch's number or an item."""
        return self._entries if key.startswith(ENTRY) else self._pairs

    def _ring(self, rows: Rows) -> TrendTable:
        name = f"rows/{self._partition}/{self._slot % self._config.slots}"
        self._slot += 1
        return TrendTable(name=name, at_ms=self._newest_ms, rows=rows)

    def _table(self, name: str, rows: Rows, *, at_ms: int | None = None) -> TrendTable:
        size = sum(len(key.encode()) + 12 for key, _ in rows)
        if size > MAX_BYTES:  # the heaviest, as far as a record goes
            rows = nlargest(len(rows) * MAX_BYTES // size, rows, key=itemgetter(1))
        return TrendTable(
            name=name, at_ms=self._newest_ms if at_ms is None else at_ms, rows=rows
        )

    def _popular(self, name: str, n: int) -> float:
        item = self._items[name]
        age_ms = self._newest_ms - item.at_ms
        decay = exp2(-age_ms / (1000 * self._config.half_lives_s[n]))
        return max(0.0, item.popular[n] * decay)

    def _weights(
        self, n: int, names: Iterable[str], cells: Mapping[str, list[float]]
    ) -> Rows:
        """Rows of the n-th variant, decayed to the newest time; those that are not next to 0."""
        decay = self._decays[n]
        if decay.at_ms != self._newest_ms:
            decay = self._decays[n] = Decay(decay.half_ms, self._newest_ms)
        n += 1
        return [
            (name, weight)
            for name in names
            if (weight := (cell := cells[name])[n] * decay[cell[0]]) > LEAST
        ]


class Decay(dict[float, float]):
    """What a weight is worth at a time, by the base that it is kept from: a few for all rows."""

    def __init__(self, half_ms: float, at_ms: int) -> None:
        super().__init__()
        self.half_ms, self.at_ms = half_ms, at_ms

    def __missing__(self, base_ms: float) -> float:
        value = self[base_ms] = exp2((base_ms - self.at_ms) / self.half_ms)
        return value


def _counted(window: list[int], index: int) -> int | None:
    newest, current, last = window
    if index == newest:
        return current
    return last if index == newest - 1 else None
