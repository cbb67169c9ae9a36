"""Trends of one source partition: what is popular and what follows what, by events alone.

Decayed counts (forward decay: Cormode, Shkapenyuk, Srivastava, Xu 2009) and tumbling windows of
events with a positive weight; sequential co-visitation of items that users touched one after
another. No Kafka, no clock: time is the events' own, so that a replay gives what was.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from sys import intern

from encoders.law import CODES, IMPRESSION, Law
from ranking.trend_config import TrendConfig
from ranking.trend_saved import Parts, items_from, keys, value_of
from ranking.trend_state import (
    ItemTrend,
    Lags,
    Seen,
    TrendEvent,
    UserPast,
    new_item,
    to_bytes,
    user_from,
)
from ranking.trend_tables import TrendTables
from schemas import TrendTable

SWEPT = 500
"""Items that are looked at, at each save, whether they have faded away."""
Saved = Callable[[int], bytes | None]
"""A user's value as it was saved; None for a user that nothing is known of."""
_NONE = Parts()


@dataclass(frozen=True, slots=True)
class Changes:
    """Values that changed since they were last saved, of items whole or what changed of them
    (ranking/trend_saved.py). A user without a past is None, and so is an item that has faded
    away."""

    items: Mapping[str, bytes | None]
    users: Mapping[int, bytes | None]


class Trends:
    """The state of one source partition.

    Items are all at hand; users are loaded when they act and let go once they are saved. Values
    that a replay finds ahead of an event pass over it, and are saved again all the same: what is
    in the local folder may not be in the changelog yet.
    """

    def __init__(
        self,
        partition: int,
        *,
        config: TrendConfig,
        law: Law,
        items: Mapping[str, bytes] | None = None,
        load_user: Saved | None = None,
    ) -> None:
        """`items`: values by item id as they were saved; all tables are then published anew."""
        self._config, self._law, self._load = config, law, load_user
        self._half_ms = [variant.half_life_ms for variant in config.variants]
        self._lags = Lags(config.variants)
        self._past = 2 * max(self._lags.depth, 10)
        kept = items_from(items or {})
        self._items = {name: item for name, (item, _) in kept.items()}
        self._parts = {name: parts for name, (_, parts) in kept.items() if parts.stored}
        self._saving = dict[str, Parts]()
        self._users: dict[int, UserPast] = {}
        self._changed_items: dict[str, list[str]] = {}  # in order, as all rows are
        self._unswept: list[str] = []
        self._changed_users: set[int] = set()
        self._erased: set[int] = set()
        self._tables = TrendTables(partition, self._items, config)

    def apply(self, events: Sequence[TrendEvent]) -> None:
        """Fold events of this partition, in the order of their offsets. Any batching, and any
        replay from a saved point on, gives the same state."""
        for event in events:
            user = self._user(event.user)
            self._changed_users.add(event.user)
            past = user.before(event.offset, self._past)
            new = event.offset > user.offset
            user.offset = max(user.offset, event.offset)
            if event.kind == "erase":
                user.erased += [event.offset] if new else []
            elif event.kind == "undo":
                self._undo(event, past)
            elif event.event not in [seen.event for seen in past]:
                self._interact(event, user if new else None, past)

    def drain(self) -> list[TrendTable]:
        """The tables to publish for what changed since the last drain (docs/trends.md)."""
        return self._tables.drain()

    def changed(self) -> bool:
        """Whether there is anything to publish."""
        return self._tables.waiting()

    def unsaved(self, *, floor: int) -> Changes:
        """The values to save. `floor`: the offset that the next replay begins at or after; what
        only an earlier one could ask for is dropped."""
        users: dict[int, bytes | None] = {}
        self._erased = set()
        for user in self._changed_users:
            past = self._users[user]
            past.trim(floor, self._past)
            users[user] = to_bytes(past) if past.events or past.offset >= floor else None
            if past.erased:
                self._erased.add(user)
        items, self._saving = dict[str, bytes | None](), {}
        for name, changed in self._changed_items.items():
            parts = self._parts.get(name, _NONE)
            key, data, self._saving[name] = value_of(
                name, self._items[name], changed, parts
            )
            items[key] = data
        # gone ones last: half a save then has the time that they have faded by
        return Changes(items | dict.fromkeys(self._swept(floor)), users)

    def saved(self) -> None:
        """What `unsaved` gave is durable, and nothing was applied since. Who was erased stays,
        until no replay can ask for what was before and it is gone from the store as well."""
        self._users = {name: self._users[name] for name in self._erased}
        self._changed_users = set(self._erased)
        for name, parts in self._saving.items():
            if parts.stored:
                self._parts[name] = parts
            if not parts.count:
                self._items[name].moved = False
        self._saving = {}
        self._changed_items.clear()

    def item(self, item_id: str) -> ItemTrend | None:
        """What is known of an item, to look at."""
        return self._items.get(item_id)

    def _swept(self, floor: int) -> list[str]:
        """The keys of items that are worth nothing any more and that no replay can ask for, let go: looked
        for in turn, some at each save."""
        names = self._unswept or list(self._items)
        self._unswept = names[SWEPT:]
        gone = list[str]()
        for name in names[:SWEPT]:
            item = self._items.get(name)
            if item is None or item.offset >= floor or name in self._changed_items:
                continue
            if self._tables.faded(item):
                self._tables.drop(name, item)
                del self._items[name]
                gone += keys(name, self._parts.pop(name, _NONE))
        return gone

    def _user(self, name: int) -> UserPast:
        user = self._users.get(name)
        if user is None:
            data = self._load(name) if self._load else None
            user = self._users[name] = user_from(data) if data else UserPast()
        return user

    def _item(self, event: TrendEvent, item_id: str, at_ms: int) -> ItemTrend | None:
        """The item, if it has not had this event, which is of this time; it is saved again
        anyway. Only what an item keeps moves the time of the tables: a restart has it back."""
        item = self._items.get(item_id)
        if item is None:
            item_id = intern(item_id)
            item = self._items[item_id] = new_item(self._config)
        self._changed_items.setdefault(item_id, [])
        if event.offset <= item.offset:
            return None
        item.offset = event.offset
        item.newest_ms = max(item.newest_ms, at_ms)
        self._tables.seen(at_ms)
        return item

    def _interact(
        self, event: TrendEvent, user: UserPast | None, past: Sequence[Seen]
    ) -> None:
        """An interaction; `user` is None if the user has it already."""
        code = CODES[event.kind]
        visited = bool(self._law.marks_seen(code))
        counted = self._counts(event.kind, event.value)
        if not visited and not counted:
            return
        if user is not None:
            seen = Seen(
                event.item_id, event.at_ms, event.offset, event.event, visited, counted
            )
            user.events.append(seen)
        item = self._item(event, event.item_id, event.at_ms)
        if item is None:
            return
        if counted:
            item.count(event.at_ms, 1, self._config)
            self._tables.touch(event.item_id)
        if visited:
            self._follow(event, item, past)

    def _follow(self, event: TrendEvent, item: ItemTrend, past: Sequence[Seen]) -> None:
        scale = item.rebase(event.at_ms, self._half_ms)
        names, weights = self._lags.predecessors(past, event, scale)
        if len(names) < self._lags.first:
            number, entry = self._lags.entry(past, event, scale)
            names += number
            weights += entry
        if not names:
            return
        new = item.follow(names, weights)
        self._tables.follow(event.item_id, names, new)
        self._changed_items[event.item_id] += names
        for name in item.prune(self._config.keep_rows, self._half_ms):
            self._tables.forget(name)

    def _undo(self, event: TrendEvent, past: Sequence[Seen]) -> None:
        """Take a count back where we know of it. Pairs stay: the person did go that way."""
        found = next((seen for seen in past if seen.event == event.undoes), None)
        if found is not None:
            if found.undone and found.undone < event.offset:
                return
            found.undone = event.offset
            item_id, at_ms, counted = found.item_id, found.at_ms, found.counted
        elif event.item_id:
            item_id, at_ms, counted = event.item_id, event.at_ms, (event.value or 0.0) > 0
        else:
            return
        item = self._item(event, item_id, at_ms) if counted else None
        if item is not None:
            item.count(at_ms, -1, self._config)
            self._tables.touch(item_id)

    def _counts(self, kind: str, value: float | None) -> bool:
        code = CODES[kind]
        return code != IMPRESSION and self._law.weight(code, value) > 0

    def dirty(self) -> bool:
        """Whether there is anything to save."""
        return bool(self._changed_users or self._changed_items)
