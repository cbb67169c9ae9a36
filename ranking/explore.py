"""A place for what is little known: in some lists the last place goes to an item that chance draws.

A blend lists what it expects to be touched, and what is never listed is never touched. So a
share of lists explores, in the place that matters least (epsilon-greedy: Sutton, Barto 1998);
what is new and untouched is drawn first, by those before all whose newest touches it is like: an
upload is seen within seconds by people whom it may concern, and by few others. Who looks through
a shelf is always shown something new of it, as long as few have found that.
Chance is of the person and the moment alone: the same state gives the same list anywhere.

Shapes:  U = lists,  N = rows of the catalogue,  K = places,  L = newest touches,
         X = width of a space
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from encoders.law import Law
from ranking.people import Floats, Ints, People, recency

LEAST = 5
"""Places below which a list has none to spare."""
FEW = 5.0
"""Touches below which a new item has not been found yet."""
NEW = 300.0
"""How much more often than an old item one is drawn that was published just now."""
SHARP = 1.5
"""For each deviation that it is more like the newest touches than others, in powers of e."""
MOST = 2.0  # deviations
OLD = 20.0
"""Half-lives after which newness weighs less than a hundredth of being untouched, whoever is asked."""
READ = 30  # newest touches that likeness is read from
_STEP = np.uint64(0x9E3779B97F4A7C15)


def exploring(
    row_UK: Ints,
    seed_U: NDArray[np.uint64],
    *,
    share: float,
    always_U: NDArray[np.bool_] | None = None,
) -> Ints:
    """Which lists explore: this share of those that are full and have a place to spare, and
    `always_U` of them where any do."""
    if row_UK.shape[1] < LEAST or not share:
        return np.zeros(0, np.int64)
    chosen_U = fraction(seed_U) < share
    if always_U is not None:
        chosen_U |= always_U
    return np.flatnonzero(chosen_U & (row_UK[:, -1] >= 0))


def unfound(
    listed_UN: NDArray[np.bool_],
    touches_N: Floats,
    *,
    as_of_ms_U: NDArray[np.int64],
    published_at_ms_N: NDArray[np.int64],
    half_life_ms: float,
) -> NDArray[np.bool_]:
    """U x N: what may be listed, was published within a half-life, and few have touched."""
    age_ms_UN = as_of_ms_U[:, None] - published_at_ms_N
    new_UN: NDArray[np.bool_] = (age_ms_UN >= 0) & (age_ms_UN <= half_life_ms)
    return listed_UN & new_UN & (touches_N < FEW)


def explored(
    row_UK: Ints,
    listed_UN: NDArray[np.bool_],
    seed_U: NDArray[np.uint64],
    touches_N: Floats,
    affinity_UN: Floats,
    *,
    as_of_ms_U: NDArray[np.int64],
    published_at_ms_N: NDArray[np.int64],
    half_life_ms: float,
) -> Ints:
    """U: the row that stands last in a list instead of what did, -1: the list stays. Drawn from
    what may be listed and is not in it, by (1 + NEW newness affinity) / (1 + touches); newness
    is 1 at publication and halves with each half-life."""
    drawn_U = np.full(len(row_UK), -1, np.int64)
    mixed_N = mix(np.arange(1, 1 + listed_UN.shape[1], dtype=np.uint64))
    for u in range(len(row_UK)):
        open_N = listed_UN[u].copy()
        open_N[row_UK[u]] = False
        if open_N.any():
            chance_N = fraction(seed_U[u] ^ mixed_N)
            age_ms_N = as_of_ms_U[u] - published_at_ms_N
            new_N = np.where(age_ms_N < 0, 0.0, np.exp2(-age_ms_N / half_life_ms))
            # the first of exponential clocks that run as fast as the weights
            often_N = (1 + NEW * new_N * affinity_UN[u]) / (1 + touches_N)
            wait_N = -np.log(np.maximum(chance_N, 1e-18)) / often_N
            drawn_U[u] = np.where(open_N, wait_N, np.inf).argmin()
    return drawn_U


def affinity(
    people: People,
    law: Law,
    spaces: Sequence[tuple[Floats, NDArray[np.bool_]]],
    *,
    rows: int,
) -> Floats:
    """U x N: how much more often an item is drawn for being more like what was touched
    just now, and not disliked, than others are; 1 for an average one, and where nothing can
    be said. Cosines in each space (unit rows, zero where nothing is `known`) are in deviations
    within the catalogue, for how far they lie apart depends on the space and the person."""
    told_UN = np.zeros((len(people), rows), np.float32)
    count_UN = np.zeros((len(people), rows), np.float32)
    row_UL = people.row_UL[:, :READ]
    weight_UL = recency(people.age_ms_UL, people.row_UL)[:, :READ]
    weight_UL[law.weights(people.kind_UL, people.value_UL)[:, :READ] <= 0] = 0
    for space_NX, known_N in spaces:
        count = len(space_NX)
        if not count:
            continue
        here_UL = (row_UL >= 0) & (row_UL < count)
        held_ULX = space_NX[np.clip(row_UL, 0, count - 1)]
        held_UX = np.einsum("ul,ulx->ux", np.where(here_UL, weight_UL, 0), held_ULX)
        length_U1 = np.linalg.norm(held_UX, axis=1, keepdims=True)
        held_UX /= np.maximum(length_U1, 1e-9)
        # by torch: numpy's product would start threads of its own
        cosine_UN = (torch.from_numpy(held_UX) @ torch.from_numpy(space_NX).T).numpy()
        told_UN[:, :count] += _deviations(cosine_UN, known_N)
        count_UN[:, :count] += (length_U1 > 1e-6) & known_N
    mean_UN = np.clip(told_UN / np.maximum(count_UN, 1), -MOST, MOST)
    made: Floats = np.exp(np.float32(SHARP) * mean_UN)
    return made


def _deviations(cosine_UN: Floats, known_N: NDArray[np.bool_]) -> Floats:
    """Cosines in deviations from their mean over what is known; 0 for the rest, whose are 0."""
    count = max(int(known_N.sum()), 1)
    mean_U1 = cosine_UN.sum(axis=1, keepdims=True) / count
    square_U = np.einsum("un,un->u", cosine_UN, cosine_UN) / count
    spread_U1 = np.sqrt(np.maximum(square_U[:, None] - mean_U1**2, 0))
    cosine_UN -= mean_U1
    cosine_UN *= known_N / np.where(spread_U1 > 1e-3, spread_U1, np.inf)
    return cosine_UN


def mix(value: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Numbers far apart for numbers close together (splitmix64: Steele, Lea, Flood 2014)."""
    with np.errstate(over="ignore"):
        value = value + _STEP
        value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


def fraction(seed: NDArray[np.uint64]) -> NDArray[np.float64]:
    """From 0 up to 1, by these numbers."""
    whole: NDArray[np.float64] = (mix(seed) >> np.uint64(11)).astype(np.float64)
    return whole / float(1 << 53)
