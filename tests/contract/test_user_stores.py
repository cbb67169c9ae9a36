"""What a user store promises, over every one that there is."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from qdrant_client import QdrantClient

from tests.contract.conftest import NETWORK, Writers
from workers.edge import EdgeUserStore
from workers.memory import MemoryUserStore
from workers.ports import (
    Applied,
    FatalError,
    Progress,
    StoredUser,
    UserStore,
    point_id_of,
)
from workers.qdrant import QdrantUserStore

WIDTH = 8
KINDS = ["memory", "edge", *NETWORK]


@pytest.fixture(params=KINDS)
def writers(
    request: pytest.FixtureRequest,
    collection: str,
    folder: Path,
    dropped: ExitStack,
    url_of: Callable[[str], str],
) -> Writers:
    def network(where: str | QdrantClient) -> QdrantUserStore:
        store = QdrantUserStore(
            where, width=WIDTH, users=collection, progress=f"{collection}_progress"
        )
        return dropped.enter_context(closing(store))

    if request.param == "memory":
        memory = MemoryUserStore()
        return Writers(memory, memory)
    if request.param == "edge":
        edge = dropped.enter_context(closing(EdgeUserStore(folder, width=WIDTH)))
        return Writers(edge, edge)
    if request.param == "local":
        client = QdrantClient(":memory:")
        return Writers(network(client), network(client))
    url = url_of(request.param)
    return Writers(network(url), network(url))


def user(name: str, offset: int, *, partition: int = 0, topic_id: str = "t") -> StoredUser:
    """A user whose every column tells who it is and how far it is folded."""
    return StoredUser(
        point_id=point_id_of(name),
        user_id=name,
        interest=np.full(WIDTH, offset, np.float32),
        applied=Applied(topic_id=topic_id, partition=partition, offset=offset),
        as_of_ms=1_764_000_000_000 + offset,
        model="content-1",
        state=f"{name}@{offset}".encode(),
    )


def offsets(store: UserStore, *names: str) -> list[int | None]:
    found = store.load([point_id_of(name) for name in names])
    at = [found.get(point_id_of(name)) for name in names]
    return [None if held is None else held.applied.offset for held in at]


def same(found: StoredUser, saved: StoredUser) -> None:
    assert found.interest.dtype == np.float32
    np.testing.assert_array_equal(found.interest, saved.interest)
    nothing = np.zeros(0, np.float32)
    assert replace(found, interest=nothing) == replace(saved, interest=nothing)


def test_what_is_saved_is_loaded_and_what_is_not_there_is_left_out(
    writers: Writers,
) -> None:
    saved = [user("ann", 3), user("bob", 0, partition=5, topic_id="KfH2w")]
    assert writers.first.save(saved) == 0
    wanted = [point_id_of(name) for name in ("bob", "nobody", "ann", "bob")]
    found = writers.second.load(wanted)
    assert found.keys() == {point_id_of("ann"), point_id_of("bob")}
    for one in saved:
        same(found[one.point_id], one)


def test_nothing_asked_is_nothing_done(writers: Writers) -> None:
    assert writers.first.load([]) == {}
    assert writers.first.save([]) == 0
    assert writers.first.progress([]) == {}
    writers.first.advance([])


def test_a_lower_offset_is_refused_and_counted(writers: Writers) -> None:
    writers.first.save([user("ann", 10), user("bob", 10)])
    assert writers.second.save([user("ann", 9), user("bob", 11), user("cy", 1)]) == 1
    assert offsets(writers.first, "ann", "bob", "cy") == [10, 11, 1]


def test_the_same_write_again_changes_nothing_and_is_no_refusal(writers: Writers) -> None:
    batch = [user("ann", 10), user("bob", 20)]
    assert writers.first.save(batch) == 0
    assert writers.second.save(batch) == 0
    assert writers.first.save(batch) == 0
    found = writers.first.load([one.point_id for one in batch])
    for one in batch:
        same(found[one.point_id], one)


def test_a_user_is_saved_though_others_of_the_batch_are_far_behind(
    writers: Writers,
) -> None:
    """One condition a batch would refuse bob: what is stored of him is above ann's offset."""
    writers.first.save([user("bob", 500)])
    assert writers.second.save([user("ann", 100), user("bob", 900)]) == 0
    assert offsets(writers.first, "ann", "bob") == [100, 900]


def test_a_batch_needs_no_order_among_the_offsets_of_its_users(writers: Writers) -> None:
    names = [f"u{n}" for n in range(60)]
    writers.first.save([user(name, 10 * n) for n, name in enumerate(names)])
    wanted = [(name, 10 * n + n % 3 - 1) for n, name in enumerate(names) if n]
    refused = writers.second.save([user(name, offset) for name, offset in wanted])
    assert refused == sum(n % 3 == 0 for n in range(1, 60))
    expected = [max(10 * n, 10 * n + n % 3 - 1) for n in range(1, 60)]
    assert offsets(writers.first, *names[1:]) == expected


def test_of_one_user_twice_in_a_batch_the_further_stays(writers: Writers) -> None:
    writers.first.save([user("ann", 7), user("ann", 9), user("ann", 8)])
    assert offsets(writers.second, "ann") == [9]


def test_partitions_do_not_stand_in_each_others_way(writers: Writers) -> None:
    writers.first.save([user("ann", 5, partition=0), user("bob", 9_000, partition=1)])
    again = [user("ann", 6, partition=0), user("bob", 9_001, partition=1)]
    assert writers.second.save(again) == 0
    assert offsets(writers.first, "ann", "bob") == [6, 9_001]


def test_offsets_of_a_topic_made_anew_are_not_compared_with_the_old(
    writers: Writers,
) -> None:
    writers.first.save([user("ann", 5_000), user("bob", 3)])
    assert writers.second.save([user("ann", 2, topic_id="new"), user("bob", 4)]) == 0
    assert offsets(writers.first, "ann", "bob") == [2, 4]


@pytest.mark.parametrize("seed", range(3))
def test_two_writers_in_any_order_leave_the_furthest_of_each_user(
    writers: Writers, seed: int
) -> None:
    chance = np.random.default_rng(seed)
    names = [f"u{n}" for n in range(12)]
    furthest: dict[str, int] = {}
    for _ in range(25):
        writer = writers.first if chance.random() < 0.5 else writers.second
        chosen = chance.choice(names, chance.integers(1, 9), replace=False).tolist()
        batch = {name: int(chance.integers(0, 200)) for name in chosen}
        behind = sum(offset < furthest.get(name, -1) for name, offset in batch.items())
        refused = writer.save([user(name, offset) for name, offset in batch.items()])
        assert refused == behind
        for name, offset in batch.items():
            furthest[name] = max(offset, furthest.get(name, -1))
        assert offsets(writers.second, *names) == [furthest.get(name) for name in names]


def test_a_tombstone_names_nobody(writers: Writers) -> None:
    writers.first.save([user("ann", 1)])
    gone = replace(user("ann", 2), user_id=None, interest=np.zeros(WIDTH, np.float32))
    assert writers.first.save([gone]) == 0
    same(writers.second.load([gone.point_id])[gone.point_id], gone)


@pytest.mark.parametrize(
    "name", ["Zoë", "小明", "a b/c?d#e", "🙂" * 60, "'; drop--", "a.b[0]"]
)
def test_user_ids_may_be_any_text(writers: Writers, name: str) -> None:
    one = user(name, 1)
    writers.first.save([one])
    same(writers.second.load([one.point_id])[one.point_id], one)


def test_states_are_any_bytes_of_any_size(writers: Writers) -> None:
    chance = np.random.default_rng(0)
    states = [b"", bytes(range(256)), *(chance.bytes(8192) for _ in range(300))]
    batch = [replace(user(f"u{n}", n + 1), state=state) for n, state in enumerate(states)]
    assert writers.first.save(batch) == 0
    found = writers.second.load([one.point_id for one in batch])
    assert [found[one.point_id].state for one in batch] == states


def test_a_state_that_grows_and_shrinks_is_the_one_saved_last(writers: Writers) -> None:
    for offset, size in enumerate((10, 60_000, 300, 0, 9_000)):
        writers.first.save([replace(user("ann", offset), state=bytes([offset]) * size)])
        found = writers.second.load([point_id_of("ann")])[point_id_of("ann")]
        assert found.state == bytes([offset]) * size


def test_offsets_and_times_keep_all_their_digits(writers: Writers) -> None:
    one = replace(user("ann", 2**53 + 1), as_of_ms=-(2**40))
    writers.first.save([one])
    found = writers.second.load([one.point_id])[one.point_id]
    assert (found.applied.offset, found.as_of_ms) == (2**53 + 1, -(2**40))


def test_progress_comes_back_as_it_was_written(writers: Writers) -> None:
    points = [
        Progress(topic_id="t", partition=n, offset=2**40 + n, writer="worker-ß", turn=n + 1)
        for n in (0, 3, 4)
    ]
    assert writers.first.progress([0, 3]) == {}
    writers.first.advance(points)
    assert writers.second.progress([4, 0, 9]) == {0: points[0], 4: points[2]}


def test_progress_may_be_set_back_by_whoever_writes_last(writers: Writers) -> None:
    """It is a mark that is compared, not a maximum: a restored store starts lower."""
    later = Progress(topic_id="t", partition=1, offset=9, writer="a", turn=2)
    earlier = Progress(topic_id="t", partition=1, offset=4, writer="b", turn=1)
    writers.first.advance([later])
    writers.second.advance([earlier])
    assert writers.first.progress([1]) == {1: earlier}


def test_users_and_progress_are_apart(writers: Writers) -> None:
    writers.first.advance(
        [Progress(topic_id="t", partition=0, offset=1, writer="a", turn=1)]
    )
    assert writers.first.load([point_id_of("0")]) == {}
    writers.first.save([user("0", 1)])
    assert writers.first.progress([1]) == {}


@pytest.mark.parametrize("kind", ["edge", "local", "rest"])
def test_a_store_of_another_width_is_refused_with_the_remedy(
    kind: str, collection: str, folder: Path, url_of: Callable[[str], str]
) -> None:
    client = QdrantClient(":memory:")
    where = {"local": client, "rest": url_of("rest") if kind == "rest" else ""}

    def opened(width: int) -> EdgeUserStore | QdrantUserStore:
        if kind == "edge":
            return EdgeUserStore(folder, width=width)
        return QdrantUserStore(where[kind], width=width, users=collection)

    first = opened(WIDTH)
    first.save([user("ann", 1)])
    if kind != "local":  # closing the client's own engine would empty it
        first.close()
    with pytest.raises(FatalError, match="STREAMREC_QDRANT__"):
        opened(WIDTH + 1).load([point_id_of("ann")])
    again = opened(WIDTH)
    assert offsets(again, "ann") == [1]
    again.close()
