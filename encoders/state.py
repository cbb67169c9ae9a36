"""A user's state: a fold over the user's own events, and nothing else (DESIGN section 3).

It holds no item vectors, so a re-encoded, late or retrained item is right at the next read.
The newest events stand one by one in the `ring`; what leaves the ring is summed into the
`tail` (a mass for each item and half-life class). What is read is the `total` of both, kept
up incrementally and rebuilt exactly from ring and tail after an undo, so that nothing is
ever subtracted that still could be left out.

A mass is relative to the newest event of its half-life class (`ref_ms`): with two-to-the-
power decay a later reference only rescales, so old tastes never underflow on their own.

Law (tests/unit/test_state_law.py): whatever the order, batching, duplicates within the
horizon, restarts and undos, masses and seen equal a plain fold of the distinct, not-undone
events.
"""

import math
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from encoders.law import CODES, IMPRESSION, Law, hash64, item_hash
from encoders.window import Window
from schemas import Erase, Event, Interaction, Query, Signal, Undo, Undone

Outcome = Literal[
    "folded",  # accepted; a list follows
    "silent",  # accepted; no list of its own (impressions, queries: their Signal has it)
    "duplicate",  # this event id was folded before
    "erased",  # at or before the user's erasure
    "replayed",  # this offset was folded before
    "too_late_to_undo",  # left the ring, and the undo does not say `of` what
]

RING = np.dtype(
    [("event", "<u8"), ("item", "<u8"), ("at_ms", "<i8"), ("value", "<f4"), ("kind", "u1")]
)
STAMPED = np.dtype([("event", "<u8"), ("at_ms", "<i8")])
SHOWN = np.dtype([("event", "<u8"), ("item", "<u8"), ("at_ms", "<i8")])
TAIL = np.dtype([("item", "<u8"), ("mass", "<f8", 3), ("n", "<u4", 3), ("seen", "<u4")])
COLUMNS = ("item", "total", "seen", "tail_mass", "tail_n", "tail_seen")
_NEVER = -(1 << 62)
_RESCALE = 256.0  # half-lives by which a new event may lead before masses are rescaled


@dataclass(frozen=True, slots=True)
class Said:
    """A Signal: what the user said or showed, as a vector of the fused space."""

    event: int
    of: int
    at_ms: int
    encoder: str
    vector: bytes


@dataclass(slots=True, eq=False)
class UserState:
    """One user. Rows of the item columns are slots, found by `slot_of[item hash]`."""

    law: Law
    ring: Window
    recent: Window
    undone: Window
    shown: Window
    applied: int = -1
    since_ms: int = -1  # the broker's time of the first record: whose partition it is
    as_of_ms: int = -1
    newest_ms: int = -1
    erased_at_ms: int = -1
    said: list[Said] = field(default_factory=list)
    said_tail: dict[str, tuple[int, NDArray[np.float64]]] = field(default_factory=dict)
    slot_of: dict[int, int] = field(default_factory=dict)
    item: NDArray[np.uint64] = field(default_factory=lambda: np.zeros(4, np.uint64))
    total: NDArray[np.float64] = field(default_factory=lambda: np.zeros((4, 3)))
    seen: NDArray[np.int32] = field(default_factory=lambda: np.zeros(4, np.int32))
    ref_ms: list[int] = field(default_factory=lambda: [_NEVER] * 3)
    tail_mass: NDArray[np.float64] = field(default_factory=lambda: np.zeros((4, 3)))
    tail_n: NDArray[np.uint32] = field(default_factory=lambda: np.zeros((4, 3), np.uint32))
    tail_seen: NDArray[np.uint32] = field(default_factory=lambda: np.zeros(4, np.uint32))
    tail_ref_ms: list[int] = field(default_factory=lambda: [_NEVER] * 3)
    tail_newest_ms: int = -1

    @property
    def size(self) -> int:
        """Number of item slots in use."""
        return len(self.slot_of)

    @property
    def nbytes(self) -> int:
        """Memory that this state takes, about."""
        windows = (self.ring, self.recent, self.undone, self.shown)
        arrays = (self.item, self.total, self.seen, self.tail_mass, self.tail_n)
        return (
            1_600
            + sum(w.nbytes for w in windows)
            + sum(a.nbytes for a in arrays)
            + 110 * self.size
            + sum(len(s.vector) + 200 for s in self.said)
        )

    def seen_items(self) -> NDArray[np.uint64]:
        """Hashes of the items that the user has touched in a way that counts as seen."""
        return self.item[: self.size][self.seen[: self.size] > 0]


def new_state(law: Law) -> UserState:
    """A user of whom nothing is known."""
    return UserState(
        law=law,
        ring=Window(RING, law.ring),
        recent=Window(STAMPED, law.recent),
        undone=Window(STAMPED, law.recent),
        shown=Window(SHOWN, law.impressions),
    )


def fold(state: UserState, event: Event, *, offset: int, at_ms: int) -> Outcome:
    """Apply one record of the user's log, in place. Deterministic: the same records in the
    same order give the same state, whoever folds them. `at_ms` is the event's time after
    clamping to the broker's."""
    if offset <= state.applied:
        return "replayed"
    state.applied = offset
    if isinstance(event, Erase):
        return _erase(state, at_ms)
    if at_ms <= state.erased_at_ms:
        return "erased"
    name = hash64(event.event_id)
    if (state.recent.rows["event"] == name).any():
        return "duplicate"
    outcome = _dispatch(state, event, name, at_ms)
    if outcome != "too_late_to_undo":
        state.recent.append((name, at_ms))
        state.as_of_ms = max(state.as_of_ms, at_ms)
    return outcome


def _dispatch(state: UserState, event: Event, name: int, at_ms: int) -> Outcome:
    if isinstance(event, Interaction):
        return _interact(state, event, name, at_ms)
    if isinstance(event, Undo):
        return _undo(state, event, at_ms)
    if isinstance(event, Signal):
        return _say(state, event, name, at_ms)
    return "silent" if isinstance(event, Query) else "folded"


def _interact(state: UserState, event: Interaction, name: int, at_ms: int) -> Outcome:
    code, item = CODES[event.kind], item_hash(event.item_id)
    listed: Outcome = "silent" if code == IMPRESSION else "folded"
    if (state.undone.rows["event"] == name).any():
        return listed
    if code == IMPRESSION:
        state.shown.append((name, item, at_ms))
        return listed
    value = _single(event.value)
    pushed = state.ring.append((name, item, at_ms, value, code))
    if pushed is not None:
        _to_tail(state, pushed)
    _add(state, item, code, value, at_ms)
    state.newest_ms = max(state.newest_ms, at_ms)
    return listed


def _say(state: UserState, event: Signal, name: int, at_ms: int) -> Outcome:
    cause = hash64(event.of)
    if event.vector and not (state.undone.rows["event"] == cause).any():
        if len(state.said) == state.law.signals:
            _said_to_tail(state, state.said.pop(0))
        state.said.append(Said(name, cause, at_ms, event.encoder, event.vector))
    return "folded"


def _undo(state: UserState, event: Undo, at_ms: int) -> Outcome:
    target = hash64(event.undoes)
    if (state.undone.rows["event"] == target).any():
        return "folded"
    found = _take_out(state.ring, target) or _take_out(state.shown, target)
    said = any(s.of == target for s in state.said)
    if not found and not (said and _was_never_in_the_ring(state, target)):
        folded_at = state.recent.rows["at_ms"][state.recent.rows["event"] == target]
        full = len(state.recent) == state.law.recent  # it may be older than all ids we know
        if event.of is None and (len(folded_at) or full):
            return "too_late_to_undo"
        if event.of is not None and len(folded_at):
            _out_of_tail(state, event.of, int(folded_at[0]))
        elif event.of is not None and full and event.of.at_ms <= state.tail_newest_ms:
            _out_of_tail(state, event.of, event.of.at_ms)  # else its undo came first
    state.said = [s for s in state.said if s.of != target]
    state.undone.append((target, at_ms))
    _rebuild(state)
    return "folded"


def _was_never_in_the_ring(state: UserState, event: int) -> bool:
    """Of an event that is not in it: a query or an upload, not an interaction that has left."""
    if len(state.ring) < state.law.ring:
        return True
    oldest = state.ring.rows[0]["event"]
    known = state.recent.rows["event"]
    own, first = np.flatnonzero(known == event), np.flatnonzero(known == oldest)
    return bool(len(own)) and (not len(first) or bool(own[0] > first[0]))


def _erase(state: UserState, at_ms: int) -> Outcome:
    """Forget all up to `at_ms`, keep what is known to be later; the tail cannot be split by
    time, so it goes as a whole."""
    state.erased_at_ms = max(state.erased_at_ms, at_ms)
    state.ring.keep(state.ring.rows["at_ms"] > at_ms)
    state.shown.keep(state.shown.rows["at_ms"] > at_ms)
    state.undone.keep(state.undone.rows["at_ms"] > at_ms)
    state.said = [s for s in state.said if s.at_ms > at_ms]
    state.said_tail.clear()
    state.recent.keep(state.recent.rows["at_ms"] > at_ms)
    state.slot_of.clear()
    for name in COLUMNS:
        getattr(state, name)[:] = 0
    state.tail_ref_ms, state.tail_newest_ms = [_NEVER] * 3, -1
    state.newest_ms = max((int(t) for t in state.ring.rows["at_ms"]), default=-1)
    state.as_of_ms = state.as_of_ms if state.as_of_ms > at_ms else -1
    _rebuild(state)
    return "folded"


def _take_out(window: Window, event: int) -> bool:
    at = np.flatnonzero(window.rows["event"] == event)
    if len(at):
        window.remove(int(at[0]))
    return bool(len(at))


def _slot(state: UserState, item: int) -> int:
    slot = state.slot_of.get(item)
    if slot is None:
        slot = state.slot_of[item] = state.size
        if slot == len(state.item):
            for name in COLUMNS:
                column = getattr(state, name)
                setattr(state, name, np.concatenate([column, np.zeros_like(column)]))
        state.item[slot] = item
    return slot


def _add(state: UserState, item: int, code: int, value: float, at_ms: int) -> None:
    law, slot = state.law, _slot(state, item)
    column = law.half_life_of(code)
    if state.ref_ms[column] == _NEVER:
        state.ref_ms[column] = at_ms
    age = (at_ms - state.ref_ms[column]) / law.half_life_ms[column]
    if age > _RESCALE:
        state.total[: state.size, column] *= _power(-age)
        state.ref_ms[column], age = at_ms, 0.0
    state.total[slot, column] += law.weight(code, value) * _power(age)
    state.seen[slot] += law.marks_seen(code)


def _to_tail(state: UserState, row: Any) -> None:
    """The ring's oldest row becomes part of its item's mass; the totals stay as they are."""
    code, at_ms = int(row["kind"]), int(row["at_ms"])
    law, slot = state.law, _slot(state, int(row["item"]))
    column = law.half_life_of(code)
    gain = _toward(state, column, at_ms)
    state.tail_mass[slot, column] += law.weight(code, float(row["value"])) * gain
    state.tail_n[slot, column] += 1
    state.tail_seen[slot] += law.marks_seen(code)
    state.tail_newest_ms = max(state.tail_newest_ms, at_ms)


def _toward(state: UserState, column: int, at_ms: int) -> float:
    """Decay of an event at `at_ms` relative to the tail's reference, which moves on if needed."""
    if state.tail_ref_ms[column] == _NEVER:
        state.tail_ref_ms[column] = at_ms
    age = (at_ms - state.tail_ref_ms[column]) / state.law.half_life_ms[column]
    if age > _RESCALE:
        state.tail_mass[:, column] *= _power(-age)
        state.tail_ref_ms[column], age = at_ms, 0.0
    return _power(age)


def _out_of_tail(state: UserState, of: Undone, at_ms: int) -> None:
    """Subtract the event that `of` describes from the tail, if the tail holds such a one.
    `at_ms`: when it was folded to have been."""
    slot = state.slot_of.get(item_hash(of.item_id))
    code, law = CODES[of.kind], state.law
    column = law.half_life_of(code)
    if code == IMPRESSION or slot is None or not state.tail_n[slot, column]:
        return
    age = (at_ms - state.tail_ref_ms[column]) / law.half_life_ms[column]
    state.tail_n[slot, column] -= 1
    if state.tail_n[slot, column]:
        state.tail_mass[slot, column] -= law.weight(code, _single(of.value)) * _power(age)
    else:
        state.tail_mass[slot, column] = 0.0
    if law.marks_seen(code) and state.tail_seen[slot]:
        state.tail_seen[slot] -= 1


def _said_to_tail(state: UserState, said: Said) -> None:
    vector = np.frombuffer(said.vector, "<f4").astype(np.float64)
    ref_ms, held = state.said_tail.get(said.encoder, (said.at_ms, np.zeros_like(vector)))
    half_life_ms = state.law.half_life_ms[1]
    newest = max(ref_ms, said.at_ms)
    held = held * _power((ref_ms - newest) / half_life_ms)
    state.said_tail = {
        said.encoder: (newest, held + vector * _power((said.at_ms - newest) / half_life_ms))
    }


def _rebuild(state: UserState) -> None:
    """Totals and seen afresh from tail and ring, free of what additions left behind."""
    law, ring = state.law, state.ring.rows
    slots = np.array([_slot(state, int(i)) for i in ring["item"]], dtype=np.int64)
    columns = law.columns[ring["kind"]]
    size = state.size
    state.total[:size] = 0.0
    state.seen[:size] = state.tail_seen[:size]
    np.add.at(state.seen, slots, law.seen_column[ring["kind"]])
    for column, half_life_ms in enumerate(law.half_life_ms):
        here = columns == column
        newest = max([int(t) for t in ring["at_ms"][here]], default=_NEVER)
        in_tail = bool(state.tail_n[:size, column].any())
        ref_ms = max(newest, state.tail_ref_ms[column] if in_tail else _NEVER)
        state.ref_ms[column] = ref_ms
        if ref_ms == _NEVER:
            continue
        if in_tail:
            moved = _power((state.tail_ref_ms[column] - ref_ms) / half_life_ms)
            state.total[:size, column] = state.tail_mass[:size, column] * moved
        gain = np.exp2((ring["at_ms"][here] - ref_ms) / half_life_ms)
        weights = law.weights(ring["kind"][here], ring["value"][here])
        np.add.at(state.total[:, column], slots[here], weights * gain)


def rebuilt(state: UserState) -> UserState:
    """The same state with its derived columns computed afresh (after reading it back)."""
    _rebuild(state)
    return state


def _single(value: float | None) -> float:
    """A value as the ring keeps it: in single precision, the largest instead of infinity."""
    return float(np.float32(min(max(value or 0.0, -3e38), 3e38)))


def _power(exponent: float) -> float:
    """2 ** exponent that goes to 0 quietly."""
    return math.exp2(exponent) if exponent > -1_070.0 else 0.0  # fits a double either way
