"""The published tables of one source partition: whole ones within a budget, changed rows at once.

rec.trends is compacted by name, so each whole record stands for itself: a popularity table is
cut into buckets of items, and what follows an item is a table of its own. With many changes a
second, whole tables wait for their turn, and the rows that changed go out alone, in a ring of
records. A table is written whole before the ring comes round to its first row (docs/trends.md).
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
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
Cell = tuple[str, ItemTrend, int]
"""An item that came after another, and where the weights of that begin."""


class TrendTables:
    """What is to be published of the items at hand. A key is a bucket's number, or the item
    that others follow."""

    def __init__(
        self, partition: int, items: Mapping[str, ItemTrend], config: TrendConfig
    ) -> None:
        self._partition, self._items, self._config = partition, items, config
        self._members: list[dict[str, None]] = [{} for _ in range(config.buckets)]
        self._followers: dict[str, list[str]] = {}
        self._ragged = set[str]()
        """those of whose followers some are no more, or twice there"""
        self._waiting: dict[Key, int] = {}
        self._counted: dict[int, dict[str, None]] = {}
        """by bucket: items whose counts changed"""
        self._changed: dict[str, list[str]] = {}
        """by item: those that it followed anew"""
        self._slot = 0
        self._newest_ms = 0
        variants = list(enumerate(config.variants))
        self._entries = [(n, v) for n, v in variants if v.first]
        self._pairs = [(n, v) for n, v in variants if not v.first]
        self._width = len(variants)
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
            self.follow(name, item.before, item.before)
        self._counted.clear()
        self._changed.clear()

    def seen(self, at_ms: int) -> None:
        """An event was of this time: values are decayed to the newest."""
        self._newest_ms = max(self._newest_ms, at_ms)

    def touch(self, item_id: str) -> None:
        """An item's counts changed."""
        bucket = item_hash(item_id) % self._config.buckets
        self._members[bucket][item_id] = None
        self._waiting.setdefault(bucket, self._slot)
        self._counted.setdefault(bucket, {})[item_id] = None

    def follow(self, item_id: str, names: Iterable[str], new: Iterable[str]) -> None:
        """An item came after others, after some of them for the first time."""
        followers, waiting, slot = self._followers, self._waiting, self._slot
        for name in new:
            rows = followers.get(name)
            if rows is None:
                followers[name] = [item_id]
            else:
                rows.append(item_id)
        for name in names:
            if name not in waiting:
                waiting[name] = slot
        self._changed.setdefault(item_id, []).extend(names)

    def forget(self, before: str) -> None:
        """That some items came after another is no longer known."""
        self._ragged.add(before)
        self._waiting.setdefault(before, self._slot)

    def faded(self, item: ItemTrend) -> bool:
        """Whether an item's last event is so long ago that nothing which was ever told of it is
        worth anything: counts, windows, pairs."""
        return self._newest_ms - item.newest_ms >= self._told_ms

    def drop(self, item_id: str, item: ItemTrend) -> None:
        """An item that has faded is let go; what readers have of it fades there as well."""
        bucket = item_hash(item_id) % self._config.buckets
        self._members[bucket].pop(item_id, None)
        self._counted.get(bucket, {}).pop(item_id, None)
        self._changed.pop(item_id, None)
        for before in item.before:
            rows = self._followers[before]
            rows.remove(item_id)
            if not rows:
                del self._followers[before]

    def waiting(self) -> bool:
        """Whether anything is to be published."""
        return bool(self._waiting)

    def drain(self) -> list[TrendTable]:
        """Whole tables, those that wait longest first, as many as the budget takes and those
        that the ring is about to leave behind; then the changed rows of the others."""
        out, written = list[TrendTable](), set[Key]()
        room, overdue = self._config.publish_rows, self._slot - self._config.slots * 3 // 4
        while self._waiting:
            key, since = next(iter(self._waiting.items()))
            if room <= 0 and since > overdue:
                break
            whole = list(self._bucket(key) if isinstance(key, int) else self._follows(key))
            room -= sum(RECORD + len(table.rows) for table in whole)
            out += whole
            del self._waiting[key]
            written.add(key)
        out += self._alone(written)
        self._counted.clear()
        self._changed.clear()
        return out

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
        cells = list[Cell]()
        for follower in self._followed(before):
            item = self._items[follower]
            cells.append((follower, item, item.before[before] * self._width))
        for n, variant in self._variants(before):
            name = f"follows/{variant.name}/{self._partition}/{before.lstrip(ENTRY)}"
            rows = self._weights(n, cells)
            if len(rows) > self._config.rows:
                rows = nlargest(self._config.rows, rows, key=itemgetter(1))
            if rows and len(name.encode()) <= MAX_NAME:
                yield self._table(name, rows)

    def _followed(self, before: str) -> list[str]:
        """The items that came after another."""
        rows = self._followers.get(before, [])
        if before in self._ragged:
            self._ragged.discard(before)
            rows = [
                name
                for name in dict.fromkeys(rows)
                if (item := self._items.get(name)) and before in item.before
            ]
            self._followers[before] = rows
            if not rows:
                del self._followers[before]
        return rows

    def _alone(self, written: Collection[Key]) -> Iterator[TrendTable]:
        """The rows that changed, but those of tables that were just written: each named by its
        table and its key with a line break between."""
        rows: Rows = []
        size = 0
        for part in self._parts(written):
            rows += part
            size += sum([len(row[0]) for row in part]) + 12 * len(part)
            if size > MAX_BYTES // 2:
                yield self._ring(rows)
                rows, size = [], 0
        if rows:
            yield self._ring(rows)

    def _parts(self, written: Collection[Key]) -> Iterator[Rows]:
        """Changed rows, some hundreds at a time."""
        for bucket, changed in self._counted.items():
            if bucket not in written:
                names = list(changed)
                for at in range(0, len(names), PART):
                    yield self._counts(names[at : at + PART])
        for before, cells in self._steps(written).items():
            for at in range(0, len(cells), PART):
                rows: Rows = []
                for n, variant in self._variants(before):
                    owner = before.lstrip(ENTRY)
                    table = f"follows/{variant.name}/{self._partition}/{owner}\n"
                    rows += self._weights(n, cells[at : at + PART], table)
                yield rows

    def _counts(self, names: Sequence[str]) -> Rows:
        rows: Rows = []
        for n, half_s in enumerate(self._config.half_lives_s):
            table = f"popular/{half_s}/{self._partition}\n"
            rows += [(table + name, self._popular(name, n)) for name in names]
        return rows

    def _steps(self, written: Collection[Key]) -> dict[str, list[Cell]]:
        """By the item that came before: those that followed it anew. Readers take in the rows
        of a table at once."""
        out, width = dict[str, list[Cell]](), self._width
        for item_id, changed in self._changed.items():
            item = self._items[item_id]
            for name in dict.fromkeys(changed):
                if name not in written and (row := item.before.get(name)) is not None:
                    cells = out.get(name)
                    if cells is None:
                        cells = out[name] = []
                    cells.append((item_id, item, row * width))
        return out

    def _weights(self, n: int, cells: Iterable[Cell], table: str = "") -> Rows:
        """Rows of the n-th variant, decayed to the newest time; those that are not next to 0."""
        decay = self._decay(n)
        return [
            (table + name, weight)
            for name, item, place in cells
            if (weight := item.weights[place + n] * decay[item.base_ms]) > LEAST
        ]

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

    def _decay(self, n: int) -> "Decay":
        """What weights of the n-th variant are worth at the newest time."""
        decay = self._decays[n]
        if decay.at_ms != self._newest_ms:
            decay = self._decays[n] = Decay(decay.half_ms, self._newest_ms)
        return decay


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
