"""Stores that are slow, failing, killed, put back or opened twice."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.contract.test_user_stores import WIDTH, offsets, same, user
from tests.support.kafka import free_port
from tests.support.stores import ROOT, EdgeServer, running_edge_server
from workers.edge import EdgeItemIndex, EdgeUserStore
from workers.points import portions, thresholds
from workers.ports import (
    Applied,
    Ask,
    FatalError,
    IndexedItem,
    Progress,
    TransientError,
    UserStore,
    point_id_of,
)
from workers.qdrant import QdrantItemIndex, QdrantUserStore

AT_1 = Progress(topic_id="t", partition=0, offset=1, writer="w", turn=1)
ASK = Ask(
    vector_UD=np.ones((1, WIDTH), np.float32),
    as_of_ms_U=np.zeros(1, np.int64),
    category_U=[""],
    exclude_U=[np.zeros(0, np.uint64)],
)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EdgeServer]:
    """A server that the test may break."""
    with running_edge_server(tmp_path) as running:
        yield running


@pytest.fixture
def store(server: EdgeServer) -> Iterator[QdrantUserStore]:
    with closing(QdrantUserStore(server.url, width=WIDTH, timeout_s=1)) as opened:
        yield opened


def every_call(store: UserStore) -> dict[str, Callable[[], object]]:
    return {
        "load": lambda: store.load([point_id_of("ann")]),
        "save": lambda: store.save([user("ann", 5)]),
        "progress": lambda: store.progress([0]),
        "advance": lambda: store.advance([AT_1]),
    }


def assert_each_is_transient(calls: dict[str, Callable[[], object]]) -> None:
    for name, call in calls.items():
        with pytest.raises(TransientError):
            print(name, call())


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_server_that_fails_may_be_asked_again(
    server: EdgeServer, store: QdrantUserStore, status: int
) -> None:
    store.save([user("ann", 1)])
    server.faults(status=status)
    assert_each_is_transient(every_call(store))
    server.faults()
    assert store.save([user("ann", 2)]) == 0
    assert offsets(store, "ann") == [2]


def test_a_server_that_fails_when_it_was_done_may_be_asked_again(
    server: EdgeServer, store: QdrantUserStore
) -> None:
    store.save([user("ann", 1)])
    server.faults(status=503, after=True)
    with pytest.raises(TransientError):
        store.save([user("ann", 5)])
    server.faults()
    assert offsets(store, "ann") == [5]
    assert store.save([user("ann", 5)]) == 0


@pytest.mark.fault
def test_a_slow_server_may_be_asked_again(
    server: EdgeServer, store: QdrantUserStore
) -> None:
    store.save([user("ann", 1)])
    server.faults(delay_s=30.0)
    with pytest.raises(TransientError, match="Timeout"):
        store.load([point_id_of("ann")])
    server.faults()
    assert offsets(store, "ann") == [1]


@pytest.mark.fault
def test_a_killed_server_may_be_asked_again_and_lost_nothing_acknowledged(
    server: EdgeServer, store: QdrantUserStore
) -> None:
    store.save([user(f"u{n}", n) for n in range(200)])
    store.advance([AT_1])
    server.kill()
    assert_each_is_transient(every_call(store))
    server.start()
    assert offsets(store, "u0", "u199") == [0, 199]
    assert store.progress([0]) == {0: AT_1}
    assert store.save([user("u0", 1)]) == 0


def test_a_store_opens_while_its_server_is_down(tmp_path: Path) -> None:
    port = free_port()
    down = QdrantUserStore(f"http://127.0.0.1:{port}", width=WIDTH, timeout_s=1)
    index = QdrantItemIndex(f"http://127.0.0.1:{port}", width=WIDTH, timeout_s=1)
    calls = every_call(down) | {"search": lambda: index.search(ASK, limit=3)}
    assert_each_is_transient(calls)
    server = EdgeServer(tmp_path, port)
    server.start()
    try:
        assert down.save([user("ann", 1)]) == 0
        assert not index.search(ASK, limit=3).hash_UK.any()
    finally:
        server.kill()
        down.close()
        index.close()


def test_an_older_copy_in_its_place_is_what_is_loaded_and_can_be_caught_up(
    server: EdgeServer, store: QdrantUserStore, tmp_path: Path
) -> None:
    store.save([user("ann", 1)])
    store.advance([AT_1])
    server.snapshot(tmp_path / "copy")
    store.save([user("ann", 9), user("bob", 8)])
    store.advance([Progress(topic_id="t", partition=0, offset=10, writer="w", turn=2)])
    server.restore(tmp_path / "copy")
    assert offsets(store, "ann", "bob") == [1, None]
    assert store.progress([0]) == {0: AT_1}
    assert store.save([user("ann", 9), user("bob", 8)]) == 0
    assert offsets(store, "ann", "bob") == [9, 8]


def test_a_dropped_collection_is_made_again(
    server: EdgeServer, store: QdrantUserStore
) -> None:
    store.save([user("ann", 1)])
    httpx.delete(f"{server.url}/collections/rec_users").raise_for_status()
    with pytest.raises(TransientError, match="gone"):
        store.load([point_id_of("ann")])
    assert store.load([point_id_of("ann")]) == {}
    assert store.save([user("ann", 1)]) == 0


@pytest.mark.parametrize(
    ("status", "remedy"), [(403, "STREAMREC_QDRANT__API_KEY"), (400, "refused a call")]
)
def test_a_refusal_stops_and_says_what_to_do(
    server: EdgeServer, store: QdrantUserStore, status: int, remedy: str
) -> None:
    store.progress([0])
    server.faults(status=status)
    with pytest.raises(FatalError, match=remedy):
        store.progress([0])


@pytest.mark.parametrize("kind", ["another path", "another scheme"])
def test_what_is_no_qdrant_stops_and_names_the_setting(
    edge_server: EdgeServer, kind: str
) -> None:
    url = f"{edge_server.url}/elsewhere" if kind == "another path" else "ftp://127.0.0.1"
    with pytest.raises(FatalError, match="STREAMREC_QDRANT__URL"):
        QdrantUserStore(url, width=WIDTH).progress([0])


def test_workers_that_start_together_make_one_collection(server: EdgeServer) -> None:
    stores = [QdrantUserStore(server.url, width=WIDTH) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        refused = list(pool.map(lambda s: s.save([user("ann", 1)]), stores))
    assert refused == [0] * 8
    for store in stores:
        store.close()


def test_two_processes_that_write_at_once_leave_the_furthest(server: EdgeServer) -> None:
    writers = [_writer(server.url, seed) for seed in range(2)]
    for writer in writers:
        with writer:
            assert writer.communicate(timeout=60)[0].endswith("saved 39\n")
    furthest = [max(_offset(seed, n) for seed in range(2)) for n in range(100)]
    with closing(QdrantUserStore(server.url, width=WIDTH)) as store:
        assert offsets(store, *(f"u{n}" for n in range(100))) == furthest


def _offset(seed: int, n: int, turn: int = 39) -> int:
    return 1_000 * turn + (n * 7 + seed * 13) % 50


def _writer(where: str, seed: int) -> subprocess.Popen[str]:
    """Saves 100 users 40 times, on a server or in a folder, saying each turn before and after."""
    program = f"""
from tests.contract.test_store_faults import _offset
from tests.contract.test_user_stores import WIDTH, user
from workers.edge import EdgeUserStore
from workers.qdrant import QdrantUserStore
where = {where!r}
store = (QdrantUserStore if where.startswith("http") else EdgeUserStore)(where, width=WIDTH)
for turn in range(40):
    print("save", turn, flush=True)
    store.save([user(f"u{{n}}", _offset({seed}, n, turn)) for n in range(100)])
    print("saved", turn, flush=True)
"""
    return subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )


@pytest.mark.fault
@pytest.mark.parametrize("turn", [1, 5, 30])
def test_a_worker_killed_in_mid_save_leaves_old_or_new_users(
    folder: Path, turn: int
) -> None:
    with _writer(str(folder), seed=0) as writer:
        assert writer.stdout is not None
        while f"save {turn}\n" != writer.stdout.readline():
            pass
        writer.kill()
        said = writer.stdout.read()
    acknowledged = max([turn - 1, *(int(line.split()[1]) for line in said.splitlines()
                                    if line.startswith("saved"))])  # fmt: skip
    with closing(EdgeUserStore(folder, width=WIDTH)) as store:
        names = [f"u{n}" for n in range(100)]
        found = store.load([point_id_of(name) for name in names])
        for n, name in enumerate(names):
            held = found[point_id_of(name)]
            same(held, user(name, held.applied.offset))
            at = {_offset(0, n, saved) for saved in (acknowledged, acknowledged + 1)}
            assert held.applied.offset in at
        assert store.save([user(name, 10**6) for name in names]) == 0


@pytest.mark.fault
def test_a_folder_has_one_opener_and_a_killed_one_leaves_it_free(folder: Path) -> None:
    program = f"""
import sys
from workers.edge import EdgeUserStore
store = EdgeUserStore({str(folder)!r}, width={WIDTH})
print("open", flush=True)
sys.stdin.read()
"""
    owner = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "open\n"
        with pytest.raises(FatalError, match="STREAMREC_KAFKA__WORKER"):
            EdgeUserStore(folder, width=WIDTH)
        owner.kill()
        owner.wait(30)
    with closing(EdgeUserStore(folder, width=WIDTH)) as store:
        assert store.save([user("ann", 1)]) == 0
        with pytest.raises(FatalError, match="STREAMREC_KAFKA__WORKER"):
            EdgeUserStore(folder, width=WIDTH)


def test_users_and_items_may_share_a_folder(folder: Path) -> None:
    with closing(EdgeUserStore(folder, width=WIDTH)) as store:
        with closing(EdgeItemIndex(folder, width=2 * WIDTH)) as index:
            index.put([IndexedItem(hash=1, vector=np.ones(2 * WIDTH, np.float32))])
            store.save([user("ann", 1)])
            assert len(index) == 1
        with closing(EdgeItemIndex(folder, width=2 * WIDTH)) as index:
            assert len(index) == 1


def test_a_half_made_shard_of_a_killed_worker_is_made_again(folder: Path) -> None:
    (folder / "users.new" / "segments").mkdir(parents=True)
    with closing(EdgeUserStore(folder, width=WIDTH)) as store:
        assert store.save([user("ann", 1)]) == 0


def test_a_large_batch_goes_in_portions_that_a_server_takes() -> None:
    users = [user(f"u{n}", n) for n in range(10)]
    large = [(1 << 20) * b"x"] * 10
    batch = [
        type(one)(**{**_fields(one), "state": s})
        for one, s in zip(users, large, strict=True)
    ]
    parts = list(portions(batch, count=100, nbytes=8 << 20))
    assert [one for part in parts for one in part] == batch
    assert max(sum(len(one.state) for one in part) * 4 // 3 for part in parts) <= 8 << 20
    assert [len(part) for part in portions(users, count=4, nbytes=8 << 20)] == [4, 4, 2]


def _fields(one: object) -> dict[str, object]:
    return {name: getattr(one, name) for name in one.__slots__}  # type: ignore[attr-defined]


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 60), st.integers(0, 59)), max_size=30
    )
)
def test_conditions_never_let_a_lower_offset_pass_and_serve_everyone(
    rows: list[tuple[int, int, int]],
) -> None:
    users, stored = [], {}
    for n, (partition, offset, below) in enumerate(rows):
        users.append(user(f"u{n}", offset, partition=partition))
        if below < offset:
            known = Applied(topic_id="t", partition=partition, offset=below)
            stored[users[-1].point_id] = known
    served = []
    for threshold, group in thresholds(users, stored):
        for one in group:
            assert threshold.topic_id == one.applied.topic_id
            assert threshold.offset <= one.applied.offset
            known = stored.get(one.point_id)
            assert known is None or known.offset < threshold.offset
            served.append(one.point_id)
    assert sorted(served) == sorted(one.point_id for one in users)
