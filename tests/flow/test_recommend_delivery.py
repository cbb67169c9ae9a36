"""Recommend delivers: crashes, stores that fail, members that share, and what may be relied on."""

from typing import Any

import pytest

from encoders.law import Law
from encoders.state import new_state
from schemas import encode
from tests.support.house import DEAD, EVENTS, House, answered, click, ids, named
from tests.support.oracle import oracle
from workers.member import Worker
from workers.memory import MemoryUserStore
from workers.memory_log import murmur2_partition
from workers.ports import FatalError, Restarted, TransientError
from workers.users import Users, point_id_of


def test_another_law_does_not_start_on_an_old_store(house):
    answered(house, click("e1"))
    house.law = Law(signal_weight=2.0)
    with pytest.raises(FatalError, match="rec rebuild"):
        house.turn(house.hire(), 4)


def test_ready_means_that_the_store_has_answered(house):
    house.store = Faulty(house.store)
    worker = house.hire()
    house.tell(click("e1"))
    house.turn(worker, 6)
    assert store_is_ready(worker)
    house.store.down = True
    for _ in range(12):
        house.turn(worker, 1)
        if not store_is_ready(worker):
            break
    for _ in range(8):
        house.turn(worker, 1)
        assert not store_is_ready(worker)
    house.store.down = False
    house.turn(worker, 6)
    assert store_is_ready(worker)


def store_is_ready(worker: Worker) -> bool:
    ok: bool = worker.health.ready().body["conditions"]["store"]["ok"]
    return ok


def test_a_store_folded_again_knows_the_same_partition_for_everyone(house):
    worker = house.hire()
    for n, partition in enumerate((2, 0, 2, 1)):  # the first is right, two are strays
        house.now_ms += 1_000
        house.put(EVENTS, "ann", encode(click(f"e{n}", item=f"i{n}")), partition=partition)
        house.turn(worker, 4)
    before = stored_of(house, "ann")
    house.store = MemoryUserStore()
    house.turn(house.hire(), 12)
    after = stored_of(house, "ann")
    assert after.applied.partition == before.applied.partition == 2
    assert after.state == before.state
    assert sorted(named(house.slates())) == ["e0", "e2"]
    assert len(house.dead()) == 2


def test_after_a_crash_what_was_listed_is_folded_and_not_listed_again(house):
    worker = house.hire(save_every_s=1e9)
    house.tell(*(click(f"e{n}", item=f"i{n}") for n in range(5)))
    house.crash(worker, 6)
    house.tell(click("e9", item="i9"))
    house.turn(house.hire(), 6)
    assert sorted(named(house.slates())) == ["e0", "e1", "e2", "e3", "e4", "e9"]
    assert not set(ids(house.slates("ann")[-1])) & {f"i{n}" for n in (0, 1, 2, 3, 4, 9)}


@pytest.mark.parametrize("failure", ["publish", "search"])
def test_a_batch_that_failed_is_answered_once_all_the_same(house, failure):
    worker = house.hire()
    house.turn(worker, 2)
    if failure == "publish":
        partitions = frozenset((EVENTS, n) for n in range(3))
        worker.sink.failures.append(Restarted("rolled back", partitions))
    else:
        fail_once(worker.items.index)
    house.tell(click("e1"), click("e1"), click("e2", user="bob"))
    house.turn(worker, 8)
    assert sorted(named(house.slates())) == ["e1", "e2"]
    assert worker.users.held["ann"].state.size == 1


def test_what_is_folded_again_beside_a_batch_that_fails_is_not_forgotten(house):
    users = {
        murmur2_partition(name.encode(), 3): name for name in ("ann", "u1", "u2", "u3")
    }
    (one, ann), (other, bob) = list(users.items())[:2]
    house.tell(click("e1", user=ann))
    house.crash(house.hire(save_every_s=1e9), 4)  # listed, and not saved
    worker = house.hire()
    worker.sink.failures.append(Restarted("rolled back", frozenset({(EVENTS, other)})))
    house.tell(click("e2", user=bob))
    house.turn(worker, 8)
    house.write(EVENTS, ann, b"\xc1")  # the partition moves on, ann does not
    house.turn(worker, 4)
    assert sorted(named(house.slates())) == ["e1", "e2"]
    assert stored_of(house, ann).applied.partition == one
    assert stored_of(house, ann).applied.offset == 0


def fail_once(index: Any) -> None:
    search = type(index).search

    def failing(*_: Any, **__: Any) -> Any:
        index.search = search.__get__(index)
        raise TransientError("the index is away")

    index.search = failing


class Faulty:
    """A store that is away while `down` holds."""

    def __init__(self, store: Any) -> None:
        self.store, self.down = store, False

    def __getattr__(self, name: str) -> Any:
        if self.down:
            raise TransientError("the store is away")
        return getattr(self.store, name)


def test_while_the_store_is_away_nothing_is_lost(house):
    house.store = Faulty(house.store)
    worker = house.hire()
    house.tell(click("e1"))
    house.turn(worker, 6)
    house.store.down = True
    house.tell(click("e2"), click("e3", user="bob"))
    house.turn(worker, 6)
    assert named(house.slates()) == ["e1"]
    house.store.down = False
    house.turn(worker, 6)
    assert sorted(named(house.slates())) == ["e1", "e2", "e3"]


def stored_of(house: House, user_id: str) -> Any:
    return house.store.load([point_id_of(user_id)])[point_id_of(user_id)]


def test_a_store_put_back_to_an_older_copy_is_caught_up(house):
    worker = house.hire()
    house.tell(click("e1"))
    house.turn(worker, 6)
    older = dict(house.store.users), dict(house.store.points)
    house.tell(click("e2", item="i2"))
    house.turn(worker, 6)
    house.store.users, house.store.points = older
    house.tell(click("e3", item="i3"))
    house.turn(worker, 12)
    assert sorted(named(house.slates())) == ["e1", "e2", "e3"]
    assert stored_of(house, "ann").applied.offset == 2


def test_two_workers_share_the_partitions_and_every_event_is_named_once(house):
    one = house.hire("one")
    house.tell(*(click(f"a{n}", user=f"u{n}") for n in range(20)))
    house.turn(one, 4)
    two = house.hire("two")
    house.tell(*(click(f"b{n}", user=f"u{n}", item="i2") for n in range(20)))
    for _ in range(6):
        house.turn(one, 2)
        house.turn(two, 2)
    assert sorted(named(house.slates())) == sorted(
        [f"{x}{n}" for n in range(20) for x in "ab"]
    )
    for n in range(20):
        state = stored_of(house, f"u{n}")
        assert state.applied.offset >= 1 or n < 0


def test_a_log_that_begins_after_the_progress_point_is_refused(house):
    answered(house, click("e1"), click("e2"), click("e3"))
    number = stored_of(house, "ann").applied.partition
    house.tell(*(click(f"f{n}") for n in range(5)))
    house.log.expire((EVENTS, number), 6)
    with pytest.raises(FatalError, match="rec rebuild"):
        house.turn(house.hire(), 4)


def test_a_store_of_another_log_is_refused(house):
    answered(house, click("e1"))
    worker = house.hire()
    worker.users.topic_id = "another"
    with pytest.raises(FatalError, match="another topic"):
        house.turn(worker, 4)


def test_users_let_go_of_are_the_same_when_they_come_back(house):
    worker = house.hire()
    worker.users.cache_bytes = 1
    for n in range(6):
        house.tell(click(f"e{n}", item=f"i{n}"))
        house.turn(worker, 6)
        assert isinstance(worker.users, Users)
        assert not worker.users.held
    expected = oracle([click(f"e{n}", item=f"i{n}") for n in range(6)], worker.users.law)
    house.turn(worker, 1)
    held = worker.users.fetch({"ann": stored_of(house, "ann").applied.partition})["ann"]
    assert set(held.state.seen_items().tolist()) == expected.seen
    assert new_state(worker.users.law).size == 0


def test_dead_letters_are_not_written_twice_after_a_crash(house):
    house.write(EVENTS, "ann", b"\xc1")
    house.crash(house.hire(save_every_s=1e9), 6)
    house.turn(house.hire(), 6)
    assert len(house.log.records(DEAD)) == 1
