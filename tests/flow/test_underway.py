"""A batch on its way out while the next one is made: what may stand on it, and what may not."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

import pytest

from tests.support.house import EVENTS, House, click, named
from workers.member import Worker
from workers.memory_log import murmur2_partition
from workers.outbox import Outbox
from workers.ports import FatalError, Restarted, TransientError, point_id_of


class Late(Executor):
    """Does what it is given only when somebody waits for it: the slowest broker there is."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        return _Asked(lambda: fn(*args, **kwargs))


class _Asked(Future[Any]):
    def __init__(self, work: Callable[[], Any]) -> None:
        super().__init__()
        self.work = work

    def result(self, timeout: float | None = None) -> Any:
        self._do()
        return super().result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        self._do()
        return super().exception(timeout)

    def _do(self) -> None:
        if not self.done():
            try:
                self.set_result(self.work())
            except Exception as error:  # noqa: BLE001  # as the thread of a real one does
                self.set_exception(error)


def hired(house: House, name: str = "w", *, save_every_s: float = 1e9) -> Worker:
    """A worker whose batches wait, ready and with nothing to do."""
    worker = house.hire(name, save_every_s=save_every_s)
    worker.outbox.beside = Late()
    house.turn(worker, 2)
    worker.save_at_s = 1e12 if save_every_s > 1e6 else 0.0
    return worker


@pytest.fixture
def house() -> House:
    house = House()
    for n in range(12):
        house.item(f"i{n}")
    return house


def stored(house: House, user: str) -> Any:
    return house.store.load([point_id_of(user)]).get(point_id_of(user))


def test_the_next_batch_is_made_before_the_one_before_is_out(house: House) -> None:
    worker = hired(house)
    house.tell(click("e1"))
    house.crash(worker, 1)
    assert worker.users.held["ann"].state.size == 1
    assert not house.slates(), "nobody has waited for it"
    house.tell(click("e2", item="i2"))
    house.crash(worker, 1)
    assert worker.users.held["ann"].state.size == 2
    assert named(house.slates()) == ["e1"]
    house.turn(worker, 1)
    assert named(house.slates()) == ["e1", "e2"]


def test_nobody_is_saved_before_their_list_is_out(house: House) -> None:
    worker = hired(house)
    house.tell(click("e1"))
    house.crash(worker, 1)
    assert stored(house, "ann") is None
    seen: list[Any] = []
    save = house.store.save
    house.store.save = lambda users: (seen.append(named(house.slates())), save(users))[1]  # type: ignore[func-returns-value, method-assign]
    worker.save_at_s = 0.0
    house.tell(click("e2", item="i2"))
    house.crash(worker, 1)
    assert seen == [["e1", "e2"]], "both lists stand before the users"
    assert stored(house, "ann").applied.offset == 1


def test_who_dies_with_a_batch_under_way_has_it_answered_by_the_next(house: House) -> None:
    worker = hired(house)
    house.tell(click("e1"), click("e2", user="bob"))
    house.crash(worker, 1)
    house.turn(house.hire(), 6)
    assert sorted(named(house.slates())) == ["e1", "e2"]


@pytest.mark.parametrize("error", [TransientError, Restarted])
def test_what_was_made_upon_a_batch_that_failed_is_made_again(
    house: House, error: type[Exception]
) -> None:
    worker = hired(house)
    number = murmur2_partition(b"ann", 3)
    said = (
        Restarted("rolled back", frozenset({(EVENTS, number)}))
        if error is Restarted
        else TransientError("away")
    )
    worker.outbox.sink.failures.append(said)  # type: ignore[attr-defined]
    others = [f"u{n}" for n in range(9)]
    house.tell(click("e1"))
    house.crash(worker, 1)
    house.tell(*(click(f"f{u}", user=u) for u in others), click("e2", item="i2"))
    house.turn(worker, 8)
    expected = sorted(["e1", "e2", *(f"f{u}" for u in others)])
    assert sorted(named(house.slates())) == expected
    assert worker.users.held["ann"].state.size == 2
    house.turn(house.hire(), 6)
    assert sorted(named(house.slates())) == expected


def test_a_partition_that_went_while_its_batch_failed_is_not_taken_up_again(
    house: House,
) -> None:
    worker = hired(house)
    house.tell(click("e1"), *(click(f"f{n}", user=f"u{n}") for n in range(9)))
    house.crash(worker, 1)
    number = murmur2_partition(b"ann", 3)
    worker.source.revoke([(EVENTS, number)])  # type: ignore[attr-defined]
    house.crash(worker, 3)
    assert set(worker.users.owned) == {0, 1, 2} - {number}
    assert not worker.pending
    worker.source.assign([(EVENTS, number)])  # type: ignore[attr-defined]
    house.turn(worker, 6)
    assert sorted(named(house.slates())) == ["e1", *(f"f{n}" for n in range(9))]


def test_who_is_fenced_stops_at_the_next_batch(house: House) -> None:
    worker = hired(house)
    worker.outbox.sink.failures.append(FatalError("fenced"))  # type: ignore[attr-defined]
    house.tell(click("e1"))
    house.crash(worker, 1)
    with pytest.raises(FatalError, match="fenced"):
        house.turn(worker, 2)
    assert stored(house, "ann") is None


def test_of_two_batches_none_is_begun_before_the_other_is_settled() -> None:
    sent: list[int] = []

    class Noting:
        def publish(self, outbound: Any, next_offsets: Any) -> None:
            sent.append(len(outbound))

    outbox = Outbox(Noting(), Late())
    outbox.send([], {}, partitions=frozenset(), done=lambda: sent.append(-1))
    assert sent == []
    assert outbox.wait()
    assert sent == [0, -1]
    outbox.settle()
    outbox.settle()
    assert sent == [0, -1]
