"""The two kinds of value that trends are kept in, and what one event does to each.

Each carries the offset of the last event applied to it, so that a replay, which may find some
values ahead of others, passes over what each has had: applied at least once, counted once.
"""

from array import array
from collections.abc import Sequence
from math import exp2
from sys import intern
from typing import NamedTuple

import msgspec
import numpy as np
from msgspec import Struct, field

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


class Seen(Struct, array_like=True, gc=False):
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


class ItemTrend(Struct):
    """How popular an item is and what came before it.

    `popular`: counts decayed to `at_ms`, one a half-life. `windows`: for each width the index of
    its newest window, the count in it and in the window before. `newest_ms`: the newest time of
    any event that it had. `before`: by the item that came before, its row of `weights`, which
    has one a variant, row after row; a weight is what it was at its event's time, grown to that
    time from `base_ms` by its half-life (forward decay), so that weights of any times are added
    as they are. One array and no list a row: a row takes a third of the memory, and none of it
    is looked through for cycles.
    """

    popular: list[float]
    windows: list[list[int]]
    offset: int = -1
    at_ms: int = 0
    newest_ms: int = 0
    base_ms: int = 0
    before: dict[str, int] = field(default_factory=dict)
    weights: "array[float]" = field(default_factory=lambda: array("d"))
    moved: bool = True
    """rows went or all changed since the item was last saved: it has to be saved whole"""

    def count(self, at_ms: int, amount: int, config: TrendConfig) -> None:
        """Add one event (or take one back), at its own time: the order does not matter but for
        a window that is older than the last, which is gone."""
        ahead_ms, late_ms = max(0, at_ms - self.at_ms), max(0, self.at_ms - at_ms)
        counts = zip(self.popular, config.half_lives_s, strict=True)
        if late_ms:
            self.popular = [
                v + amount * exp2(-late_ms / (1000 * half)) for v, half in counts
            ]
        else:
            self.popular = [
                v * exp2(-ahead_ms / (1000 * half)) + amount for v, half in counts
            ]
            self.at_ms = at_ms
        for window, width_s in zip(self.windows, config.windows_s, strict=True):
            _count_in(window, at_ms // (1000 * width_s), amount)

    def rebase(self, at_ms: int, half_ms: Sequence[float]) -> list[float]:
        """What a weight of 1 at this time is from the base, for each half-life. The base moves
        on before that is too much for a float."""
        base = _base(at_ms, half_ms)
        if base > self.base_ms:
            shrink_V = [exp2((self.base_ms - base) / half) for half in half_ms]
            if self.weights:
                row_RV = np.frombuffer(self.weights).reshape(-1, len(half_ms))
                row_RV *= shrink_V  # in place
            self.base_ms, self.moved = base, True
        return [exp2((at_ms - self.base_ms) / half) for half in half_ms]

    def follow(self, names: Sequence[str], weights: Sequence[float]) -> list[str]:
        """This item came after others, by so much in each variant (from the base), one after
        another; those that it never came after."""
        before, held, new, fresh = self.before, self.weights, list[str](), list[float]()
        width, at = len(weights) // len(names), 0
        for name, row in zip(names, map(before.get, names), strict=True):
            if row is None:
                new.append(name)
                fresh += weights[at : at + width]
            else:
                for n, weight in enumerate(weights[at : at + width], row * width):
                    held[n] += weight
            at += width
        new = list(map(intern, new))  # one string for all rows of it
        before.update(zip(new, range(len(before), len(before) + len(new)), strict=True))
        held.extend(fresh)
        return new

    def prune(self, keep: int, half_ms: Sequence[float]) -> list[str]:
        """Leave the heaviest as of the newest time, once there are a quarter more than `keep`;
        who had to go."""
        if len(self.before) <= keep + keep // 4:
            return []
        now_V = [exp2((self.base_ms - self.newest_ms) / half) for half in half_ms]
        row_RV = np.array(self.weights).reshape(-1, len(half_ms))
        kept = np.sort(np.argsort(-(row_RV @ now_V), kind="stable")[:keep])
        names, stays = list(self.before), set(kept.tolist())
        self.before = {names[row]: n for n, row in enumerate(kept.tolist())}
        self.weights = array("d", row_RV[kept].tobytes())
        self.moved = True
        return [name for row, name in enumerate(names) if row not in stays]


def _base(at_ms: int, half_ms: Sequence[float]) -> int:
    """A time at or before this one, by at most 256 of the shortest half-life; the same for
    many items."""
    step = int(256 * min(half_ms, default=1.0)) or 1
    return at_ms // step * step


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
        self._zeros = [0.0] * len(variants)
        groups = dict[tuple[int, float], list[int]]()
        for n, v in enumerate(variants):
            if not v.first:
                groups.setdefault((v.max_gap_ms, v.gap_half_life_ms), []).append(n)
        self._groups = [
            [
                (most, half, [(n, pairs[n][lag]) for n in members if lag < len(pairs[n])])
                for (most, half), members in groups.items()
                if any(lag < len(pairs[n]) for n in members)
            ]
            for lag in range(self.depth)
        ]
        """by lag: the variants for which time between is the same, and their weights"""

    def predecessors(
        self, past: Sequence[Seen], at: TrendEvent, scale: Sequence[float]
    ) -> tuple[list[str], list[float]]:
        """The items that this event's item follows, nearest first, and after one another their
        weights for each variant, times its scale. The lag counts different items; each counts
        once, at its nearest. A further event on the item that the user is at already follows
        nothing again."""
        names, weights = list[str](), list[float]()
        nearest = self._nearest(past, at.item_id)
        for (name, then_ms), groups in zip(nearest.items(), self._groups, strict=False):
            gap_ms, row = abs(at.at_ms - then_ms), None
            for most_ms, half_ms, members in groups:
                if gap_ms <= most_ms:
                    near = exp2(-gap_ms / half_ms) if half_ms else 1.0
                    row = row or self._zeros.copy()
                    for n, weight in members:
                        row[n] = weight * near * scale[n]
            if row is not None:
                names.append(name)
                weights += row
        return names, weights

    def _nearest(self, past: Sequence[Seen], own: str) -> dict[str, int]:
        """By the different items that came before this one, nearest first: when."""
        out = dict[str, int]()
        for seen in reversed(past):
            name = seen.item_id
            if name in out or not seen.visited:
                continue
            if name != own:
                out[name] = seen.at_ms
                if len(out) == self.depth:
                    break
            elif not out:
                break
        return out

    def entry(
        self, past: Sequence[Seen], at: TrendEvent, scale: Sequence[float]
    ) -> tuple[list[str], list[float]]:
        """The number of this touch among the person's first different items, as what it
        follows: a name that no item has."""
        if not self.first:
            return [], []
        visited = {seen.item_id for seen in past if seen.visited}
        number = len(visited)
        if number >= self.first or at.item_id in visited:
            return [], []
        weights = [
            by if number < first else 0.0
            for first, by in zip(self._firsts, scale, strict=True)
        ]
        return [f"{ENTRY}{number}"], weights


ENTRY = "\x01"  # no item's id has it


_user_encode = msgspec.msgpack.Encoder().encode
_user_decoder = msgspec.msgpack.Decoder(UserPast)


def to_bytes(value: UserPast) -> bytes:
    """A value as it is kept."""
    return _user_encode(value)


def user_from(data: bytes) -> UserPast:
    """`to_bytes` back."""
    return _user_decoder.decode(data)
