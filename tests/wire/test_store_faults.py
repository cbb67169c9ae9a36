"""A shared store that goes away, or is put back to an older copy, under running workers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas import Event
from tests.support.people import (
    ITEMS,
    assert_answered_once,
    assert_users_are_lawful,
    history,
)
from tests.support.spine import WIDTH, Process, Spine, reading, spine
from tests.support.stores import EdgeServer, running_edge_server
from tests.support.waiting import wait_for
from workers.laptop_kafka import Broker
from workers.stores import open_user_store

pytestmark = [pytest.mark.wire, pytest.mark.fault, pytest.mark.timeout(300)]
AWAY_S = 20.0


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EdgeServer]:
    with running_edge_server(tmp_path) as running:
        yield running


@pytest.fixture
def house(
    broker: Broker, topic_prefix: str, tmp_path: Path, server: EdgeServer
) -> Iterator[Spine]:
    url = {"STREAMREC_QDRANT__URL": server.url, "STREAMREC_QDRANT__TIMEOUT_S": "2"}
    with spine(broker.bootstrap, topic_prefix, tmp_path, **url) as made:
        made.catalogue(ITEMS)
        yield made


def rebalances(worker: Process) -> float:
    for line in worker.get("/metrics")[1].decode().splitlines():
        if line.startswith("streamrec_rebalances_total "):
            return float(line.split()[1])
    raise AssertionError("no streamrec_rebalances_total")


def stored_users_are_lawful(house: Spine, sent: list[Event]) -> None:
    store = open_user_store(house.config, width=WIDTH)
    try:
        assert_users_are_lawful(store, sent)
    finally:
        store.close()


def test_a_store_away_for_longer_than_the_session_loses_nothing_and_keeps_the_group(
    house, server
):
    worker = house.start("recommend")
    worker.wait_ready()
    sent: list[Event] = []
    with reading(house) as reader:
        sent += history(0, 100)
        house.send(*sent)
        reader.until([e.event_id for e in sent])
        before = rebalances(worker)
        server.kill()
        back_at = time.monotonic() + AWAY_S
        while time.monotonic() < back_at:
            more = history(len(sent), 5, users=80)  # some known, some never seen
            sent += more
            house.send(*more)
            reader.poll(0.5)
        assert worker.get("/readyz")[0] == 503
        assert worker.get("/healthz")[0] == 200
        server.start()
        sent += (last := history(len(sent), 50))
        house.send(*last)
        house.flush()
        assert_answered_once(reader, sent)
        assert rebalances(worker) == before
        wait_for(lambda: worker.get("/readyz")[0] == 200, limit_s=20, what="ready again")
    assert worker.stop() == 0
    stored_users_are_lawful(house, sent)


def test_a_store_put_back_to_an_older_copy_is_folded_up_again(house, server, tmp_path):
    worker = house.start("recommend")
    worker.wait_ready()
    sent = history(0, 150)
    with reading(house) as reader:
        house.send(*sent[:50])
        reader.until([e.event_id for e in sent[:50]])
        server.snapshot(tmp_path / "older")
        house.send(*sent[50:100])
        reader.until([e.event_id for e in sent[50:100]])
        server.restore(tmp_path / "older")
        house.send(*sent[100:])
        house.flush()
        assert_answered_once(reader, sent)
    assert worker.stop() == 0
    stored_users_are_lawful(house, sent)


def test_a_store_that_answers_503_now_and_then_costs_time_and_nothing_else(house, server):
    worker = house.start("recommend")
    worker.wait_ready()
    sent: list[Event] = []
    with reading(house) as reader:
        for faults in ({"status": 503}, {}, {"status": 503, "after": True}, {}):
            server.faults(**faults)
            batch = history(len(sent), 40, users=400)
            sent += batch
            house.send(*batch)
            house.flush()
            if not faults:
                reader.until([e.event_id for e in sent])
            else:
                wait_for(
                    lambda: worker.get("/readyz")[0] == 503,
                    limit_s=20,
                    what="the store missed",
                )
        assert_answered_once(reader, sent)
    assert worker.stop() == 0
    stored_users_are_lawful(house, sent)


def test_two_workers_share_one_store_and_take_over_without_folding_the_log_again(house):
    one, two = house.start("recommend", "one"), house.start("recommend", "two")
    one.wait_ready()
    two.wait_ready()
    sent = history(0, 200)
    with reading(house) as reader:
        house.send(*sent[:100])
        reader.until([e.event_id for e in sent[:100]])
        one.kill()
        house.send(*sent[100:])
        house.flush()
        assert_answered_once(reader, sent)
    assert two.stop() == 0
    stored_users_are_lawful(house, sent)
