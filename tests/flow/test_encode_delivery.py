"""Encode delivers: what fails, dies, waits or changes hands, and what may be relied on."""

import pytest
from msgspec.structs import replace

from schemas import Item, MediaRef
from tests.support.media_server import media_server
from tests.support.producers import HIGH, RED, ask, inline, put, reasons, say, upload
from tests.support.waiting import wait_for
from tests.support.workshop import TOPICS, Workshop, settled, wait_for_threads
from workers.ports import TransientError

pytestmark = pytest.mark.models


def test_nothing_is_committed_that_was_not_acknowledged(shop):
    put(shop)
    with shop.worker() as worker:
        worker.sink.failures.extend([TransientError("away")] * 3)
        shop.turn(worker, until=lambda: len(worker.sink.failures) == 1)
        assert not any(worker.source.committed(shop.log.numbers([TOPICS.items])).values())
        assert shop.items() == {}
        assert not worker.health.ready().body["conditions"]["log"]["ok"]
        shop.turn(worker, until=lambda: settled(worker))
    assert set(shop.items()["i1"].slots) == {"text"}
    assert shop.seen("text") == 1


def test_a_worker_that_dies_before_the_commit_is_followed_by_one_that_does_it_again(shop):
    for n in range(5):
        put(shop, f"i{n}", title=f"Film {n}")
        say(shop, f"e{n}", f"u{n}", text=f"word {n}")
    with shop.worker() as worker:
        shop.turn(worker, until=lambda: worker.encoding is not None)
    shop.drain()
    items, signals = shop.items(), shop.signals()
    again = Workshop({n: c.inner for n, c in shop.encoders.items()})
    for n in range(5):
        put(again, f"i{n}", title=f"Film {n}")
        say(again, f"e{n}", f"u{n}", text=f"word {n}")
    again.drain()
    assert {i: set(v.slots) for i, v in items.items()} == {
        i: set(v.slots) for i, v in again.items().items()
    }
    assert set(signals) == set(again.signals())


def test_slots_survive_a_restart(shop):
    put(shop, media=[inline("image", RED)])
    shop.drain()
    upload(shop, "audio", HIGH)
    shop.drain()
    assert set(shop.items()["i1"].slots) == {"text", "image", "audio"}
    assert shop.seen("image") == 1


def test_slots_survive_compaction_and_a_change_of_owner(shop):
    for n in range(9):
        put(shop, f"i{n}", media=[inline("image", RED)])
    shop.drain(name="one")
    shop.log.compact(TOPICS.item_vectors)
    with shop.worker("two") as two, shop.worker("one") as one:
        for n in range(9):
            upload(shop, "audio", HIGH, item_id=f"i{n}")

        def both_settled() -> bool:
            for worker in (one, two):
                turns = iter(range(3))
                shop.turn(worker, until=lambda turns=turns: next(turns, None) is None)
            return settled(one) and settled(two)

        wait_for(both_settled, limit_s=60.0)
        assert {*one.shelf.items} | {*two.shelf.items} == {0, 1, 2}
        assert not {*one.shelf.items} & {*two.shelf.items}
    assert all(set(i.slots) == {"text", "image", "audio"} for i in shop.items().values())


def test_a_partition_that_is_lost_takes_what_was_under_way_with_it(shop):
    put(shop)
    with shop.worker() as worker:
        shop.turn(worker, until=lambda: worker.encoding is not None)
        (number,) = (r.partition for r in shop.log.records(TOPICS.items))
        read = (TOPICS.items, TOPICS.media, TOPICS.events)
        worker.source.revoke((topic, number) for topic in read)
        shop.turn(worker, until=lambda: worker.encoding is None)
        assert worker.shelf.items.get(number) is None
        assert worker.pending == set()
    assert shop.items() == {}


def test_a_slow_server_holds_up_its_record_and_the_commit_behind_it_and_nobody_else(
    encoders,
):
    with media_server() as server:
        shop = Workshop(encoders, allow=[server.url], tries=1)
        put(shop, media=[MediaRef(kind="image", uri=f"{server.url}/silent")])
        at = (TOPICS.items, shop.log.records(TOPICS.items)[0].partition)
        with shop.worker() as worker:
            shop.turn(worker, until=lambda: bool(server.asked))
            shown = Item(item_id="i2", title="Red", media=[inline("image", RED)])
            shop.send(TOPICS.items, "i2", shown, partition=at[1])
            ask(shop, text="rainy noir")
            shop.turn(worker, until=lambda: {"i2"} == set(shop.items()) and shop.signals())
            assert list(shop.signals()) == ["q1#q"]
            assert worker.source.committed([at]).get(at, 0) == 0
            server.released.set()
            shop.turn(worker, until=lambda: settled(worker))
            assert worker.source.committed([at])[at] == 2
    assert set(shop.items()["i1"].slots) == {"text"}
    assert set(shop.items()["i2"].slots) == {"text", "image"}
    assert reasons(shop) == ["unreachable"]


def test_a_worker_that_dies_while_a_record_waits_is_followed_by_one_that_reads_it(encoders):
    with media_server() as server:
        shop = Workshop(encoders, allow=[server.url], tries=1)
        put(shop, media=[MediaRef(kind="image", uri=f"{server.url}/silent")])
        with shop.worker() as worker:
            shop.turn(worker, until=lambda: bool(worker.waiting.jobs))
            ask(shop, text="rainy noir")
            shop.turn(worker, until=lambda: bool(shop.signals()))
    shop.limits = replace(shop.limits, allow=[])
    shop.drain()
    assert set(shop.items()["i1"].slots) == {"text"}
    assert reasons(shop) == ["not_allowed"]


def test_a_worker_that_was_away_for_longer_than_its_session_asks_before_it_writes(shop):
    put(shop)
    with shop.worker() as worker:
        shop.turn(worker, until=lambda: worker.encoding is not None)
        worker.session_s = 0.0
        wait_for_threads(worker)
        turns = iter(range(5))
        shop.turn(worker, until=lambda: next(turns, None) is None)
        assert shop.items() == {}
        worker.session_s = 60.0
        shop.turn(worker, until=lambda: settled(worker))
    assert set(shop.items()["i1"].slots) == {"text"}


def test_no_more_than_three_batches_are_under_way_and_one_waits(encoders):
    with media_server() as server:
        shop = Workshop(encoders, allow=[server.url], tries=1)
        for n in range(40):
            put(shop, f"i{n}", media=[MediaRef(kind="image", uri=f"{server.url}/silent")])
        with shop.worker(batch=4) as worker:
            shop.turn(worker, until=lambda: bool(worker.waiting.jobs))
            shop.turn(worker, until=lambda: len(worker.gathered.jobs) >= 4)
            worker.patient_until_s = 0.0
            turns = iter(range(10))
            shop.turn(worker, until=lambda: next(turns, None) is None)
            assert len(worker.gathered.jobs) == 4
            assert worker.preparing is not None
            assert len(worker.waiting.jobs) == 4
            server.released.set()
            shop.turn(worker, until=lambda: settled(worker))
    assert len(shop.items()) == 40
