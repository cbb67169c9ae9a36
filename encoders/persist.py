"""A user's state as bytes and back: fixed-width columns in a msgpack map.

About 45 bytes an event while the ring fills (measured by benchmarks/state_size.py).
"""

from typing import Any

import msgspec
import numpy as np

from encoders.law import Law
from encoders.state import RING, SHOWN, STAMPED, TAIL, Said, UserState, rebuilt
from encoders.window import Window

VERSION = 1


class OtherLaw(ValueError):
    """The state was folded under other weights or classes: never mixed in silence."""


class _Stored(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    v: int
    law: str
    since_ms: int = -1
    as_of_ms: int = -1
    erased_at_ms: int = -1
    ring: bytes = b""
    recent: bytes = b""
    undone: bytes = b""
    shown: bytes = b""
    tail: bytes = b""
    tail_ref_ms: list[int] = []
    tail_newest_ms: int = -1
    said: list[tuple[int, int, int, str, bytes]] = []
    said_tail: dict[str, tuple[int, bytes]] = {}


def dumps(state: UserState) -> bytes:
    """The state without what can be derived from it; `applied` travels beside it."""
    return msgspec.msgpack.encode(
        _Stored(
            v=VERSION,
            law=state.law.digest,
            since_ms=state.since_ms,
            as_of_ms=state.as_of_ms,
            erased_at_ms=state.erased_at_ms,
            ring=state.ring.tobytes(),
            recent=state.recent.tobytes(),
            undone=state.undone.tobytes(),
            shown=state.shown.tobytes(),
            tail=_tail(state),
            tail_ref_ms=state.tail_ref_ms,
            tail_newest_ms=state.tail_newest_ms,
            said=[(s.event, s.of, s.at_ms, s.encoder, s.vector) for s in state.said],
            said_tail={k: (at, v.tobytes()) for k, (at, v) in state.said_tail.items()},
        )
    )


def loads(data: bytes, *, law: Law, applied: int) -> UserState:
    """The state that `dumps` wrote. Raises OtherLaw where the law has changed since."""
    stored = msgspec.msgpack.decode(data, type=_Stored)
    if stored.v != VERSION or stored.law != law.digest:
        raise OtherLaw(
            f"a stored user was folded under law {stored.law} (format {stored.v}) and this "
            f"worker has law {law.digest} (format {VERSION}); restore the weights and "
            "half-lives, or fold the log afresh with `rec rebuild`"
        )
    state = UserState(
        law=law,
        applied=applied,
        since_ms=stored.since_ms,
        as_of_ms=stored.as_of_ms,
        erased_at_ms=stored.erased_at_ms,
        ring=Window(RING, law.ring, stored.ring),
        recent=Window(STAMPED, law.recent, stored.recent),
        undone=Window(STAMPED, law.recent, stored.undone),
        shown=Window(SHOWN, law.impressions, stored.shown),
        tail_ref_ms=list(stored.tail_ref_ms),
        tail_newest_ms=stored.tail_newest_ms,
        said=[Said(*row) for row in stored.said],
        said_tail={k: (at, np.frombuffer(v)) for k, (at, v) in stored.said_tail.items()},
    )
    _restore_tail(state, np.frombuffer(stored.tail, TAIL))
    state.newest_ms = max(
        [stored.tail_newest_ms, *(int(t) for t in state.ring.rows["at_ms"])]
    )
    return rebuilt(state)


def _tail(state: UserState) -> bytes:
    """Only the items of which something has left the ring."""
    if state.tail_newest_ms < 0:
        return b""
    size = state.size
    used = np.flatnonzero(state.tail_n[:size].any(axis=1) | (state.tail_seen[:size] > 0))
    rows = np.zeros(len(used), TAIL)
    rows["item"], rows["mass"] = state.item[used], state.tail_mass[used]
    rows["n"], rows["seen"] = state.tail_n[used], state.tail_seen[used]
    return rows.tobytes()


def _restore_tail(state: UserState, rows: Any) -> None:
    size = len(rows)
    room = max(4, size)
    state.item, state.total = np.zeros(room, np.uint64), np.zeros((room, 3))
    state.seen, state.tail_seen = np.zeros(room, np.int32), np.zeros(room, np.uint32)
    state.tail_mass, state.tail_n = np.zeros((room, 3)), np.zeros((room, 3), np.uint32)
    state.item[:size], state.tail_mass[:size] = rows["item"], rows["mass"]
    state.tail_n[:size], state.tail_seen[:size] = rows["n"], rows["seen"]
    state.slot_of = {int(item): slot for slot, item in enumerate(rows["item"])}
