"""A place for what is little known: in some lists the last place goes to an item that chance draws.

A blend lists what it expects to be touched, and what is never listed is never touched. So a
share of lists explores, in the place that matters least (epsilon-greedy: Sutton, Barto 1998);
what is new and untouched is drawn first, so that an upload is seen by some within seconds.
Chance is of the person and the moment alone: the same state gives the same list anywhere.

Shapes:  U = lists,  N = rows of the catalogue,  K = places
"""

import numpy as np
from numpy.typing import NDArray

from ranking.people import Floats, Ints

LEAST = 5
"""Places below which a list has none to spare."""
NEW = 300.0
"""How much more often than an old item one is drawn that was published just now."""
_STEP = np.uint64(0x9E3779B97F4A7C15)


def explored(
    row_UK: Ints,
    listed_UN: NDArray[np.bool_],
    seed_U: NDArray[np.uint64],
    touches_N: Floats,
    *,
    share: float,
    as_of_ms_U: NDArray[np.int64],
    published_at_ms_N: NDArray[np.int64],
    half_life_ms: float,
) -> Ints:
    """U: the row that stands last in a list instead of what did, -1: the list stays. Drawn from
    what may be listed and is not in it, by (1 + NEW newness) / (1 + touches); newness is 1 at
    publication and halves with each half-life. A list that is not full stays."""
    drawn_U = np.full(len(row_UK), -1, np.int64)
    if row_UK.shape[1] < LEAST or not share:
        return drawn_U
    chosen_U = (fraction(seed_U) < share) & (row_UK[:, -1] >= 0)
    name_N = np.arange(listed_UN.shape[1], dtype=np.uint64)
    for u in np.flatnonzero(chosen_U).tolist():
        open_N = listed_UN[u].copy()
        open_N[row_UK[u]] = False
        if open_N.any():
            chance_N = fraction(seed_U[u] ^ mix(name_N + np.uint64(1)))
            age_ms_N = as_of_ms_U[u] - published_at_ms_N
            new_N = np.where(age_ms_N < 0, 0.0, np.exp2(-age_ms_N / half_life_ms))
            # the first of exponential clocks that run as fast as the weights
            often_N = (1 + NEW * new_N) / (1 + touches_N)
            wait_N = -np.log(np.maximum(chance_N, 1e-18)) / often_N
            drawn_U[u] = np.where(open_N, wait_N, np.inf).argmin()
    return drawn_U


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
