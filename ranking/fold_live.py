"""The trends of a log, folded in at once: what the trend worker would have published of it.

Training and judging step through a log; this gives them the tables without a broker. That both
ways give the same numbers is tested (tests/unit/test_live.py).

Shapes:  E = events,  L = what their people did before, newest first,  C = pairs
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from encoders.law import Law
from ranking.histories import Pasts
from ranking.live import Live, Popular
from ranking.people import Ints
from ranking.trend_config import Variant
from ranking.trend_state import Lags


@dataclass(frozen=True, slots=True, eq=False)
class _Before:
    """Events that mark their items as seen, and the different items before each: `lag_EL` is
    -1 where there is none, or one that stands nearer already. `new_E`: a first touch."""

    event_E: Ints
    row_EL: Ints
    at_ms_EL: Ints
    lag_EL: Ints
    new_E: NDArray[np.bool_]


def fold_live(live: Live, pasts: Pasts, event_E: Ints, *, law: Law) -> None:
    """Events of the log, by number and in order, into the tables. Impressions are none."""
    if not len(event_E):
        return
    live.newest_ms = max(live.newest_ms, int(pasts.at_ms_E[event_E].max()))
    depth = 2 * max(Lags(live.config.variants).depth, 10)  # as ranking/trends.py looks back
    before = _before(pasts, event_E, law=law, depth=depth)
    for variant in live.config.variants:
        if variant.first:
            _entries(live, variant, pasts, before)
        else:
            _pairs(live, variant, pasts, before)
    liked_E = law.weights(pasts.kind_E[event_E], pasts.value_E[event_E]) > 0
    for popular in live.popular.values():
        count(popular, pasts.row_E[event_E[liked_E]], pasts.at_ms_E[event_E[liked_E]])


def count(popular: Popular, row_E: Ints, at_ms_E: Ints) -> None:
    """Each event adds one, as of its time, to partition 0."""
    if not len(row_E):
        return
    popular.reach(0, int(row_E.max()), at_ms=int(at_ms_E.max()))
    age_E = (at_ms_E - popular.ref_ms) / popular.half_life_ms
    added = np.bincount(row_E, np.exp2(np.clip(age_E, -1_000, 1_000)))
    popular.count_PN[0, : len(added)] += added


def _before(pasts: Pasts, event_E: Ints, *, law: Law, depth: int) -> _Before:
    event_E = event_E[law.seen_column[pasts.kind_E[event_E]] > 0]
    back_EL = pasts.place_E[event_E][:, None] - 1 - np.arange(depth)
    there_EL = back_EL >= pasts.first_E[event_E][:, None]
    held_EL = pasts.event_G[np.where(there_EL, back_EL, 0)]
    there_EL &= law.seen_column[pasts.kind_E[held_EL]] > 0
    row_EL, own_E1 = pasts.row_E[held_EL], pasts.row_E[event_E][:, None]
    own_EL = there_EL & (row_EL == own_E1)
    first_EL = there_EL & ~own_EL
    for lag in range(1, depth):  # an item counts once, where it is nearest
        again_E = (row_EL[:, :lag] == row_EL[:, lag : lag + 1]) & there_EL[:, :lag]
        first_EL[:, lag] &= ~again_E.any(axis=1)
    newest_E = there_EL.argmax(axis=1)
    stays_E = own_EL[np.arange(len(event_E)), newest_E]  # again where the person is already
    lag_EL = np.where(first_EL & ~stays_E[:, None], np.cumsum(first_EL, axis=1) - 1, -1)
    return _Before(event_E, row_EL, pasts.at_ms_E[held_EL], lag_EL, ~own_EL.any(axis=1))


def _pairs(live: Live, variant: Variant, pasts: Pasts, before: _Before) -> None:
    e_C, l_C = np.nonzero((before.lag_EL >= 0) & (before.lag_EL < len(variant.lag_weights)))
    event_C = before.event_E[e_C]
    gap_C = np.abs(pasts.at_ms_E[event_C] - before.at_ms_EL[e_C, l_C])
    value_C = np.array(variant.lag_weights)[before.lag_EL[e_C, l_C]]
    if variant.gap_half_life_ms:
        value_C = value_C * np.exp2(-gap_C / variant.gap_half_life_ms)
    near_C = gap_C <= variant.max_gap_ms
    live.follows[variant.name].add(
        before.row_EL[e_C, l_C][near_C],
        pasts.row_E[event_C[near_C]],
        value_C[near_C],
        pasts.at_ms_E[event_C[near_C]],
    )


def _entries(live: Live, variant: Variant, pasts: Pasts, before: _Before) -> None:
    number_E = (before.lag_EL >= 0).sum(axis=1)
    new_E = before.new_E & (number_E < variant.first)
    event_E = before.event_E[new_E]
    live.follows[variant.name].add(
        number_E[new_E],
        pasts.row_E[event_E],
        np.ones(len(event_E)),
        pasts.at_ms_E[event_E],
    )
