"""Of a large catalogue: the items that a person's features are worked out for.

In a small catalogue those are all. In a large one they are so many for each person as people
touched after what this person touched, what is popular and what is new: a list then costs about
the same however many items there are, and what is left out has next to no feature that speaks
for it.

Shapes:  U = people,  N = rows of the catalogue,  M = columns: a person's items (row -1: none),
         X = items that must be among them,  P = items of everybody's,  C = edges of a person
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ranking.features import LONG, READ, Sources, items_as_of
from ranking.follows import Follows, Past
from ranking.people import Ints, People, recency

WIDE = 16_384
"""Items up to which all are looked at."""
POOL = 512
"""Items of each person in a larger catalogue."""
_LITTLE = 1e-12  # less than any edge; a place that is left is for what is popular


def wide(items: int) -> bool:
    """Whether a catalogue of so many is looked at by pools."""
    return items > WIDE


def pooled(
    people: People,
    sources: Sources,
    *,
    listed_UN: NDArray[np.bool_],
    must_UX: Ints,
    size: int | None = None,
) -> Ints:
    """U x (M + X): the pool of each person, none twice, of what may be listed; then `must_UX`
    as it is (without those that it has twice)."""
    size = POOL if size is None else size
    past = Past.of(people.row_UL, recency(people.age_ms_UL, people.row_UL)).newest(READ)
    live, model = sources.live, sources.model
    edges = [live.follows[name] for name in ("session", "recent") if name in live.follows]
    edges += [model.ease] if model.ease is not None else []
    of_items = items_as_of(sources, people)
    common_P, often_N = of_items.common(), _LITTLE * (1 + of_items.itemwise_IN[LONG])
    row_UM = np.full((len(people), size), -1, np.int64)
    for u in range(len(people)):
        told_N = _followed(edges, past, u, rows=listed_UN.shape[1])
        told_N[common_P] = np.inf
        told_N[~listed_UN[u]] = 0
        at_X = _most(told_N, size)
        if len(at_X) < size:  # a shelf, or somebody new
            at_X = _most(told_N + listed_UN[u] * often_N, size)
        row_UM[u, : len(at_X)] = at_X
    must_UX = _once(must_UX)
    row_UM[(row_UM[:, :, None] == must_UX[:, None, :]).any(axis=2)] = -1
    return np.concatenate([row_UM, must_UX], axis=1)


def _most(told_N: NDArray[np.float64], size: int) -> Ints:
    """The rows for which most speaks; none for which nothing does."""
    at_X = np.flatnonzero(told_N > 0)
    if len(at_X) > size:
        at_X = at_X[np.argpartition(-told_N[at_X], size - 1)[:size]]
    return at_X


def _followed(
    edges: Sequence[Follows], past: Past, u: int, *, rows: int
) -> NDArray[np.float64]:
    """N: how much speaks for each item among what follows a person's touches. Each kind of edge
    counts for as much."""
    part = slice(past.start_U[u], past.start_U[u + 1])
    to, value = [np.zeros(0, np.int64)], [np.zeros(0, np.float64)]
    for follows in edges:
        to_C, value_C = follows.out_of(past.row_X[part], past.weight_X[part], rows=rows)
        value_C = np.maximum(value_C, 0)  # of learned edges some speak against an item
        to.append(to_C)
        value.append(value_C / max(float(value_C.sum()), 1e-30))
    found = np.bincount(np.concatenate(to), np.concatenate(value), minlength=rows)
    return np.asarray(found, np.float64)  # of no edges numpy makes whole numbers


def _once(must_UX: Ints) -> Ints:
    """Rows without what stands before in them."""
    same_UXX = must_UX[:, :, None] == must_UX[:, None, :]
    again_UX = (same_UXX & np.tri(must_UX.shape[1], k=-1, dtype=bool)).any(axis=2)
    return np.where(again_UX, -1, must_UX)
