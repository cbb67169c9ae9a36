"""The resident matrix on its own, and the change over to a larger index."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ranking.index import Ask, IndexedItem
from ranking.resident import ResidentIndex
from ranking.rows import HashRows
from workers.ports import TransientError
from workers.stores import SwitchingIndex

WIDTH = 4
NOBODY = np.zeros(0, np.uint64)


def item(name: int, *values: float) -> IndexedItem:
    vector = np.array((*values, 0.0, 0.0, 0.0, 0.0)[:WIDTH], np.float32)
    return IndexedItem(hash=name, vector=vector)


def ask(*values: float, lists: int = 1) -> Ask:
    return Ask(
        vector_UD=np.stack([item(1, *values).vector] * lists),
        as_of_ms_U=np.zeros(lists, np.int64),
        category_U=[""] * lists,
        exclude_U=[NOBODY] * lists,
    )


# Few low bits, so that names meet in one slot; the ends of the range too.
NAMES = st.sampled_from(
    [1, 2, 1025, 2049, 4097, 2**63, 2**63 + 1024, 2**64 - 1, 2**64 - 1024]
)


@given(st.lists(st.dictionaries(NAMES, st.integers(-1, 50), max_size=6), max_size=12))
def test_rows_are_found_where_they_were_placed_last(steps: list[dict[int, int]]) -> None:
    rows, expected = HashRows(), dict[int, int]()
    for step in steps:
        rows.place(np.array(list(step), np.uint64), np.array(list(step.values()), np.int64))
        expected |= step
    asked = [0, 3, 1, 2, 1025, 2049, 4097, 2**63, 2**63 + 1024, 2**64 - 1, 2**64 - 1024]
    found = rows.find(np.array(asked, np.uint64))
    assert found.tolist() == [expected.get(name, -1) for name in asked]


def test_rows_are_found_after_growing_and_forgetting() -> None:
    rows, all_E = HashRows(), np.arange(1, 20_001, dtype=np.uint64)
    for start in range(0, 20_000, 1_000):
        part_E = all_E[start : start + 1_000]
        rows.place(part_E, part_E.astype(np.int64))
        rows.place(part_E[::2], np.full(500, -1))
    found = rows.find(all_E)
    assert (found[::2] == -1).all()
    assert (found[1::2] == all_E[1::2]).all()


def test_of_equals_at_the_edge_of_a_list_the_lowest_hashes_are_taken() -> None:
    index = ResidentIndex(WIDTH)
    names = np.random.default_rng(1).permutation(np.arange(1, 501)).tolist()
    index.put([item(name, 1.0) for name in names] + [item(1_000, 2.0), item(2_000, 0.5)])
    for lists in (1, 3):
        found = index.search(ask(1.0, lists=lists), limit=6)
        assert found.hash_UK.tolist() == [[1_000, 1, 2, 3, 4, 5]] * lists


def test_lists_that_do_not_fit_at_once_are_answered_in_turns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chance = np.random.default_rng(2)
    index = ResidentIndex(WIDTH)
    index.put([item(n + 1, *chance.standard_normal(4).tolist()) for n in range(100)])
    many = Ask(
        vector_UD=chance.standard_normal((30, WIDTH)).astype(np.float32),
        as_of_ms_U=np.zeros(30, np.int64),
        category_U=[""] * 30,
        exclude_U=[NOBODY] * 30,
    )
    at_once = index.search(many, limit=5)
    monkeypatch.setattr("ranking.resident.CELLS", 700)
    np.testing.assert_array_equal(index.search(many, limit=5).hash_UK, at_once.hash_UK)


@pytest.mark.parametrize(
    "vector", [np.ones(3), np.full(WIDTH, np.nan), np.full(WIDTH, np.inf)]
)
def test_a_vector_that_cannot_be_compared_is_refused_and_changes_nothing(
    vector: np.ndarray,
) -> None:
    index = ResidentIndex(WIDTH)
    index.put([item(5, 1.0)])
    with pytest.raises(ValueError, match=f"width {WIDTH}"):
        index.put([IndexedItem(hash=5, vector=vector.astype(np.float32))])
    assert index.search(ask(1.0), limit=2).hash_UK.tolist() == [[5, 0]]


def test_all_items_move_over_when_there_are_too_many() -> None:
    larger = ResidentIndex(WIDTH)
    index = SwitchingIndex(ResidentIndex(WIDTH), limit=3, larger=lambda: larger)
    index.put([item(n, float(n)) for n in (1, 2, 3)])
    assert (len(index), len(larger)) == (3, 0)
    index.put([item(4, 4.0)])
    assert (len(index), len(larger)) == (4, 4)
    index.remove([4])
    assert index.search(ask(1.0), limit=2).hash_UK.tolist() == [[3, 2]]


def test_what_left_before_the_move_leaves_the_larger_index_too() -> None:
    larger = ResidentIndex(WIDTH)
    larger.put([item(7, 7.0), item(8, 8.0)])
    index = SwitchingIndex(ResidentIndex(WIDTH), limit=2, larger=lambda: larger)
    index.remove([7, 8])
    index.put([item(8, 8.0), item(1, 1.0), item(2, 2.0)])
    assert larger.vectors(np.array([7, 8, 1], np.uint64))[1].tolist() == [False, True, True]


def test_a_move_cut_short_is_made_by_the_next_put() -> None:
    larger, reachable = ResidentIndex(WIDTH), list[bool]()

    def opened() -> ResidentIndex:
        if not reachable:
            raise TransientError("down")
        return larger

    index = SwitchingIndex(ResidentIndex(WIDTH), limit=2, larger=opened)
    with pytest.raises(TransientError):
        index.put([item(n, float(n)) for n in (1, 2, 3)])
    assert index.search(ask(1.0), limit=1).hash_UK.tolist() == [[3]]
    reachable.append(True)
    index.put([item(4, 4.0)])
    assert (len(index), len(larger)) == (4, 4)
