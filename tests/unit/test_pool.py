"""Of a large catalogue a person's features are worked out for what may matter, and for no more."""

import numpy as np

from ranking.blended import candidates, ordered
from ranking.features import COMMON, OfItems, Sources, items_of
from ranking.people import People
from ranking.pool import pooled
from schemas import TrendTable
from tests.support.listing import AT_MS, ITEMS, allowed, interests, people, world

NOBODY = np.zeros((2, 0), np.int64)


def two() -> People:
    return people([3, 2], [17])


def test_a_pool_holds_what_follows_the_touches_and_what_is_new_first():
    sources, who = world(2_000), two()
    row_UM = pooled(who, sources, listed_UN=allowed(who, sources), must_UX=NOBODY, size=80)
    first, second = (set(row[row >= 0].tolist()) for row in row_UM)
    assert 4 in first
    assert 18 in second
    assert not first & {2, 3}  # touched
    assert row_UM.shape == (2, 80)
    newest = set(new(sources).common().tolist())
    assert len(first & newest) >= COMMON - ITEMS


def new(sources: Sources) -> OfItems:
    return items_of(sources, as_of_ms=sources.live.newest_ms)


def test_the_heaviest_stay_where_a_pool_is_full_and_nothing_is_in_it_twice():
    sources, who = world(200), two()
    must_UX = np.array([[4, 100, 4, -1], [100, 101, 18, 18]])
    row_UM = pooled(who, sources, listed_UN=allowed(who, sources), must_UX=must_UX, size=10)
    assert row_UM[:, 10:].tolist() == [[4, 100, -1, -1], [100, 101, 18, -1]]
    for row in row_UM:
        there = row[row >= 0]
        assert len(set(there.tolist())) == len(there)


def test_places_that_are_left_are_for_what_is_popular_and_may_be_listed():
    sources, who = world(400, vectors=False), people([3, 2], [])
    sources.catalogue.published_at_ms[:] = 0  # nothing is new
    half_s = sources.live.config.half_lives_s[3]
    often = [(f"i{n}", 50.0) for n in range(300, 340)]
    table = TrendTable(name=f"popular/{half_s}/0/b00", at_ms=AT_MS, rows=often)
    sources.live.take([table], sources.catalogue)
    listed = np.zeros((2, 400), bool)
    listed[:, 310:380] = True
    row_UM = pooled(who, sources, listed_UN=listed, must_UX=NOBODY, size=50)
    for row in row_UM:
        assert (row >= 310).all()
        assert (row < 380).all()
        assert set(range(310, 340)) <= set(row.tolist())


def test_what_may_not_be_listed_is_in_no_pool():
    sources, who = world(300), two()
    listed = np.zeros((2, 300), bool)
    listed[:, [4, 50]] = True
    row_UM = pooled(who, sources, listed_UN=listed, must_UX=NOBODY)
    assert {*row_UM[0].tolist()} <= {-1, 4, 50}


def test_the_commonest_are_so_many_at_most_and_there_may_be_fewer_items():
    of_items = new(world(1_000))
    assert COMMON <= len(of_items.common()) <= COMMON * len(of_items.itemwise_IN)
    assert new(world(7)).common().tolist() == list(range(7))
    assert new(world(0)).common().tolist() == []


def test_lists_of_a_pool_are_those_of_all_items_as_far_as_something_speaks_for_them(
    monkeypatch,
):
    """But for how likely places are: that is said among the candidates."""
    sources, who = world(150, vectors=False), people([3, 2], [17, 30, 100], [])
    listed = allowed(who, sources)

    def lists() -> tuple[np.ndarray, np.ndarray]:
        found = candidates(
            who, sources, listed_UN=listed, interest_UD=interests(who, sources)
        )
        row_UK, score_UK, _ = ordered(found, sources, k=2)
        return row_UK, score_UK / score_UK[:, :1]

    rows, shares = lists()
    monkeypatch.setattr("ranking.pool.WIDE", 0)
    row_UK, share_UK = lists()
    np.testing.assert_allclose(share_UK, shares, rtol=1e-3)
    assert row_UK[:2, 0].tolist() == rows[:2, 0].tolist() == [4, 18]
