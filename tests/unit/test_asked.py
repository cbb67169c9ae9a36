"""What fits a question and the person at once."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ranking.asked import MOST, both, standard

ALL = np.ones((1, 6), bool)
FIT = np.array([[0.9, 0.5, 0.5, 0.4, 0.3, 0.2]], np.float32)
OWN = np.array([[-9.0, -1.0, 2.0, 8.0, 0.0, 1.0]], np.float32)


def order(
    fit: np.ndarray, own: np.ndarray, there: np.ndarray = ALL, *, share: float
) -> list:
    return np.argsort(-both(fit, own, there, share=share)[0], kind="stable").tolist()


def test_what_fits_best_by_far_is_first_though_it_is_the_last_that_the_person_would_touch():
    assert order(FIT, OWN, share=0.7)[0] == 0
    assert order(FIT, 1_000 * OWN, share=0.7)[0] == 0


def test_of_two_that_fit_equally_the_likelier_one_comes_first():
    for share in (0.1, 0.7, 0.99):
        at = order(FIT, OWN, share=share)
        assert at.index(2) < at.index(1)


def test_the_share_goes_from_the_person_alone_to_the_question_alone():
    assert order(FIT, OWN, share=0.0) == np.argsort(-OWN[0]).tolist()
    assert order(FIT, OWN, share=1.0) == [0, 1, 2, 3, 4, 5]


@given(
    fit=arrays(np.float32, (1, 6), elements=st.integers(-16, 16).map(lambda n: n / 16)),
    own=arrays(np.float32, (1, 6), elements=st.integers(-30, 30)),
    share=st.floats(0.05, 1),
    scale=st.sampled_from([0.25, 4.0]),
)
def test_units_of_a_space_and_of_a_blend_are_nothing_to_it(fit, own, share, scale):
    plain = both(fit, own, ALL, share=share)
    moved = both(scale * fit + 1, 4 * own - 8, ALL, share=share)
    assert moved == pytest.approx(plain, abs=1e-2)


@given(own=arrays(np.float32, (1, 6), elements=st.floats(-1e4, 1e4, width=32)))
def test_the_persons_part_is_bounded(own):
    told = both(np.zeros((1, 6), np.float32), own, ALL, share=0.7)
    assert (np.abs(told) <= 0.3 * MOST + 1e-9).all()


def test_what_is_not_there_counts_for_nothing_and_stands_last():
    there = np.array([[True, True, False, True, False, False]])
    odd = np.where(there, FIT, -np.inf).astype(np.float32)
    own = np.where(there, OWN, np.nan).astype(np.float32)
    told = both(odd, own, there, share=0.7)
    few = both(FIT[:, [0, 1, 3]], OWN[:, [0, 1, 3]], ALL[:, :3], share=0.7)
    assert told[there] == pytest.approx(few[0])
    assert np.isneginf(told[~there]).all()


@pytest.mark.parametrize("count", [0, 1, 6], ids=["none", "one", "all alike"])
def test_where_all_are_alike_nothing_is_said(count):
    there = np.arange(6)[None] < count
    assert not standard(np.full((1, 6), 0.3, np.float32), there).any()


def test_of_who_is_new_only_what_was_asked_counts():
    def order(known):
        told = both(FIT, OWN, ALL, share=0.5, known=np.array([[known]]))
        return np.argsort(-told[0], kind="stable").tolist()

    assert order(0.0) == np.argsort(-FIT[0], kind="stable").tolist()
    assert order(1.0) != order(0.0)
