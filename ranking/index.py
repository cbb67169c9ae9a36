"""What an index of items is asked and what it answers.

Legend: E hashes, U lists asked for, K places a list, D width of a vector.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NEVER_MS = (1 << 62) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexedItem:
    """An item as the index needs it. `hash` is encoders.law.hash64 of the item id."""

    hash: int
    vector: NDArray[np.float32]  # D, unit length
    categories: frozenset[str] = frozenset()
    available: bool = True
    expires_at_ms: int = NEVER_MS


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A batch of searches, one row a list (U). An item is found for row u only if it is
    available, expires after `as_of_ms_U[u]`, has `category_U[u]` (empty: any) and is not in
    `exclude_U[u]` (hashes)."""

    vector_UD: NDArray[np.float32]
    as_of_ms_U: NDArray[np.int64]
    category_U: Sequence[str]
    exclude_U: Sequence[NDArray[np.uint64]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Best first. Places that nothing fills have hash 0 and score -inf."""

    hash_UK: NDArray[np.uint64]
    score_UK: NDArray[np.float32]
