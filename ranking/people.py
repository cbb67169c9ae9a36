"""The people whose lists are made, as columns: what each touched last, and all that they touched.

Shapes:  U = people,  L = newest touches of each (newest first, padded with row -1),
         E = (person, item) pairs of all that they touched
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]
LATEST = 60
SHORT_MS, LONG_MS = 200_000.0, 2_000_000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class People:
    """Rows are the catalogue's. `age_ms_UL`: how long before the person's newest touch;
    `touched_U`: how many items they touched ever."""

    row_UL: Ints
    age_ms_UL: Floats
    value_UL: Floats
    kind_UL: NDArray[np.uint8]
    touched_U: Ints
    as_of_ms_U: Ints

    def __len__(self) -> int:
        return len(self.touched_U)


def latest(
    rings: Sequence[NDArray[np.void]], rows: Sequence[Ints], *, size: int = LATEST
) -> tuple[Ints, Floats, Floats, NDArray[np.uint8]]:
    """The newest `size` touches of each ring (encoders/state.py RING), newest first; `rows`
    are the catalogue's rows of the rings' items. Returns row, age, value, kind; U x L each."""
    users = len(rings)
    row_UL = np.full((users, size), -1, np.int64)
    age_UL = np.zeros((users, size), np.float32)
    value_UL = np.zeros((users, size), np.float32)
    kind_UL = np.zeros((users, size), np.uint8)
    for u, (ring, row) in enumerate(zip(rings, rows, strict=True)):
        newest = ring[-size:][::-1]
        n = len(newest)
        if n:
            row_UL[u, :n] = row[-size:][::-1]
            age_UL[u, :n] = newest["at_ms"].max() - newest["at_ms"]
            value_UL[u, :n], kind_UL[u, :n] = newest["value"], newest["kind"]
    return row_UL, age_UL, value_UL, kind_UL


def recency(age_ms_UL: Floats, row_UL: Ints) -> Floats:
    """U x L: how much each touch says about the next one. What came minutes and a few touches
    ago says most; a little of what came before stays. Half of what collaborative methods win
    from a person's order lies in this weighting (docs/learning.md has the figures)."""
    rank_L = np.arange(row_UL.shape[1], dtype=np.float32)
    near_UL = np.exp(-age_ms_UL / SHORT_MS - rank_L / 15)
    far_UL = 0.2 * np.exp(-age_ms_UL / LONG_MS - rank_L / 60) + 0.002
    weight_UL: Floats = np.where(row_UL >= 0, near_UL + far_UL, 0).astype(np.float32)
    return weight_UL
