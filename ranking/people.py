"""The people whose lists are made, as columns: what each touched last, and all that they touched.

Shapes:  U = people,  L = newest touches of each (newest first, padded with row -1),
         E = (person, item) pairs of all that they touched
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from encoders.law import Law
from encoders.state import RING, UserState
from ranking.catalogue import Catalogue

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


def people_of(states: Sequence[UserState], catalogue: Catalogue, *, but: int = 0) -> People:
    """States as the features read them: the newest touches, newest first; `but`: as they were
    before so many of them."""
    rings = [state.ring.rows[: len(state.ring) - but][-LATEST:][::-1] for state in states]
    count_U = np.array([len(ring) for ring in rings], np.int64)
    user_E = np.repeat(np.arange(len(states)), count_U)
    place_E = np.arange(len(user_E)) - np.repeat(np.cumsum(count_U) - count_U, count_U)
    # as plain bytes: numpy would look for a common type of their fields, ring by ring
    whole = RING.itemsize
    held = np.concatenate([ring.view(f"V{whole}") for ring in rings]).view(RING)
    as_of_U = np.array([max(state.as_of_ms, 0) for state in states], np.int64)
    newest_U = np.zeros(len(states), np.int64)
    np.maximum.at(newest_U, user_E, held["at_ms"])
    shape = (len(states), LATEST)
    row_UL, age_UL = np.full(shape, -1, np.int64), np.zeros(shape, np.float32)
    value_UL, kind_UL = np.zeros(shape, np.float32), np.zeros(shape, np.uint8)
    at = user_E, place_E
    row_UL[at] = catalogue.named.find(held["item"].astype(np.uint64))
    age_UL[at] = newest_U[user_E] - held["at_ms"]
    value_UL[at], kind_UL[at] = held["value"], held["kind"]
    return People(
        row_UL=row_UL, age_ms_UL=age_UL, value_UL=value_UL, kind_UL=kind_UL,
        touched_U=np.array([max(state.size - but, 0) for state in states], np.int64), as_of_ms_U=as_of_U,
    )  # fmt: skip


def touched_mean(people: People, law: Law, vector_NX: Floats) -> Floats:
    """U x width: the mean of the vectors of the newest touches, by what each was worth."""
    if not len(vector_NX):
        return np.zeros((len(people), vector_NX.shape[1]), np.float32)
    weight_UL = law.weights(people.kind_UL, people.value_UL).astype(np.float32)
    weight_UL[(people.row_UL < 0) | (people.row_UL >= len(vector_NX))] = 0
    held_ULX = vector_NX[np.clip(people.row_UL, 0, len(vector_NX) - 1)]
    size_U1 = np.maximum(np.abs(weight_UL).sum(axis=1, keepdims=True), 1e-6)
    mean_UX: Floats = (weight_UL[:, None, :] @ held_ULX)[:, 0] / size_U1
    return mean_UX


def recency(age_ms_UL: Floats, row_UL: Ints) -> Floats:
    """U x L: how much each touch says about the next one. What came minutes and a few touches
    ago says most; a little of what came before stays. Half of what collaborative methods win
    from a person's order lies in this weighting (docs/learning.md has the figures)."""
    rank_L = np.arange(row_UL.shape[1], dtype=np.float32)
    near_UL = np.exp(-age_ms_UL / SHORT_MS - rank_L / 15)
    far_UL = 0.2 * np.exp(-age_ms_UL / LONG_MS - rank_L / 60) + 0.002
    weight_UL: Floats = np.where(row_UL >= 0, near_UL + far_UL, 0).astype(np.float32)
    return weight_UL
