"""States into vectors: what a user cares about now, in the space of the items.

Shapes:  U = users,  E = (user, item) pairs of all users, ragged,  D = width of the space,
         C = half-life classes

`interest = sum over items of (mass x the item's current vector)`, plus what the user said.
Masses of the three half-life classes are brought to one time (the user's newest record) in
log space and divided by the user's heaviest, so that nobody's taste underflows to zero.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from encoders.state import UserState

Vectors = Callable[[NDArray[np.uint64]], tuple[Tensor, Tensor]]
"""Item hashes (E) to their vectors (E x D) and whether each is known (E, bool)."""


@dataclass(frozen=True, slots=True)
class Masses:
    """Ragged rows: user u's items are `item_E[start_U[u]:start_U[u + 1]]`, by their slots."""

    item_E: NDArray[np.uint64]
    weight_E: NDArray[np.float32]
    start_U: NDArray[np.int64]
    scale_U: NDArray[np.float64]  # log2 of the user's heaviest mass


def masses(states: Sequence[UserState], *, heaviest: int) -> Masses:
    """Every user's item weights relative to the heaviest, at most `heaviest` items each."""
    size_U = np.array([state.size for state in states], np.int64)
    start_U = np.concatenate([np.zeros(1, np.int64), np.cumsum(size_U)])
    row_E = np.repeat(np.arange(len(states)), size_U)
    item_E = _joined([s.item[: s.size] for s in states], np.zeros(0, np.uint64))
    total_EC = _joined([s.total[: s.size] for s in states], np.zeros((0, 3)))
    shift_UC = _shifts(states)
    scale_U = np.maximum(
        _scales(total_EC, row_E, shift_UC), [_said_scale(s) for s in states]
    )
    lift_UC = np.exp2(np.clip(shift_UC - scale_U[:, None], -1_070.0, 1_020.0))
    weight_E = (total_EC * lift_UC[row_E]).sum(axis=1).astype(np.float32)
    kept_E = _heaviest(weight_E, row_E, start_U, heaviest)
    count_U = np.bincount(row_E[kept_E], minlength=len(states))
    start_U = np.concatenate([np.zeros(1, np.int64), np.cumsum(count_U)])
    return Masses(item_E[kept_E], weight_E[kept_E], start_U, scale_U)


def _joined(parts: list[Any], nothing: Any) -> Any:
    return np.concatenate(parts) if parts else nothing


def _shifts(states: Sequence[UserState]) -> NDArray[np.float64]:
    """U x C: log2 of what brings a class from its reference time to the user's newest."""
    if not states:
        return np.zeros((0, 3))
    ref_UC = np.array([s.ref_ms for s in states], np.float64)
    as_of_U = np.array([s.as_of_ms for s in states], np.float64)
    half_life_C = np.array(states[0].law.half_life_ms)
    shift_UC: NDArray[np.float64] = (ref_UC - as_of_U[:, None]) / half_life_C
    return shift_UC


def _scales(
    total_EC: NDArray[np.float64], row_E: NDArray[np.int64], shift_UC: NDArray[np.float64]
) -> NDArray[np.float64]:
    """U: log2 of each user's heaviest mass; -inf where there is none."""
    heaviest_UC = np.zeros(shift_UC.shape)
    np.maximum.at(heaviest_UC, row_E, np.abs(total_EC))
    with np.errstate(divide="ignore"):
        scale_U: NDArray[np.float64] = np.max(
            np.log2(heaviest_UC) + shift_UC, axis=1, initial=-np.inf
        )
    return scale_U


def _heaviest(
    weight_E: NDArray[np.float32],
    row_E: NDArray[np.int64],
    start_U: NDArray[np.int64],
    heaviest: int,
) -> NDArray[np.int64]:
    """Which pairs count: those with a weight, the heaviest of who has too many."""
    if len(weight_E) and np.diff(start_U).max() > heaviest:
        order_E = np.lexsort((-np.abs(weight_E), row_E))
        rank_E = np.arange(len(row_E)) - start_U[row_E[order_E]]
        weight_E = weight_E.copy()
        weight_E[order_E[rank_E >= heaviest]] = 0
    return np.flatnonzero(weight_E)


def _said_scale(state: UserState) -> float:
    if not state.said and not state.said_tail:
        return -np.inf
    times = [s.at_ms for s in state.said] + [at for at, _ in state.said_tail.values()]
    return (max(times) - state.as_of_ms) / state.law.half_life_ms[1]


def interest(
    states: Sequence[UserState], held: Masses, vectors: Vectors, *, width: int, encoder: str
) -> Tensor:
    """U x D: the weighted sums, relative to each user's heaviest mass; zero rows where
    nothing is known. `encoder` is the version of the space: what was said in another space
    is left out, never compared."""
    vector_ED, known_E = vectors(held.item_E)
    weight_E = torch.from_numpy(held.weight_E) * known_E
    interest_UD = torch.nn.functional.embedding_bag(
        torch.arange(len(held.item_E)),
        vector_ED if len(vector_ED) else torch.zeros(1, width),
        torch.from_numpy(held.start_U[:-1]),
        mode="sum",
        per_sample_weights=weight_E,
    )
    for u, state in enumerate(states):
        if state.said or state.said_tail:
            interest_UD[u] += _said(state, held.scale_U[u], width=width, encoder=encoder)
    return interest_UD


def _said(state: UserState, scale: float, *, width: int, encoder: str) -> Tensor:
    half_life_ms = state.law.half_life_ms[1]
    vector_D = np.zeros(width)
    for said in state.said:
        if said.encoder == encoder and len(said.vector) == 4 * width:
            age = (said.at_ms - state.as_of_ms) / half_life_ms - scale
            vector_D += np.frombuffer(said.vector, "<f4") * np.exp2(age)
    if encoder in state.said_tail:
        at_ms, tail_D = state.said_tail[encoder]
        vector_D += tail_D * np.exp2((at_ms - state.as_of_ms) / half_life_ms - scale)
    return torch.from_numpy((vector_D * state.law.signal_weight).astype(np.float32))
