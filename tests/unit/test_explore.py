"""The last place of some lists is chance's: as often as asked, and never what may not be listed."""

import numpy as np
import pytest

from ranking.explore import LEAST, explored, fraction, mix

LISTS, ITEMS, K = 4_000, 60, 10
SEEDS = np.arange(LISTS, dtype=np.uint64) * np.uint64(7919)
ROWS = np.tile(np.arange(K), (LISTS, 1))
TOUCHES = np.where(np.arange(ITEMS) < 30, 99.0, 0.0).astype(np.float32)
ALL = np.ones((LISTS, ITEMS), bool)
DAY_MS = 86_400_000
NOW = 20_000 * DAY_MS
OLD = np.zeros(ITEMS, np.int64)


def drawn(
    rows: np.ndarray = ROWS,
    listed: np.ndarray = ALL,
    seeds: np.ndarray = SEEDS,
    *,
    share: float = 1.0,
    published: np.ndarray = OLD,
) -> np.ndarray:
    return explored(
        rows, listed, seeds, TOUCHES, share=share,
        as_of_ms_U=np.full(len(rows), NOW), published_at_ms_N=published,
        half_life_ms=7 * DAY_MS,
    )  # fmt: skip


def test_as_many_lists_explore_as_asked():
    for share in (0.0, 0.05, 0.5, 1.0):
        drawn_U = drawn(share=share)
        assert (drawn_U >= 0).mean() == pytest.approx(share, abs=0.03)


def test_the_little_known_are_drawn_and_nothing_that_is_in_the_list_or_barred():
    listed = ALL.copy()
    listed[:, 40] = False
    drawn_U = drawn(listed=listed)
    count_N = np.bincount(drawn_U, minlength=ITEMS)
    assert not count_N[:K].any()
    assert not count_N[40]
    assert count_N[10:30].sum() < 0.05 * LISTS  # touched a hundred times as often
    assert count_N[30:].min() == 0 < np.delete(count_N[30:], 10).min()


def test_what_is_new_is_drawn_first_and_what_is_not_out_yet_is_not_new():
    published = OLD.copy()
    published[[20, 40, 41, 42]] = [NOW, NOW, NOW - 14 * DAY_MS, NOW + 1]
    count_N = np.bincount(drawn(published=published), minlength=ITEMS) / LISTS
    weight_N = 1 / (1 + TOUCHES)
    weight_N[[20, 40, 41]] *= [301, 301, 76]
    weight_N[:K] = 0
    assert count_N == pytest.approx(weight_N / weight_N.sum(), abs=0.02)


def test_the_same_person_and_moment_draw_the_same_whoever_is_beside_them():
    whole = drawn(share=0.3)
    part = drawn(ROWS[7:90], ALL[7:90], SEEDS[7:90], share=0.3)
    assert part.tolist() == whole[7:90].tolist()


def test_short_lists_and_such_as_are_not_full_stay():
    few = ROWS[:, : LEAST - 1]
    assert (drawn(few) == -1).all()
    open_end = ROWS.copy()
    open_end[:, -1] = -1
    assert (drawn(open_end) == -1).all()
    nothing_else = np.zeros_like(ALL)
    nothing_else[:, :K] = True
    assert (drawn(listed=nothing_else) == -1).all()


def test_numbers_close_together_come_far_apart():
    told = fraction(np.arange(10_000, dtype=np.uint64))
    assert 0 <= told.min() < 0.001
    assert 0.999 < told.max() < 1
    assert abs(np.corrcoef(told[:-1], told[1:])[0, 1]) < 0.03
    assert len(np.unique(mix(np.arange(10_000, dtype=np.uint64)))) == 10_000
