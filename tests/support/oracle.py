"""The state law in plain Python: no increments, no windows, no arrays, just the definition.

A user's interest is the sum, over the distinct events that no undo takes back, of weight
times 2 to the minus age over half-life, times the item's current vector.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from encoders.law import CODES, Law, hash64
from schemas import Erase, Event, Interaction, Signal, Undo

HALF_LIVES = ("short", "medium", "long")


@dataclass
class Oracle:
    """What must be true of one user after these events, in whatever order they came."""

    mass: dict[int, float] = field(default_factory=dict)  # item hash -> mass at as_of_ms
    seen: set[int] = field(default_factory=set)
    said: list[tuple[float, str, bytes]] = field(default_factory=list)
    as_of_ms: int = -1


def oracle(events: Sequence[Event], law: Law) -> Oracle:
    """Fold the distinct, not-undone, not-erased events by the definition."""
    erased_at = max((e.at_ms for e in events if isinstance(e, Erase)), default=-1)
    distinct: dict[str, Event] = {}
    for event in events:
        if not isinstance(event, Erase) and event.at_ms > erased_at:
            distinct.setdefault(event.event_id, event)
    undone = {e.undoes for e in distinct.values() if isinstance(e, Undo)}
    as_of = max((e.at_ms for e in distinct.values()), default=-1)
    out = Oracle(as_of_ms=as_of)
    mass: dict[int, float] = defaultdict(float)
    for event in distinct.values():
        if isinstance(event, Interaction) and event.event_id not in undone:
            kind = law.kinds[event.kind]
            if event.kind == "impression":
                continue
            half_life = law.half_life_ms[HALF_LIVES.index(kind.half_life)]
            weight = law.weight(CODES[event.kind], event.value)
            mass[hash64(event.item_id)] += weight * 2.0 ** (
                (event.at_ms - as_of) / half_life
            )
            if kind.seen:
                out.seen.add(hash64(event.item_id))
        elif isinstance(event, Signal) and event.of not in undone and event.vector:
            age = (event.at_ms - as_of) / law.half_life_ms[1]
            out.said.append((law.signal_weight * 2.0**age, event.encoder, event.vector))
    out.mass = dict(mass)
    return out


def interest_of(
    found: Oracle, vectors: Mapping[int, np.ndarray], encoder: str
) -> np.ndarray:  # type: ignore[type-arg]
    """The interest by the definition, of length one (zero where nothing is known)."""
    width = len(next(iter(vectors.values())))
    total = np.zeros(width)
    for name, mass in found.mass.items():
        if name in vectors:
            total += mass * vectors[name].astype(np.float64)
    for mass, made_by, vector in found.said:
        if made_by == encoder:
            total += mass * np.frombuffer(vector, "<f4").astype(np.float64)
    length = np.linalg.norm(total)
    return total / length if length else total
