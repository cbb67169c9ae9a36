"""How old items are, when they were published: by doublings, from a day to two hundred years.

Shapes:  X = items,  G = buckets
"""

import numpy as np
from numpy.typing import NDArray

from ranking.people import Floats, Ints

DAY_MS = 86_400_000.0
AGES = 49  # buckets, three a doubling
_CENTRE = np.arange(AGES, dtype=np.float32) / 3
_WIDTH = 0.35


def ages(published_at_ms_X: Ints, *, as_of_ms: int) -> Floats:
    """X: log2 of one and the age in days; what is yet to be published is new."""
    days_X = np.maximum(0, as_of_ms - published_at_ms_X) / DAY_MS
    logged: Floats = np.log2(1 + days_X).astype(np.float32)
    return logged


def bucket(age_X: Floats) -> NDArray[np.int64]:
    """X: the bucket of an age as `ages` gives it."""
    return np.minimum((3 * age_X).round().astype(np.int64), AGES - 1)


def soft(age_X: Floats) -> Floats:
    """X x G: unit rows, an age as how near it is to each bucket."""
    near_XG = np.exp(-0.5 * ((age_X[:, None] - _CENTRE[None, :]) / _WIDTH) ** 2)
    length_X1 = np.linalg.norm(near_XG, axis=1, keepdims=True)
    made: Floats = (near_XG / np.maximum(length_X1, 1e-9)).astype(np.float32)
    return made


ALIKE = np.exp(-0.5 * ((_CENTRE[:, None] - _CENTRE[None, :]) / _WIDTH) ** 2)
"""G x G: how much an age says about others; columns sum to one."""
ALIKE /= ALIKE.sum(axis=0)
