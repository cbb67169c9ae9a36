"""States into vectors: what a user cares about now, in the space of the items.

Shapes:  U = users,  E = (user, item) pairs of all users, ragged,  D = width of the space

`interest = sum over items of (mass x the item's current vector)`, plus what the user said.
Masses of the three half-life classes are brought to one time (the user's newest record) in
log space and divided by the user's heaviest, so that nobody's taste underflows to zero.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

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
    items, weights = [], []
    start_U = np.zeros(len(states) + 1, np.int64)
    scale_U = np.zeros(len(states))
    for u, state in enumerate(states):
        item, weight, scale_U[u] = _relative(state)
        if len(item) > heaviest:
            kept = np.argpartition(np.abs(weight), -heaviest)[-heaviest:]
            item, weight = item[kept], weight[kept]
        items.append(item)
        weights.append(weight)
        start_U[u + 1] = start_U[u] + len(item)
    if not items:
        return Masses(np.zeros(0, np.uint64), np.zeros(0, np.float32), start_U, scale_U)
    return Masses(
        np.concatenate(items), np.concatenate(weights).astype(np.float32), start_U, scale_U
    )


def _relative(state: UserState) -> tuple[NDArray[np.uint64], NDArray[np.float64], float]:
    size = state.size
    total = state.total[:size]
    if not size:
        return state.item[:0], total[:, 0], _scale_of_said(state)
    shift = np.array(
        [
            (ref_ms - state.as_of_ms) / half_life_ms
            for ref_ms, half_life_ms in zip(
                state.ref_ms, state.law.half_life_ms, strict=True
            )
        ]
    )
    heaviest = np.abs(total).max(axis=0)
    with np.errstate(divide="ignore"):
        scale = float((np.log2(heaviest) + shift).max())
    scale = max(scale, _scale_of_said(state))
    if scale == -np.inf:
        return state.item[:0], total[:0, 0], 0.0
    weight = total @ np.exp2(np.clip(shift - scale, -1_070.0, 1_020.0))
    touched = np.flatnonzero(weight)
    return state.item[touched], weight[touched], scale


def _scale_of_said(state: UserState) -> float:
    half_life_ms = state.law.half_life_ms[1]
    times = [s.at_ms for s in state.said] + [at for at, _ in state.said_tail.values()]
    return (max(times) - state.as_of_ms) / half_life_ms if times else -np.inf


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
