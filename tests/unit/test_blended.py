"""People into places: nothing is listed that may not be, however lists are batched."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from encoders.law import hash64
from ranking.blend import Blend, blend_of, blend_tensors, untrained
from ranking.blended import chunks, ordered
from ranking.feature_names import FEATURES
from ranking.features import features
from ranking.follows import Follows
from ranking.model import Fitted
from schemas import TrendTable
from tests.support.listing import (
    AT_MS,
    ITEMS,
    WIDTH,
    allowed,
    chosen,
    interests,
    listed,
    people,
    some,
    world,
)

pytestmark = pytest.mark.usefixtures("small_and_large")


def test_what_follows_stands_first_and_its_source_is_named():
    row_UK, score_UK, source_UK = listed(people([3], [10, 9]), world())
    assert row_UK[:, 0].tolist() == [4, 11]
    assert source_UK[:, 0].tolist() == ["together", "together"]
    assert all(a >= b for row in score_UK.tolist() for a, b in pairwise(row))
    assert (score_UK.sum(axis=1) <= 1 + 1e-6).all()


def test_content_finds_what_nothing_else_knows():
    """An item that no trend speaks of, without a category, is listed for its likeness."""
    sources = world()
    sources.catalogue.put(
        hash64("cold"), item_id="cold", categories=frozenset(),
        available=True, expires_at_ms=1 << 60, published_at_ms=AT_MS,
    )  # fmt: skip
    (row,) = sources.catalogue.named.find(np.array([hash64("cold")], np.uint64))
    sources.describe(np.array([row]))
    near_D = np.eye(WIDTH, dtype=np.float32)[[2]]
    sources.place(np.array([row]), near_D, np.array([True]))
    of_two, _, source_UK = listed(people([2, 6]), sources, k=8)
    of_one, _, _ = listed(people([1, 5]), sources, k=8)
    assert row in of_two
    assert row not in of_one
    assert source_UK[0, of_two[0].tolist().index(row)] == "interest"


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), share=st.sampled_from([0.0, 0.05, 0.5, 1.0]))
def test_only_what_may_be_listed_is_listed_and_nothing_twice(seed, share):
    """Whatever was touched, whatever a search found, however few candidates there are."""
    rng = np.random.default_rng(seed)
    sources = world()
    if seed % 2:
        sources.vector_ND = sources.vector_ND[:0]  # a large catalogue: content is searched
    who = people(*(rng.integers(0, ITEMS, rng.integers(0, 9)).tolist() for _ in range(6)))
    listed_UN = rng.random((6, ITEMS)) < share
    found = rng.permuted(np.tile(np.arange(-4, ITEMS), (6, 1)), axis=1)[:, :9]
    row_UK, score_UK, _ = listed(
        who, sources, listed_UN, k=7, size=int(rng.integers(1, 30)),
        found=(found, rng.random(found.shape).astype(np.float32)),
    )  # fmt: skip
    assert np.isfinite(score_UK).all()
    for u, row in enumerate(row_UK.tolist()):
        places = [r for r in row if r >= 0]
        assert listed_UN[u, places].all()
        assert len(set(places)) == len(places)
        assert row[: len(places)] == places, "a list ends where its first empty place is"


def test_all_that_may_be_listed_is_where_there_are_fewer_than_places():
    listed_UN = np.zeros((2, ITEMS), bool)
    listed_UN[0, [4, 7]] = True
    row_UK, score_UK, _ = listed(people([1], []), world(), listed_UN, k=10)
    assert sorted(row_UK[0].tolist()) == [-1] * 8 + [4, 7]
    assert (row_UK[1] == -1).all()
    assert not score_UK[1].any()


def test_far_apart_scores_leave_no_hole_in_a_list():
    """Softmax rounds what is far behind to 0, as if it were no candidate."""
    sources = world()
    blend = untrained()
    blend.linear.weight.mul_(500.0)
    sources.model = Fitted("", None, (), blend)
    listed_UN = np.ones((1, ITEMS), bool)
    listed_UN[0, ::2] = False
    row_UK, _, _ = listed(people([2]), sources, listed_UN, k=20)
    assert (row_UK[0, : ITEMS // 2] >= 0).all()
    assert (row_UK[0, ITEMS // 2 :] == -1).all()


def test_a_list_of_one_equals_the_same_list_in_a_batch_and_in_any_chunks():
    rng = np.random.default_rng(5)
    sources = world()
    who = people(
        *(rng.choice(ITEMS, rng.integers(0, 8), False).tolist() for _ in range(13))
    )
    row_UK, score_UK, source_UK = listed(who, sources)
    for size in (1, 4, 12):
        parts = [
            listed(some(who, slice(at, at + size)), sources) for at in range(0, 13, size)
        ]
        rows, scores, names = (np.concatenate(part) for part in zip(*parts, strict=True))
        assert (rows == row_UK).all()
        assert np.allclose(scores, score_UK, atol=1e-5)
        assert (names == source_UK).all()


@pytest.mark.parametrize("count", [0, 1, 9])
@pytest.mark.parametrize("rows", [0, 1, 100, 10**6])
def test_chunks_cover_all_people_once(count, rows):
    covered = [u for part in chunks(count, rows=rows) for u in range(count)[part]]
    assert covered == list(range(count))


def test_what_is_tired_falls():
    sources = world()
    who = people([3])
    found = chosen(who, sources, allowed(who, sources))
    row_UK, _, _ = ordered(found, sources, k=5)
    assert row_UK[0, 0] == 4
    tired_UC = np.where(found.row_UC == 4, 3 * np.log(0.05), 0).astype(np.float32)
    again_UK, score_UK, _ = ordered(found, sources, k=ITEMS, tired_UC=tired_UC)
    assert again_UK[0, 0] == row_UK[0, 1]
    assert again_UK[0].tolist().index(4) > 0
    assert sorted(again_UK[0, : ITEMS - 1].tolist()) == sorted({*range(ITEMS)} - {3})
    assert np.isfinite(score_UK).all()


def test_a_person_without_touches_gets_what_is_popular_and_begun_with():
    sources = world()
    told = [
        TrendTable(name="popular/86400/0/b00", at_ms=AT_MS, rows=[("i9", 50.0)]),
        TrendTable(name="follows/entry/0/0", at_ms=AT_MS, rows=[("i17", 50.0)]),
    ]
    sources.live.take(told, sources.catalogue)
    row_UK, _, source_UK = listed(people([]), sources, k=2)
    assert set(row_UK[0].tolist()) == {9, 17}
    assert source_UK[0].tolist() == ["popular", "popular"]


@pytest.mark.parametrize("vectors", [True, False])
@pytest.mark.parametrize("items", [0, 1])
@pytest.mark.parametrize("touched", [[], [[]], [[], [0]]], ids=["nobody", "one", "two"])
def test_a_catalogue_of_one_item_or_none_is_a_catalogue(items, touched, vectors):
    sources = world(items, vectors=vectors)
    who = people(*touched)
    row_UK, score_UK, source_UK = listed(
        who, sources, np.ones((len(who), items), bool), k=3
    )
    assert row_UK.shape == score_UK.shape == source_UK.shape
    assert (row_UK[:, :items] == 0).all()
    assert score_UK[:, :items] == pytest.approx(np.ones((len(who), items)))
    assert (row_UK[:, items:] == -1).all()


def test_what_was_touched_and_is_known_by_name_alone_does_no_harm():
    """Rows that trends made after the sources last looked at the catalogue."""
    sources = world()
    rows = sources.catalogue.place([hash64(f"later{n}") for n in range(200)])
    who = people([int(rows[-1]), 3], [int(rows[100])])
    sources.describe(np.zeros(0, np.int64))
    row_UK, _, _ = listed(
        who,
        sources,
        allowed(who, sources) & (sources.catalogue.hash[: sources.catalogue.size] != 0),
    )
    assert row_UK[0, 0] == 4
    assert (row_UK < ITEMS).all()


def test_features_have_a_name_each_and_are_finite():
    sources = world()
    who = people([3, 2], [])
    told = features(who, sources, interest_UD=interests(who, sources))
    every = told.of(np.tile(np.arange(ITEMS), (2, 1)))
    assert every.shape == (2, ITEMS, len(FEATURES))
    assert np.isfinite(every).all()
    at = FEATURES.index
    assert every[0, 4, at("together")] > every[0, 5, at("together")] == 0
    assert every[0, 4, at("last")] > 0 == every[0, 3, at("last")]
    assert not every[1, :, at("together")].any()
    assert every[0, 7, at("content")] > every[0, 5, at("content")]


def test_what_is_as_old_as_what_was_touched_is_told_from_what_is_not():
    sources = world()
    old, year_ms = np.arange(0, ITEMS, 2), 365 * 86_400_000
    sources.catalogue.published_at_ms[old] = AT_MS - 10 * year_ms
    who = people([2, 4], [3, 5], [])
    told = features(who, sources, interest_UD=interests(who, sources))
    era_UN = told.of(np.tile(np.arange(ITEMS), (3, 1)))[..., FEATURES.index("era")]
    assert era_UN[0, old].min() > era_UN[0, 1::2].max()
    assert era_UN[1, old].max() < era_UN[1, 1::2].min()
    assert np.ptp(era_UN[2]) == 0


def test_who_touches_what_few_know_is_told_what_else_few_know():
    sources = world()
    half_s = sources.live.config.half_lives_s[3]
    rows = [(f"i{n}", 400.0 if n % 2 else 1.0) for n in range(ITEMS)]
    known = TrendTable(name=f"popular/{half_s}/0/b00", at_ms=AT_MS, rows=rows)
    sources.live.take([known], sources.catalogue)
    who = people([2, 4], [3, 5])
    told = features(who, sources, interest_UD=interests(who, sources))
    fame_UN = told.of(np.tile(np.arange(ITEMS), (2, 1)))[..., FEATURES.index("fame")]
    assert fame_UN[0, 0::2].min() > fame_UN[0, 1::2].max()
    assert fame_UN[1, 0::2].max() < fame_UN[1, 1::2].min()


def test_the_prior_is_the_linear_part_over_all_items():
    sources = world()
    who = people([3, 2], [7])
    told = features(who, sources, interest_UD=interests(who, sources))
    rng = np.random.default_rng(1)
    weight_F = rng.normal(size=len(FEATURES)).astype(np.float32)
    every = told.of(np.tile(np.arange(ITEMS), (2, 1)))
    both = every @ weight_F - told.prior(weight_F)
    # what is of the person alone moves all items of theirs alike
    assert np.allclose(both - both[:, :1], 0, atol=1e-4)


def test_with_a_wanted_item_it_stands_first_whatever_the_prior_thinks():
    sources = world()
    who = people([3], [8], [5])
    wanted_U = np.array([20, 9, 0])
    found = chosen(who, sources, allowed(who, sources), wanted_U=wanted_U, size=6)
    assert (found.row_UC[:, 0] == wanted_U).all()
    assert found.there_UC[:, 0].all()
    for row in found.row_UC.tolist():
        assert len(set(row)) == len(row)


def test_the_best_of_the_prior_are_the_candidates():
    sources = world()
    who = people([3], [8])
    found = chosen(who, sources, allowed(who, sources), size=5)
    told = features(who, sources, interest_UD=interests(who, sources))
    score_UN = told.prior(sources.model.blend.prior_now().numpy())
    score_UN[~allowed(who, sources)] = -np.inf
    for u in range(2):
        best = np.sort(score_UN[u])[::-1][:5]
        got = np.sort(score_UN[u, found.row_UC[u]])[::-1]
        assert got == pytest.approx(best)


def test_learned_edges_speak_with_their_signs():
    sources = world()
    ease = Follows.fixed(
        np.array([3]), np.array([[9, 11]], np.int32), np.array([[2.0, -2.0]], np.float32)
    )
    sources.model = Fitted("", ease, (), untrained())
    who = people([3])
    told = features(who, sources, interest_UD=interests(who, sources))
    ease_N = told.paired_FUM[FEATURES.index("ease"), 0]
    assert ease_N[9] == -ease_N[11] > 0


def test_a_blend_survives_its_file_and_one_of_other_features_is_refused():
    blend = Blend()
    blend.scale_F.fill_(0.5)
    feature_UCF = torch.randn(2, 5, len(FEATURES), generator=torch.manual_seed(0))
    again = blend_of(blend_tensors(blend))
    assert torch.equal(again(feature_UCF), blend(feature_UCF))
    assert torch.equal(again.prior_now(), blend.prior_now())
    with pytest.raises(ValueError, match="train a new model"):
        blend_of(blend_tensors(Blend(len(FEATURES) + 1)))
