"""What speaks for what, indirect ways taken out: EASE (Steck 2019) over what people touch close
together, instead of over all that they ever touched.

The Gram matrix holds pairs of one person weighted by nearness (touches and time between), so a
person's page of an evening is one thing and last year another. On MovieLens-100k this is worth
more than any other single method that we tried (docs/learning.md).

Shapes:  N = items,  K = neighbours kept,  P = pairs
"""

import numpy as np
from numpy.typing import NDArray

from ranking.histories import Pasts
from ranking.people import Floats, Ints

LAGS, GAP_MS, NEAR = 40, 600_000.0, 10.0


def ease(
    pasts: Pasts,
    *,
    items: int,
    end: int,
    ridge: float = 100.0,
    half_life_ms: float = 120 * 86_400_000.0,
    most: int = 6_000,
    keep: int = 400,
) -> tuple[NDArray[np.int32], Floats]:
    """Of every item the `keep` strongest weights, positive or not: (to_NK, weight_NK), -1 and 0
    where there are fewer. From the first `end` events. Beyond `most` items, the most touched
    ones: the others have no neighbours here (time grows with the cube of their number)."""
    event_E = np.arange(end)
    count_N = np.bincount(pasts.row_E[:end], minlength=items).astype(np.float64)
    chosen_X = np.sort(np.argsort(-count_N, kind="stable")[:most])
    place_N = np.full(items, -1, np.int64)
    place_N[chosen_X] = np.arange(len(chosen_X))
    gram = _near(pasts, event_E, place_N, len(chosen_X), half_life_ms)
    gram += gram.T
    at = np.arange(len(gram))
    gram[at, at] = count_N[chosen_X] + 0.03 * gram.sum(axis=1) + ridge
    inverse = np.linalg.inv(gram)
    weight = -inverse / np.diag(inverse)[None, :]
    weight[at, at] = 0
    keep = min(keep, len(chosen_X))
    best_XK = np.argpartition(-np.abs(weight), keep - 1, axis=1)[:, :keep]
    to_NK = np.full((items, keep), -1, np.int32)
    weight_NK = np.zeros((items, keep), np.float32)
    to_NK[chosen_X] = chosen_X[best_XK]
    weight_NK[chosen_X] = np.take_along_axis(weight, best_XK, axis=1)
    return to_NK, weight_NK


def _near(
    pasts: Pasts, event_E: Ints, place_N: Ints, size: int, half_life_ms: float
) -> NDArray[np.float64]:
    """Pairs by nearness, older ones for less."""
    gram = np.zeros(size * size)
    newest_ms = int(pasts.at_ms_E[event_E[-1]]) if len(event_E) else 0
    for begin in range(0, len(event_E), 50_000):
        event_P, lag_P, before_P, gap_P = pasts.pairs(
            event_E[begin : begin + 50_000], lags=LAGS
        )
        owner_P, next_P = place_N[before_P], place_N[pasts.row_E[event_P]]
        old_P = (newest_ms - pasts.at_ms_E[event_P]) / half_life_ms
        value_P = np.exp(-lag_P / NEAR - np.abs(gap_P) / GAP_MS) * np.exp2(-old_P)
        known_P = (owner_P >= 0) & (next_P >= 0) & (owner_P != next_P)
        at_P = owner_P[known_P] * size + next_P[known_P]
        gram += np.bincount(at_P, value_P[known_P], minlength=size * size)
    return gram.reshape(size, size)
