"""Intervals by resampling people, not events: one person's events resemble each other, and a
bootstrap over events would call chance a result (Field, Welsh 2007: the cluster bootstrap).

Legend:  E = events,  U = users,  R = resamples
"""

from dataclasses import dataclass

import numpy as np

from evaluation.metrics import Values
from evaluation.recorded import Ints

RESAMPLES = 2_000
LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean over events, and between which bounds it lies; `events`, `people`: of how many."""

    mean: float
    low: float
    high: float
    events: int
    people: int


def interval(
    value_E: Values, user_E: Ints, *, resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """The mean over events with its percentile interval. NaN values are left out; all is NaN
    where nothing is left."""
    kept = ~np.isnan(value_E)
    value_E, user_E = value_E[kept], user_E[kept]
    if not len(value_E):
        return Interval(np.nan, np.nan, np.nan, 0, 0)
    _, row_E = np.unique(user_E, return_inverse=True)
    sum_U = np.bincount(row_E, weights=value_E)
    count_U = np.bincount(row_E).astype(np.float64)
    rng = np.random.default_rng(seed)
    people = len(sum_U)
    # How often each person is drawn in a resample, instead of who: the same, and no copies.
    drawn_RU = rng.multinomial(people, np.full(people, 1 / people), size=resamples)
    mean_R = (drawn_RU @ sum_U) / (drawn_RU @ count_U)
    low, high = np.quantile(mean_R, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    mean = float(value_E.mean())
    return Interval(mean, float(low), float(high), len(value_E), people)


def paired(
    one_E: Values,
    other_E: Values,
    user_E: Ints,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """The difference one - other of two recommenders on the same events, the same people drawn
    for both: what the two share falls out. The difference is real where 0 is outside."""
    return interval(one_E - other_E, user_E, resamples=resamples, seed=seed)
