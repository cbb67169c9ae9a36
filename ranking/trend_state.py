"""The two kinds of value that trends are kept in, and what one event does to each.

Each carries the offset of the last event applied to it, so that a replay, which may find some
values ahead of others, passes over what each has had: applied at least once, counted once.
"""

from collections.abc import Iterator, Sequence
from math import exp2, log2
from typing import NamedTuple

import msgspec
from msgspec import Struct

from ranking.trend_config import TrendConfig, Variant


class TrendEvent(NamedTuple):
    """What trends need of an event. `kind`: an interaction's, or "undo" or "erase". `user`,
    `event` and `undoes` are 8-byte hashes of ids. An undo has the item and the time of its `of`
    where the producer gave one (else an empty item_id), and as value that event's weight."""

    user: int
    item_id: str
    kind: str
    value: float | None
    at_ms: int
    offset: int
    event: int
    undoes: int = 0


class Seen(Struct, array_like=True):
    """An event in a user's recent past. `visited`: it marks its item as seen; `counted`: it
    counts for popularity; `undone`: the offset of the undo that took it back, or 0."""

    item_id: str
    at_ms: int
    offset: int
    event: int
    visited: bool
    counted: bool
    undone: int = 0


class UserPast(Struct, array_like=True):
    """What a user touched lately, oldest first. `erased`: offsets at which it was forgotten."""

    offset: int = -1
    erased: list[int] = []
    events: list[Seen] = []

    def before(self, offset: int, limit: int) -> list[Seen]:
        """The newest `limit` events before an offset, as they were when it was first read."""
        if offset > self.offset and not self.erased:
            return self.events[-limit:]
        start = max((at for at in self.erased if at < offset), default=-1)
        return [seen for seen in self.events if start < seen.offset < offset][-limit:]

    def trim(self, floor: int, limit: int) -> None:
        """Drop what no replay can ask for: none begins before `floor`."""
        gone = max((at for at in self.erased if at < floor), default=-1)
        old = [seen for seen in self.events if gone < seen.offset < floor][-limit:]
        self.events = old + [seen for seen in self.events if seen.offset >= floor]
        self.erased = [at for at in self.erased if at >= floor]


class ItemTrend(Struct, array_like=True):
    """How popular an item is and what came before it.

    `popular`: counts decayed to `at_ms`, one a half-life. `windows`: for each width the index of
    its newest window, the count in it and in the window before. `before`: by the item that came
    before, [time in ms, a weight for each variant, decayed to that time].
    """

    popular: list[float]
    windows: list[list[int]]
    offset: int = -1
    at_ms: int = 0
    before: dict[str, list[float]] = {}

    def count(self, at_ms: int, amount: int, config: TrendConfig) -> None:
        """Add one event (or take one back), at its own time: the order does not matter but for
        a window that is older than the last, which is gone."""
        ahead_ms, late_ms = max(0, at_ms - self.at_ms), max(0, self.at_ms - at_ms)
        self.popular = [
            value * exp2(-ahead_ms / (1000 * half_s))
            + amount * exp2(-late_ms / (1000 * half_s))
            for value, half_s in zip(self.popular, config.half_lives_s, strict=True)
        ]
        self.at_ms += ahead_ms
        for window, width_s in zip(self.windows, config.windows_s, strict=True):
            _count_in(window, at_ms // (1000 * width_s), amount)

    def follow(
        self, item_id: str, at_ms: int, weights: Sequence[float], half_ms: Sequence[float]
    ) -> list[float]:
        """This item came after another, at this time, by so much in each variant; the row,
        which stays the same list for as long as it is kept."""
        cell = self.before.get(item_id)
        if cell is None:
            cell = self.before[item_id] = [float(at_ms), *weights]
            return cell
        ahead_ms = at_ms - cell[0]
        if ahead_ms > 0:
            cell[0] += ahead_ms
            for n, weight in enumerate(weights):
                cell[n + 1] = cell[n + 1] * exp2(-ahead_ms / half_ms[n]) + weight
        else:
            for n, weight in enumerate(weights):
                cell[n + 1] += weight * exp2(ahead_ms / half_ms[n])
        return cell

    def prune(self, keep: int, half_ms: float) -> list[str]:
        """Leave the heaviest, seen from one time, once there are a quarter more than `keep`;
        who had to go. `half_ms`: the half-life that this is judged by."""
        if len(self.before) <= keep + keep // 4:
            return []
        heaviest = sorted(
            self.before.items(),
            key=lambda row: log2(max(sum(row[1][1:]), 1e-300)) + row[1][0] / half_ms,
            reverse=True,
        )
        self.before = dict(heaviest[:keep])
        return [name for name, _ in heaviest[keep:]]


def _count_in(window: list[int], index: int, amount: int) -> None:
    newest, current, last = window
    if index == newest:
        window[1] = current + amount
    elif index == newest - 1:
        window[2] = last + amount
    elif index > newest:
        window[:] = [index, amount, current if index == newest + 1 else 0]


def new_item(config: TrendConfig) -> ItemTrend:
    """An item that nothing is known of."""
    return ItemTrend(
        [0.0] * len(config.half_lives_s), [[-2, 0, 0] for _ in config.windows_s]
    )


class Lags:
    """The variants' weights by the lag, laid out once."""

    def __init__(self, variants: Sequence[Variant]) -> None:
        pairs = [() if v.first else v.lag_weights for v in variants]
        self.depth = max(map(len, pairs), default=0)
        self.first = max((v.first for v in variants), default=0)
        self._firsts = [v.first for v in variants]
        self._gaps_ms = [v.max_gap_ms for v in variants]
        self._halves_ms = [v.gap_half_life_ms for v in variants]
        self._weights = [
            [weights[lag] if lag < len(weights) else 0.0 for weights in pairs]
            for lag in range(self.depth)
        ]

    def predecessors(
        self, past: Sequence[Seen], at: TrendEvent
    ) -> Iterator[tuple[str, list[float]]]:
        """The items that this event's item follows, nearest first, with a weight for each
        variant. The lag counts different items; each counts once, at its nearest. A further
        event on the item that the user is at already follows nothing again."""
        visited = [seen for seen in past if seen.visited]
        if visited and visited[-1].item_id == at.item_id:
            return
        named = {at.item_id}
        for seen in reversed(visited):
            if seen.item_id in named:
                continue
            lag = len(named) - 1
            if lag >= self.depth:
                return
            named.add(seen.item_id)
            gap_ms = abs(at.at_ms - seen.at_ms)
            near = zip(self._weights[lag], self._gaps_ms, self._halves_ms, strict=True)
            weights = [
                0.0 if gap_ms > most else weight * exp2(-gap_ms / half) if half else weight
                for weight, most, half in near
            ]
            if any(weights):
                yield seen.item_id, weights

    def entry(
        self, past: Sequence[Seen], at: TrendEvent
    ) -> Iterator[tuple[str, list[float]]]:
        """The number of this touch among the person's first different items, as what it
        follows: a name that no item has."""
        visited = {seen.item_id for seen in past if seen.visited}
        number = len(visited)
        if number < self.first and at.item_id not in visited:
            weights = [1.0 if number < first else 0.0 for first in self._firsts]
            yield f"{ENTRY}{number}", weights


ENTRY = "\x01"  # no item's id has it


_encode = msgspec.msgpack.Encoder().encode
_item_decoder = msgspec.msgpack.Decoder(ItemTrend)
_user_decoder = msgspec.msgpack.Decoder(UserPast)


def to_bytes(value: ItemTrend | UserPast) -> bytes:
    """A value as it is kept."""
    return _encode(value)


def item_from(data: bytes) -> ItemTrend:
    """`to_bytes` back."""
    return _item_decoder.decode(data)


def user_from(data: bytes) -> UserPast:
    """`to_bytes` back."""
    return _user_decoder.decode(data)
