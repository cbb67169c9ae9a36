"""What an item index promises, over every one that there is, against plain numpy."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from qdrant_client import QdrantClient

from ranking.index import NEVER_MS, Ask, Found, IndexedItem
from ranking.resident import ResidentIndex
from tests.contract.conftest import NETWORK
from workers.edge import EdgeItemIndex
from workers.ports import ItemIndex
from workers.qdrant import QdrantItemIndex
from workers.stores import SwitchingIndex

WIDTH = 16
NOW_MS = 1_764_000_000_000
EXTREMES = [1, 2, 2**32, 2**53 + 1, 2**63 - 1, 2**63, 2**63 + 1, 2**64 - 2, 2**64 - 1]


@pytest.fixture(params=["resident", "edge", "switching", *NETWORK])
def index(
    request: pytest.FixtureRequest,
    collection: str,
    folder: Path,
    dropped: ExitStack,
    url_of: Callable[[str], str],
) -> ItemIndex:
    if request.param == "resident":
        return ResidentIndex(WIDTH)
    if request.param == "edge":
        return dropped.enter_context(closing(EdgeItemIndex(folder, width=WIDTH)))
    if request.param == "switching":
        small = ResidentIndex(WIDTH)
        switching = SwitchingIndex(
            small, limit=100, larger=lambda: EdgeItemIndex(folder, width=WIDTH)
        )
        return dropped.enter_context(closing(switching))
    where = QdrantClient(":memory:") if request.param == "local" else url_of(request.param)
    network = QdrantItemIndex(where, width=WIDTH, items=collection)
    return dropped.enter_context(closing(network))


@dataclass
class Oracle:
    """The same in plain numpy, one list at a time."""

    items: dict[int, IndexedItem] = field(default_factory=dict)

    def put(self, items: list[IndexedItem]) -> None:
        self.items |= {item.hash: item for item in items}

    def remove(self, hashes: list[int]) -> None:
        for name in hashes:
            self.items.pop(name, None)

    def scores(self, ask: Ask, u: int) -> dict[int, float]:
        """Everything that may be on list u."""
        seen = set(ask.exclude_U[u].tolist())
        return {
            name: float(
                ask.vector_UD[u].astype(np.float64) @ item.vector.astype(np.float64)
            )
            for name, item in self.items.items()
            if item.available
            and item.expires_at_ms > ask.as_of_ms_U[u]
            and (not ask.category_U[u] or ask.category_U[u] in item.categories)
            and name not in seen
        }


def random_items(
    chance: np.random.Generator, hashes: NDArray[np.uint64]
) -> list[IndexedItem]:
    return [
        IndexedItem(
            hash=name,
            vector=_unit(chance.standard_normal(WIDTH)),
            categories=frozenset(
                chance.choice(["books", "film", "été", "a,b"], 2).tolist()
            ),
            available=bool(chance.random() < 0.8),
            expires_at_ms=int(chance.choice([NEVER_MS, NOW_MS, NOW_MS + 5, NOW_MS + 1000])),
        )
        for name in hashes.tolist()
    ]


def random_ask(chance: np.random.Generator, hashes: NDArray[np.uint64], lists: int) -> Ask:
    return Ask(
        vector_UD=np.stack([_unit(chance.standard_normal(WIDTH)) for _ in range(lists)]),
        as_of_ms_U=NOW_MS + chance.integers(-2, 9, lists),
        category_U=chance.choice(["", "", "books", "été", "a,b", "none"], lists).tolist(),
        exclude_U=[
            chance.choice(hashes, chance.integers(0, len(hashes) // 2 + 1))
            for _ in range(lists)
        ],
    )


def ask_for(
    *vectors: NDArray[np.float32], category: str = "", as_of_ms: int = NOW_MS
) -> Ask:
    return Ask(
        vector_UD=np.stack(vectors),
        as_of_ms_U=np.full(len(vectors), as_of_ms, np.int64),
        category_U=[category] * len(vectors),
        exclude_U=[np.zeros(0, np.uint64)] * len(vectors),
    )


def item(name: int, axis: int = 0, **more: object) -> IndexedItem:
    return replace(IndexedItem(hash=name, vector=AXES[axis]), **more)


def names(found: Found, u: int = 0) -> list[int]:
    return [name for name in found.hash_UK[u].tolist() if name]


def assert_exact(found: Found, ask: Ask, oracle: Oracle, limit: int) -> None:
    assert found.hash_UK.shape == found.score_UK.shape == (len(ask.vector_UD), limit)
    assert found.hash_UK.dtype == np.uint64
    assert found.score_UK.dtype == np.float32
    for u in range(len(ask.vector_UD)):
        allowed = oracle.scores(ask, u)
        listed = names(found, u)
        best = sorted(allowed.values(), reverse=True)[:limit]
        assert len(listed) == len(set(listed)) == len(best)
        np.testing.assert_allclose(found.score_UK[u, : len(best)], best, atol=1e-5)
        np.testing.assert_allclose([allowed[name] for name in listed], best, atol=1e-5)
        assert (found.score_UK[u, len(best) :] == -np.inf).all()
        assert not found.hash_UK[u, len(best) :].any()


def _unit(vector: NDArray[np.float64]) -> NDArray[np.float32]:
    return (vector / np.linalg.norm(vector)).astype(np.float32)


AXES = np.eye(WIDTH, dtype=np.float32)


@pytest.mark.parametrize("seed", range(3))
def test_searches_are_exact_whatever_was_put_and_removed(
    index: ItemIndex, seed: int
) -> None:
    chance, oracle = np.random.default_rng(seed), Oracle()
    hashes = np.unique(chance.integers(1, 2**64 - 1, 300, dtype=np.uint64))
    for _ in range(4):
        put = random_items(chance, chance.choice(hashes, 120))
        removed = chance.choice(hashes, 30).tolist()
        index.put(put)
        oracle.put(put)
        index.remove(removed)
        oracle.remove(removed)
        assert len(index) == len(oracle.items)
        ask = random_ask(chance, hashes, 12)
        for limit in (1, 10, 400):
            assert_exact(index.search(ask, limit=limit), ask, oracle, limit)
        vectors, known = index.vectors(hashes)
        assert known.tolist() == [name in oracle.items for name in hashes.tolist()]
        for n, name in enumerate(hashes.tolist()):
            expected = oracle.items[name].vector if known[n] else np.zeros(WIDTH)
            np.testing.assert_allclose(vectors[n], expected, atol=1e-6)


def test_a_batch_of_searches_equals_one_by_one(index: ItemIndex) -> None:
    chance = np.random.default_rng(5)
    hashes = np.unique(chance.integers(1, 2**64 - 1, 150, dtype=np.uint64))
    index.put(random_items(chance, hashes))
    ask = random_ask(chance, hashes, 20)
    batch = index.search(ask, limit=7)
    for u in range(20):
        one = Ask(
            vector_UD=ask.vector_UD[u : u + 1],
            as_of_ms_U=ask.as_of_ms_U[u : u + 1],
            category_U=ask.category_U[u : u + 1],
            exclude_U=ask.exclude_U[u : u + 1],
        )
        single = index.search(one, limit=7)
        np.testing.assert_array_equal(single.hash_UK[0], batch.hash_UK[u])
        np.testing.assert_allclose(single.score_UK[0], batch.score_UK[u], atol=1e-6)


def test_an_empty_index_finds_nothing_and_knows_nothing(index: ItemIndex) -> None:
    found = index.search(ask_for(AXES[0], AXES[1]), limit=5)
    assert found.hash_UK.tolist() == [[0] * 5] * 2
    assert (found.score_UK == -np.inf).all()
    vectors, known = index.vectors(np.array([0, 7, 2**64 - 1], np.uint64))
    assert vectors.shape == (3, WIDTH)
    assert not vectors.any()
    assert not known.any()
    assert len(index) == 0


def test_nothing_asked_is_nothing_done(index: ItemIndex) -> None:
    index.put([])
    index.remove([])
    nobody = Ask(
        vector_UD=np.zeros((0, WIDTH), np.float32),
        as_of_ms_U=np.zeros(0, np.int64), category_U=[], exclude_U=[],
    )  # fmt: skip
    assert index.search(nobody, limit=5).hash_UK.shape == (0, 5)
    vectors, known = index.vectors(np.zeros(0, np.uint64))
    assert vectors.shape == (0, WIDTH)
    assert known.shape == (0,)


def test_hashes_have_all_64_bits(index: ItemIndex) -> None:
    index.put([item(name, n) for n, name in enumerate(EXTREMES)])
    for n, name in enumerate(EXTREMES):
        assert names(index.search(ask_for(AXES[n]), limit=1)) == [name]
    everyone = np.array(EXTREMES, np.uint64)
    vectors, known = index.vectors(everyone)
    assert known.all()
    np.testing.assert_array_equal(vectors, AXES[: len(EXTREMES)])
    but_one = replace(ask_for(AXES[0]), exclude_U=[everyone[:-1]])
    assert names(index.search(but_one, limit=9)) == EXTREMES[-1:]
    index.remove(EXTREMES[:-1])
    assert names(index.search(ask_for(AXES[0]), limit=9)) == EXTREMES[-1:]


def test_what_is_excluded_is_never_found_even_alone(index: ItemIndex) -> None:
    index.put([item(5), item(6)])
    ask = replace(
        ask_for(AXES[0], AXES[0]),
        exclude_U=[np.array([5, 6, 77], np.uint64), np.array([6, 6], np.uint64)],
    )
    found = index.search(ask, limit=3)
    assert names(found, 0) == []
    assert names(found, 1) == [5]


def test_an_item_is_listed_up_to_the_moment_that_it_expires(index: ItemIndex) -> None:
    index.put([item(5, expires_at_ms=NOW_MS)])
    ask = replace(
        ask_for(AXES[0], AXES[0], AXES[0]),
        as_of_ms_U=np.array([NOW_MS - 1, NOW_MS, NOW_MS + 1], np.int64),
    )
    found = index.search(ask, limit=1)
    assert [names(found, u) for u in range(3)] == [[5], [], []]


def test_an_item_that_sells_out_goes_and_comes_back(index: ItemIndex) -> None:
    index.put([item(5)])
    index.put([item(5, available=False)])
    assert names(index.search(ask_for(AXES[0], as_of_ms=-(2**50)), limit=2)) == []
    assert index.vectors(np.array([5], np.uint64))[1].tolist() == [True]
    index.put([item(5)])
    assert names(index.search(ask_for(AXES[0]), limit=2)) == [5]


def test_a_category_shows_its_items_alone(index: ItemIndex) -> None:
    index.put([
        item(5, categories=frozenset({"books", "noir"})),
        item(6, categories=frozenset({"Books"})),
        item(7),
    ])  # fmt: skip
    for category, expected in (("books", [5]), ("noir", [5]), ("Books", [6]), ("none", [])):
        assert names(index.search(ask_for(AXES[0], category=category), limit=3)) == expected
    index.put([item(5, categories=frozenset({"noir"}))])
    assert names(index.search(ask_for(AXES[0], category="books"), limit=3)) == []
    index.remove([5])
    assert names(index.search(ask_for(AXES[0], category="noir"), limit=3)) == []


def test_an_item_put_again_has_its_new_vector_everywhere(index: ItemIndex) -> None:
    index.put([item(5, 0), item(6, 1)])
    name = np.array([5], np.uint64)
    np.testing.assert_array_equal(index.vectors(name)[0][0], AXES[0])
    index.put([item(5, 2), item(5, 3)])
    np.testing.assert_array_equal(index.vectors(name)[0][0], AXES[3])
    assert names(index.search(ask_for(AXES[3]), limit=1)) == [5]
    assert names(index.search(ask_for(AXES[1]), limit=1)) == [6]
    assert len(index) == 2


def test_a_removed_item_is_gone_and_its_place_is_used_again(index: ItemIndex) -> None:
    index.put([item(5, 0, categories=frozenset({"books"}))])
    index.vectors(np.array([5], np.uint64))
    index.remove([5, 5, 99])
    assert len(index) == 0
    assert not index.vectors(np.array([5], np.uint64))[1].any()
    index.put([item(6, 1)])
    assert names(index.search(ask_for(AXES[0]), limit=2)) == [6]
    assert names(index.search(ask_for(AXES[1], category="books"), limit=2)) == []


def test_equal_items_come_by_the_lower_hash(index: ItemIndex) -> None:
    index.put([item(name) for name in (9, 2**63 + 5, 4, 7)])
    assert names(index.search(ask_for(AXES[0]), limit=4)) == [4, 7, 9, 2**63 + 5]


def test_scores_are_dot_products_with_their_sign(index: ItemIndex) -> None:
    index.put([item(5, 0), item(6, 1)])
    found = index.search(ask_for(-2 * AXES[0]), limit=2)
    assert names(found) == [6, 5]
    np.testing.assert_allclose(found.score_UK[0], [0.0, -2.0], atol=1e-6)


@pytest.mark.parametrize("kind", ["edge", *NETWORK[1:]])
def test_a_stored_index_opens_again_as_it_was(
    kind: str,
    collection: str,
    folder: Path,
    dropped: ExitStack,
    url_of: Callable[[str], str],
) -> None:
    def opened() -> EdgeItemIndex | QdrantItemIndex:
        if kind == "edge":
            return EdgeItemIndex(folder, width=WIDTH)
        return QdrantItemIndex(url_of(kind), width=WIDTH, items=collection)

    with closing(opened()) as first:
        first.put([item(5, 0), item(6, 1)])
        first.remove([6])
    with closing(opened()) as again:
        assert len(again) == 1
        assert names(again.search(ask_for(AXES[0]), limit=3)) == [5]
