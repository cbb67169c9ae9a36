"""Effectively once, on real Kafka: workers killed, stopped and joined by others under load."""

from __future__ import annotations

import signal
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
from tests.support.spine import WIDTH, Spine, reading, spine
from workers.laptop_kafka import Broker
from workers.stores import open_user_store

pytestmark = [pytest.mark.wire, pytest.mark.fault, pytest.mark.timeout(300)]


@pytest.fixture
def house(broker: Broker, topic_prefix: str, tmp_path: Path) -> Iterator[Spine]:
    with spine(broker.bootstrap, topic_prefix, tmp_path) as made:
        made.catalogue(ITEMS)
        yield made


def test_a_worker_killed_three_times_loses_and_doubles_nothing(house):
    worker = house.start("recommend")
    worker.wait_ready()
    sent: list[Event] = []
    with reading(house) as reader:
        for _ in range(3):
            batch = history(len(sent), 400)
            sent += batch
            house.send(*batch[:250])
            reader.until([batch[60].event_id])  # in the middle of the work
            worker.kill()
            house.send(*batch[250:])
            worker = house.start("recommend")
        house.flush()
        assert_answered_once(reader, sent)
    worker.wait_ready()
    assert worker.stop() == 0
    store = open_user_store(house.config, width=WIDTH)
    try:
        assert_users_are_lawful(store, sent)
    finally:
        store.close()


def test_a_stopped_worker_wakes_up_fenced_and_changes_nothing(house):
    first = house.start("recommend", "one")
    first.wait_ready()
    with reading(house) as reader:
        before = history(0, 120)
        house.send(*before)
        reader.until([e.event_id for e in before])
        first.signal(signal.SIGSTOP)
        second = house.start("recommend", "two")
        after = history(120, 120)
        house.send(*after)
        house.flush()
        reader.until([e.event_id for e in after], limit_s=90)
        first.signal(signal.SIGCONT)
        more = history(240, 120)
        house.send(*more)
        house.flush()
        assert_answered_once(reader, [*before, *after, *more])
    assert second.stop() == 0
    assert first.child.poll() in (None, 0, 1, 75)


def test_two_workers_join_and_leave_and_each_event_has_one_list(house):
    one = house.start("recommend", "one")
    one.wait_ready()
    sent: list[Event] = []

    def some(count: int = 150) -> None:
        batch = history(len(sent), count)
        sent.extend(batch)
        house.send(*batch)
        house.flush()

    with reading(house) as reader:
        some()
        two = house.start("recommend", "two")
        two.wait_ready()
        some()
        reader.until([e.event_id for e in sent])
        assert one.stop() == 0
        some()
        reader.until([e.event_id for e in sent], limit_s=90)
        one = house.start("recommend", "one")
        one.wait_ready()
        some()
        assert_answered_once(reader, sent)
    assert one.child.poll() is None
    assert two.child.poll() is None
