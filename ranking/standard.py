"""Numbers of different units made comparable, row by row.

Shapes:  U = lists,  X = candidates, or items
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def standard(
    value_UX: NDArray[np.floating[Any]], there_UX: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Rows of mean 0 and deviation 1 over what is there; 0 where all are alike."""
    count_U1 = np.maximum(there_UX.sum(axis=1, keepdims=True), 1)
    told_UX = np.where(there_UX, value_UX, 0).astype(np.float64)
    off_UX = np.where(there_UX, told_UX - told_UX.sum(axis=1, keepdims=True) / count_U1, 0)
    spread_U1 = np.sqrt((off_UX**2).sum(axis=1, keepdims=True) / count_U1)
    made: NDArray[np.float64] = off_UX / np.where(spread_U1 > 1e-6, spread_U1, np.inf)
    return made
