"""Implicit alternating least squares (Hu, Koren, Volinsky 2008): who touched what, as factors.

Shapes:  E = events,  U = users,  N = items,  R = factors
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def factors(
    user_E: NDArray[np.int64],
    item_E: NDArray[np.int64],
    weight_E: Floats,
    *,
    items: int,
    rank: int = 64,
    alpha: float = 10.0,
    regularisation: float = 10.0,
    rounds: int = 10,
    least: int = 1,
    seed: int = 0,
) -> Floats:
    """N x R: items' factors; a row of zeros is an item that is cold: fewer than `least` events.

    Minimises `sum c (p - x.y)^2 + regularisation (|x|^2 + |y|^2)` over all users and items,
    with p = 1 and c = 1 + alpha x weight where there is an event (weights of one pair add up),
    p = 0 and c = 1 elsewhere. `rounds` alternations, each exact. Costs rounds x (E R^2 +
    (U + N) R^3). The same arguments give the same factors.
    """
    if not len(item_E):
        return np.zeros((items, rank), np.float32)
    _, row_E = np.unique(user_E, return_inverse=True)
    users = int(row_E.max()) + 1
    pair_P, at_E = np.unique(row_E * items + item_E, return_inverse=True)
    confidence_P = alpha * _summed(at_E, weight_E, len(pair_P))
    user_P, item_P = pair_P // items, pair_P % items
    chance = np.random.default_rng(seed)
    item_NR = chance.normal(0, 0.1, (items, rank))
    for _ in range(rounds):
        user_UR = _solved(
            user_P, item_P, confidence_P, item_NR, size=users, ridge=regularisation
        )
        item_NR = _solved(
            item_P, user_P, confidence_P, user_UR, size=items, ridge=regularisation
        )
    cold_N = np.bincount(item_E, minlength=items) < least
    item_NR[cold_N] = 0.0
    return item_NR.astype(np.float32)


def _summed(at_E: NDArray[np.int64], weight_E: Floats, size: int) -> NDArray[np.float64]:
    return np.bincount(at_E, weights=weight_E, minlength=size).astype(np.float64)


def _solved(
    own_P: NDArray[np.int64],
    other_P: NDArray[np.int64],
    confidence_P: NDArray[np.float64],
    other_NR: NDArray[np.float64],
    *,
    size: int,
    ridge: float,
) -> NDArray[np.float64]:
    """The best factors of one side, given the other's."""
    order_P = np.argsort(own_P, kind="stable")
    start = np.searchsorted(own_P[order_P], np.arange(size + 1))
    rank = other_NR.shape[1]
    gram_RR = other_NR.T @ other_NR + ridge * np.eye(rank)
    own_NR = np.zeros((size, rank))
    for n in range(size):
        at = order_P[start[n] : start[n + 1]]
        if len(at):
            near_PR, c_P = other_NR[other_P[at]], confidence_P[at]
            left_RR = gram_RR + (near_PR * c_P[:, None]).T @ near_PR
            own_NR[n] = np.linalg.solve(left_RR, near_PR.T @ (1 + c_P))
    return own_NR
