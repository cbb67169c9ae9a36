"""The last place of some lists is chance's: as often as asked, and never what may not be listed."""

import numpy as np
import pytest

from encoders.law import CODES, Law
from ranking.explore import (
    LEAST,
    MOST,
    SHARP,
    affinity,
    explored,
    exploring,
    fraction,
    mix,
    unfound,
)
from ranking.people import People

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
    affinity_UN: np.ndarray | None = None,
) -> np.ndarray:
    """U: what stands last instead in each list; -1 where nothing does."""
    at_U = exploring(rows, seeds, share=share)
    if affinity_UN is None:
        affinity_UN = np.ones(listed.shape, np.float32)
    drawn_U = np.full(len(rows), -1, np.int64)
    drawn_U[at_U] = explored(
        rows[at_U], listed[at_U], seeds[at_U], TOUCHES, affinity_UN[at_U],
        as_of_ms_U=np.full(len(at_U), NOW), published_at_ms_N=published,
        half_life_ms=7 * DAY_MS,
    )  # fmt: skip
    return drawn_U


def people_with(touches: list[list[tuple[int, str]]]) -> People:
    """Rows and kinds that each touched, the newest first, a minute between them."""
    shape = (len(touches), max(map(len, touches)))
    row_UL, kind_UL = np.full(shape, -1, np.int64), np.zeros(shape, np.uint8)
    for u, past in enumerate(touches):
        for at, (row, kind) in enumerate(past):
            row_UL[u, at], kind_UL[u, at] = row, CODES[kind]
    age_UL = np.broadcast_to(np.arange(shape[1], dtype=np.float32) * 60_000, shape)
    return People(
        row_UL=row_UL, age_ms_UL=age_UL, value_UL=np.ones(shape, np.float32), kind_UL=kind_UL,
        touched_U=np.array([len(past) for past in touches]),
        as_of_ms_U=np.full(len(touches), NOW),
    )  # fmt: skip


def test_as_many_lists_explore_as_asked():
    for share in (0.0, 0.05, 0.5, 1.0):
        drawn_U = drawn(share=share)
        assert (drawn_U >= 0).mean() == pytest.approx(share, abs=0.03)


def test_lists_that_always_explore_do_so_beside_the_share_unless_none_does():
    always_U = np.arange(LISTS) % 10 == 0
    for share, wanted in ((0.0, 0.0), (0.05, 0.145), (1.0, 1.0)):
        at_U = exploring(ROWS, SEEDS, share=share, always_U=always_U)
        assert len(at_U) / LISTS == pytest.approx(wanted, abs=0.02)
        assert not share or set(np.flatnonzero(always_U)) <= set(at_U)


def test_what_is_new_is_unfound_where_it_may_be_listed_until_some_have_touched_it():
    published = OLD.copy()
    published[[20, 40, 41, 42, 43]] = [
        NOW,
        NOW - 7 * DAY_MS,
        NOW - 8 * DAY_MS,
        NOW + 1,
        NOW,
    ]
    listed = ALL[:2].copy()
    listed[1, 40] = False
    found = unfound(
        listed, TOUCHES, as_of_ms_U=np.array([NOW, NOW]), published_at_ms_N=published,
        half_life_ms=7.0 * DAY_MS,
    )  # fmt: skip
    assert [np.flatnonzero(row).tolist() for row in found] == [[40, 43], [43]]


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


def test_of_what_is_new_the_like_is_drawn_as_much_more_often_and_the_old_as_ever():
    published = OLD.copy()
    published[[40, 41]] = NOW
    affinity_UN = np.ones(ALL.shape, np.float32)
    affinity_UN[:, 40], affinity_UN[: LISTS // 2, 41] = 0.5, 0.05
    half = LISTS // 2
    drawn_U = drawn(published=published, affinity_UN=affinity_UN)
    for part, of_41 in ((slice(half), 0.05), (slice(half, None), 1.0)):
        weight_N = 1 / (1 + TOUCHES)
        weight_N[[40, 41]] *= [151, 1 + 300 * of_41]
        weight_N[:K] = 0
        count_N = np.bincount(drawn_U[part], minlength=ITEMS) / half
        assert count_N == pytest.approx(weight_N / weight_N.sum(), abs=0.03)


X, Y, MANY = [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.6, 0.8, 0.0]
NONE = [0.0, 0.0, 0.0]
SHELVES = np.array([X, X, Y, MANY, NONE], np.float32)
CONTENT = np.array([NONE, X, Y, X, X, MANY], np.float32)


def known(*spaces: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(space, space.any(axis=1)) for space in spaces]


def test_affinity_is_likeness_to_the_newest_touches_against_that_of_the_catalogue():
    people = people_with([[(0, "click"), (2, "click")], [(2, "click")]])
    by_shelf = affinity(people, Law(), known(SHELVES), rows=6)
    cosine_N = np.array([0, 0, 1, 0.8])
    told_N = (cosine_N - cosine_N.mean()) / cosine_N.std()
    assert by_shelf[1, :4] == pytest.approx(np.exp(SHARP * told_N), rel=1e-3)
    assert by_shelf[0, 0] > 1 > by_shelf[0, 2], "the newest touch says most"


def test_affinity_goes_by_all_spaces_that_know_an_item():
    people = people_with([[(2, "click")]])
    shelves = affinity(people, Law(), known(SHELVES), rows=6)[0]
    content = affinity(people, Law(), known(CONTENT), rows=6)[0]
    both = affinity(people, Law(), known(SHELVES, CONTENT), rows=6)[0]
    assert both[0] == pytest.approx(shelves[0]), "without content"
    assert both[5] == pytest.approx(content[5]), "without a shelf"
    assert both[3] == pytest.approx(np.sqrt(shelves[3] * content[3]), rel=1e-5)


def test_affinity_is_bounded():
    shelves = np.tile(np.array(X, np.float32), (200, 1))
    shelves[7] = Y
    made = affinity(people_with([[(7, "click")]]), Law(), known(shelves), rows=200)
    assert made.max() == pytest.approx(np.exp(SHARP * MOST))


def test_where_nothing_can_be_said_nothing_speaks_for_or_against_an_item():
    people = people_with([[], [(4, "click")], [(-1, "click")], [(0, "hide")]])
    assert (affinity(people, Law(), known(SHELVES), rows=6) == 1).all()
    bare = affinity(people_with([[(0, "click")]]), Law(), known(SHELVES), rows=6)
    assert bare[0, 4:].tolist() == [1, 1], "without a category, and past the end"
    assert (affinity(people, Law(), known(SHELVES[:0]), rows=6) == 1).all()


def test_what_was_disliked_draws_nothing_like_it():
    people = people_with([[(0, "hide"), (2, "click")], [(2, "click")]])
    made = affinity(people, Law(), known(SHELVES), rows=5)
    assert made[0].tolist() == made[1].tolist()


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
