"""The trends of a log, folded in at once: what the trend worker would have published of it.

Training and judging step through a log; this gives them the tables without a broker. That both
ways give the same numbers is tested (tests/unit/test_live.py).
"""

import numpy as np

from encoders.law import Law
from ranking.histories import Pasts
from ranking.live import Live, Popular
from ranking.people import Ints
from ranking.trend_config import Variant


def fold_live(live: Live, pasts: Pasts, event_E: Ints, *, law: Law) -> None:
    """Events of the log, by number and in order, into the tables. Impressions are none."""
    if not len(event_E):
        return
    live.newest_ms = max(live.newest_ms, int(pasts.at_ms_E[event_E].max()))
    for variant in live.config.variants:
        if variant.first:
            _entries(live, variant, pasts, event_E)
        else:
            _pairs(live, variant, pasts, event_E)
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


def _pairs(live: Live, variant: Variant, pasts: Pasts, event_E: Ints) -> None:
    event_C, lag_C, owner_C, gap_C = pasts.pairs(event_E, lags=len(variant.lag_weights))
    value_C = np.array(variant.lag_weights)[lag_C]
    if variant.gap_half_life_ms:
        value_C = value_C * np.exp2(-gap_C / variant.gap_half_life_ms)
    near_C = (gap_C <= variant.max_gap_ms) & (owner_C != pasts.row_E[event_C])
    live.follows[variant.name].add(
        owner_C[near_C],
        pasts.row_E[event_C[near_C]],
        value_C[near_C],
        pasts.at_ms_E[event_C[near_C]],
    )


def _entries(live: Live, variant: Variant, pasts: Pasts, event_E: Ints) -> None:
    number_E = pasts.place_E[event_E] - pasts.first_E[event_E]
    new_E = number_E < variant.first
    live.follows[variant.name].add(
        number_E[new_E],
        pasts.row_E[event_E[new_E]],
        np.ones(int(new_E.sum())),
        pasts.at_ms_E[event_E[new_E]],
    )
