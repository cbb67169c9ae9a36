"""What follows what, against a plain dict: sums, decay, what a full owner keeps."""

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ranking.follows import Follows, Past

HALF_MS = 1_000.0
AT_MS = 1_764_000_000_000
WIDE = 64
Cell = tuple[int, int, int, float, int]

cells = st.lists(
    st.tuples(
        st.integers(0, 5),
        st.integers(0, 9),
        st.integers(0, 3),
        st.floats(0.01, 50.0),
        st.integers(0, 6_000),
    ),
    max_size=60,
)


def put(follows: Follows, told: list[Cell]) -> None:
    """Cells of (owner, next, partition, value, ms after AT_MS), as records tell them."""
    owner, following, partition, value, at_ms = (
        zip(*told, strict=True) if told else [()] * 5
    )
    follows.put(
        np.array(owner, np.int64),
        np.array(following, np.int64),
        np.array(partition, np.int64),
        np.array(value, np.float64),
        np.array(at_ms, np.int64) + AT_MS,
    )


def add(follows: Follows, told: list[Cell]) -> None:
    owner, following, _, value, at_ms = zip(*told, strict=True) if told else [()] * 5
    follows.add(
        np.array(owner, np.int64),
        np.array(following, np.int64),
        np.array(value, np.float64),
        np.array(at_ms, np.int64) + AT_MS,
    )


def read(follows: Follows, *, as_of: int, owners: int = 6, rows: int = 10) -> np.ndarray:
    """Owners x rows, as of so many ms after AT_MS."""
    return follows.scatter(
        Past.of(np.arange(owners)[:, None], np.ones((owners, 1), np.float32)),
        rows=rows,
        as_of_ms_U=np.full(owners, AT_MS + as_of),
    )


def decayed(value: float, at_ms: int, as_of: int) -> float:
    return value * 2.0 ** ((at_ms - as_of) / HALF_MS)


@given(told=cells, cut=st.integers(0, 60), later=st.integers(0, 5_000))
def test_the_last_value_of_a_cell_counts_and_partitions_are_summed(told, cut, later):
    follows = Follows(HALF_MS, width=WIDE)
    put(follows, told[:cut])
    put(follows, told[cut:])
    last = {(o, n, p): (value, at_ms) for o, n, p, value, at_ms in told}
    want = np.zeros((6, 10))
    for (owner, following, _), (value, at_ms) in last.items():
        want[owner, following] += decayed(value, at_ms, 6_000 + later)
    assert np.allclose(read(follows, as_of=6_000 + later), want, rtol=1e-4)


@given(told=cells, cut=st.integers(0, 60))
def test_events_add_up_in_any_batching(told, cut):
    follows = Follows(HALF_MS, width=WIDE)
    add(follows, told[:cut])
    add(follows, told[cut:])
    want = np.zeros((6, 10))
    for owner, following, _, value, at_ms in told:
        want[owner, following] += decayed(value, at_ms, 6_000)
    assert np.allclose(read(follows, as_of=6_000), want, rtol=1e-4)


@given(told=cells, cuts=st.lists(st.integers(0, 60), max_size=3))
def test_a_full_owner_keeps_its_heaviest_however_they_come(told, cuts):
    """Each cell comes once: then what is kept depends on nothing but the weights."""
    once = list({(o, n, p): (o, n, p, value, at) for o, n, p, value, at in told}.values())
    follows = Follows(HALF_MS, width=3)
    for begin, end in zip([0, *sorted(cuts)], [*sorted(cuts), len(once)], strict=True):
        put(follows, once[begin:end])
    weights = defaultdict(list)
    for owner, _, _, value, at_ms in once:
        weights[owner].append(decayed(value, at_ms, 6_000))
    want = [sum(sorted(weights[owner])[-3:]) for owner in range(6)]
    assert np.allclose(read(follows, as_of=6_000).sum(axis=1), want, rtol=1e-4)


def test_of_more_than_fit_at_once_the_heaviest_are_kept():
    follows = Follows(HALF_MS, width=2)
    put(follows, [(0, n, 0, float(n), 0) for n in range(1, 8)])
    assert read(follows, as_of=0)[0].nonzero()[0].tolist() == [6, 7]


def test_a_new_cell_lighter_than_all_that_are_kept_is_let_go():
    follows = Follows(HALF_MS, width=2)
    put(follows, [(0, 1, 0, 5.0, 0), (0, 2, 0, 6.0, 0)])
    put(follows, [(0, 3, 0, 1.0, 0)])
    assert read(follows, as_of=0)[0].nonzero()[0].tolist() == [1, 2]
    put(follows, [(0, 3, 0, 5.5, 0)])
    assert read(follows, as_of=0)[0].nonzero()[0].tolist() == [2, 3]


def test_more_cells_than_a_step_takes_are_all_kept():
    told = [(owner, n, 0, 1.0 + n, 0) for owner in range(700) for n in range(10)]
    follows = Follows(HALF_MS, width=10)
    put(follows, told)
    got = read(follows, as_of=0, owners=700)
    assert np.allclose(got, np.arange(1.0, 11.0)[None])


def test_each_user_sees_the_edges_as_of_their_own_time():
    follows = Follows(HALF_MS, width=WIDE)
    put(follows, [(0, 1, 0, 8.0, 0)])
    got = follows.scatter(
        Past.of(np.zeros((4, 1), np.int64), np.ones((4, 1), np.float32)),
        rows=2,
        as_of_ms_U=AT_MS + np.array([0, 1_000, 3_000, 2_000_000]),
    )
    assert got[:, 1] == pytest.approx([8.0, 4.0, 1.0, 0.0])


@pytest.mark.parametrize("ahead", [30, 63], ids=["near", "just before a rescale"])
def test_who_asks_as_of_an_older_time_is_told_what_is_known_now(ahead):
    follows = Follows(HALF_MS, width=WIDE)
    put(follows, [(0, 1, 0, 1.0, 0)])
    put(follows, [(0, 2, 0, 3.0, 1_000 * ahead)])
    assert read(follows, as_of=-5_000)[0, 2] == pytest.approx(3.0)
    assert read(follows, as_of=500 * ahead)[0, 2] == pytest.approx(3.0)
    assert read(follows, as_of=1_000 * (ahead + 1))[0, 2] == pytest.approx(1.5)


@pytest.mark.parametrize("after", [65, 500, 100_000], ids=str)
def test_many_half_lives_later_nothing_overflows_and_the_new_counts(after):
    follows = Follows(HALF_MS, width=WIDE)
    put(follows, [(0, 1, 0, 4.0, 0), (0, 2, 0, 1.0, 0)])
    put(follows, [(0, 3, 0, 2.0, after * 1_000)])
    add(follows, [(0, 3, 0, 1.0, after * 1_000)])
    got = read(follows, as_of=after * 1_000)[0]
    assert np.isfinite(got).all()
    assert got[3] == pytest.approx(3.0)
    assert got[1] < 1e-15
    assert np.isfinite(follows.total_N).all()


def test_an_event_older_than_all_before_counts_as_old():
    follows = Follows(HALF_MS, width=WIDE)
    add(follows, [(0, 1, 0, 1.0, 6_000)])
    add(follows, [(0, 1, 0, 1.0, 0)])
    assert read(follows, as_of=6_000)[0, 1] == pytest.approx(1 + 2.0**-6)


def test_with_an_endless_half_life_nothing_fades():
    follows = Follows(float("inf"), width=WIDE)
    put(follows, [(0, 1, 0, 2.0, 0)])
    put(follows, [(0, 2, 0, 3.0, 10**12)])
    assert read(follows, as_of=0)[0, 1:3].tolist() == [2.0, 3.0]
    assert read(follows, as_of=10**12)[0, 1:3].tolist() == [2.0, 3.0]


@given(told=cells, seed=st.integers(0, 1_000))
@settings(max_examples=50)
def test_a_persons_items_are_weighed_and_missing_ones_say_nothing(told, seed):
    """-1, rows beyond what is known, and edges to rows that the caller does not have."""
    follows = Follows(HALF_MS, width=WIDE)
    put(follows, told)
    rng = np.random.default_rng(seed)
    row_UL = rng.choice([-1, 0, 1, 2, 3, 4, 5, 900_000], (3, 4))
    weight_UL = rng.random((3, 4)).astype(np.float32)
    as_of_U = AT_MS + rng.integers(6_000, 9_000, 3)
    got = follows.scatter(Past.of(row_UL, weight_UL), rows=7, as_of_ms_U=as_of_U)
    assert got.shape == (3, 7)
    assert got.dtype == np.float32
    last = {(o, n, p): (value, at_ms) for o, n, p, value, at_ms in told}
    want = np.zeros((3, 7))
    for u in range(3):
        for row, weight in zip(row_UL[u], weight_UL[u], strict=True):
            for (owner, following, _), (value, at_ms) in last.items():
                if owner == row and following < 7:
                    as_of = int(as_of_U[u]) - AT_MS
                    want[u, following] += weight * decayed(value, at_ms, as_of)
    assert np.allclose(got, want, rtol=1e-4, atol=1e-6)


def test_a_share_does_not_reward_an_owner_for_being_followed_often():
    follows = Follows(HALF_MS, width=WIDE)
    put(follows, [(0, 1, 0, 1_000.0, 0), (2, 3, 0, 1_000.0, 0), (2, 4, 0, 9_000.0, 0)])
    got = follows.scatter(
        Past.of(np.array([[0], [2]]), np.ones((2, 1), np.float32)),
        rows=5,
        as_of_ms_U=np.full(2, AT_MS),
        share=True,
    )
    assert got[0, 1] > got[1, 3] > 0
    total = np.array([1_000.0, 10_000.0])
    assert [got[0, 1], got[1, 3]] == pytest.approx((1_000 * (total + 20) ** -0.7).tolist())


def test_a_share_is_of_the_sum_as_of_the_users_time():
    follows = Follows(HALF_MS, width=WIDE)
    put(follows, [(0, 1, 0, 64.0, 0), (0, 2, 0, 64.0, 0)])
    (got,) = follows.scatter(
        Past.of(np.array([[0]]), np.ones((1, 1), np.float32)),
        rows=3, as_of_ms_U=np.array([AT_MS + 4_000]), share=True,
    )  # fmt: skip
    assert got[1] == pytest.approx(4 * (8 + 20) ** -0.7)


@pytest.mark.parametrize("users", [0, 2])
@pytest.mark.parametrize("rows", [0, 3])
@pytest.mark.parametrize("past", [0, 2])
def test_nobody_nothing_and_no_items_have_the_right_shape(users, rows, past):
    for follows in (Follows(HALF_MS), Follows(HALF_MS, width=2)):
        put(follows, [])
        add(follows, [])
        if follows.width == 2:
            put(follows, [(0, 1, 0, 1.0, 0)])
        got = follows.scatter(
            Past.of(np.zeros((users, past), np.int64), np.ones((users, past), np.float32)),
            rows=rows, as_of_ms_U=np.full(users, AT_MS), share=True,
        )  # fmt: skip
        assert got.shape == (users, rows)
        assert got.dtype == np.float32


def test_what_was_learned_is_fixed_with_its_signs():
    follows = Follows.fixed(
        np.array([3, 1]),
        np.array([[1, -1], [3, 0]]),
        np.array([[0.5, 0.0], [-0.25, 2.0]], np.float32),
    )
    got = read(follows, as_of=10**12, owners=5, rows=4)
    assert got[3].tolist() == [0, 0.5, 0, 0]
    assert got[1].tolist() == [2.0, 0, 0, -0.25]
    assert not got[[0, 2, 4]].any()


def test_of_many_rows_what_was_learned_says_the_same_as_of_few():
    """Few are kept as a matrix, many as lists of edges."""
    rng = np.random.default_rng(2)
    to_XK = np.stack([rng.choice(50, 8, replace=False) for _ in range(50)]) - 1
    weight_XK = np.where(to_XK >= 0, rng.normal(size=to_XK.shape), 0).astype(np.float32)
    few = Follows.fixed(np.arange(50), to_XK, weight_XK)
    many = Follows.fixed(
        np.append(np.arange(50), 5_000),
        np.concatenate([to_XK, np.full((1, 8), -1)]),
        np.concatenate([weight_XK, np.zeros((1, 8), np.float32)]),
    )
    row_UL = rng.choice([-1, 3, 7, 49, 50, 4_999], (6, 5))
    weight_UL = rng.random((6, 5)).astype(np.float32)
    for rows in (0, 20, 50, 70):
        both = [
            f.scatter(Past.of(row_UL, weight_UL), rows=rows, as_of_ms_U=np.full(6, AT_MS))
            for f in (few, many)
        ]
        assert both[0].shape == both[1].shape == (6, rows)
        assert np.allclose(*both, atol=1e-5)
    assert few.dense_NR.numel()
    assert not many.dense_NR.numel()


@settings(deadline=None, max_examples=50)
@given(told=cells, cuts=st.lists(st.integers(0, 60), max_size=4), later=st.integers(0, 400))
def test_as_a_matrix_edges_say_the_same_after_every_change(told, cuts, later):
    """Also where all are rescaled, and where items come that were not there before."""
    matrix, lists = Follows(HALF_MS, width=4), Follows(HALF_MS, width=4)
    told = [*told, (1, 2, 0, 3.0, int(later * HALF_MS))]
    begin = 0
    for cut in [*sorted(cuts), len(told)]:
        for follows in (matrix, lists):
            put(follows, told[begin:cut])
        begin = max(begin, cut)
        for rows in (7, 10):
            with pytest.MonkeyPatch.context() as patch:
                said = read(matrix, as_of=500, rows=rows)
                patch.setattr("ranking.follows._DENSE", 0)
                assert np.allclose(said, read(lists, as_of=500, rows=rows), rtol=1e-5)


def test_more_users_than_are_summed_at_once_have_their_own_sums(monkeypatch):
    follows = Follows(HALF_MS, width=4)
    put(follows, [(o, n, 0, 1.0 + o + n, 0) for o in range(6) for n in range(4)])
    monkeypatch.setattr("ranking.follows._DENSE", 0)
    whole = read(follows, as_of=0)
    monkeypatch.setattr("ranking.follows._CELLS", 8)
    assert np.array_equal(read(follows, as_of=0), whole)
