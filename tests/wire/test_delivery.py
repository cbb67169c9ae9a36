"""Effectively once, on real Kafka: workers killed, stopped and joined by others under load."""

from __future__ import annotations

import random
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from encoders.law import Law, hash64
from encoders.persist import loads
from schemas import Event, Interaction, Undo
from tests.support.oracle import oracle
from tests.support.spine import WIDTH, Reader, Spine, reading, spine
from tests.support.waiting import wait_for
from workers.laptop_kafka import Broker
from workers.ports import UserStore, point_id_of
from workers.stores import open_user_store

pytestmark = [pytest.mark.wire, pytest.mark.timeout(300)]
NOW = 1_764_000_000_000
ITEMS = [f"i{n}" for n in range(60)]


@pytest.fixture
def house(broker: Broker, topic_prefix: str, tmp_path: Path) -> Iterator[Spine]:
    with spine(broker.bootstrap, topic_prefix, tmp_path) as made:
        made.catalogue(ITEMS)
        yield made


def history(start: int, count: int, users: int = 40, seed: int = 0) -> list[Event]:
    """Clicks, ratings and some undos of many users, late ones among them."""
    random_ = random.Random(seed + start)
    out: list[Event] = []
    for n in range(start, start + count):
        user = f"u{random_.randrange(users)}"
        at_ms = NOW + n * 1_000 - random_.randrange(40_000)
        earlier = [e for e in out if isinstance(e, Interaction) and e.user_id == user]
        if earlier and random_.random() < 0.08:
            undoes = random_.choice(earlier).event_id
            out.append(Undo(event_id=f"e{n}", user_id=user, undoes=undoes, at_ms=at_ms))
            continue
        kind: Any = random_.choice(["view", "click", "purchase", "rating", "hide"])
        value = float(random_.randrange(1, 6)) if kind == "rating" else None
        out.append(
            Interaction(
                event_id=f"e{n}", user_id=user, item_id=random_.choice(ITEMS), kind=kind,
                at_ms=at_ms, value=value,
            )
        )  # fmt: skip
    return out


def assert_answered_once(reader: Reader, events: list[Event]) -> None:
    reader.until([e.event_id for e in events], limit_s=120)
    reader.settle()
    doubled = {event: n for event, n in reader.named.items() if n > 1}
    assert not doubled


def assert_users_are_lawful(store: UserStore, events: list[Event]) -> None:
    law = Law()
    for user_id in {e.user_id for e in events}:
        mine = [e for e in events if e.user_id == user_id]
        expected = oracle(mine, law)
        stored = store.load([point_id_of(user_id)])[point_id_of(user_id)]
        state = loads(stored.state, law=law, applied=stored.applied.offset)
        assert set(state.seen_items().tolist()) == expected.seen, user_id
        assert state.as_of_ms == expected.as_of_ms
        assert_masses(state, expected.mass, law)


def assert_masses(state: Any, expected: dict[int, float], law: Law) -> None:
    at = [(ref - state.as_of_ms) / hl for ref, hl in zip(state.ref_ms, law.half_life_ms, strict=True)]
    for name, slot in state.slot_of.items():
        mass = sum(
            float(state.total[slot, c]) * 2.0 ** at[c] for c in range(3) if state.total[slot, c]
        )
        assert mass == pytest.approx(expected.get(name, 0.0), abs=1e-5), name
    assert {n for n, m in expected.items() if abs(m) > 1e-5} <= state.slot_of.keys()


def test_a_worker_killed_three_times_loses_and_doubles_nothing(house):
    worker = house.start("recommend")
    worker.wait_ready()
    sent: list[Event] = []
    with reading(house) as reader:
        for round_ in range(3):
            batch = history(len(sent), 400)
            sent += batch
            house.send(*batch[:250])
            reader.until([batch[60].event_id])  # in the middle of the work
            worker.kill()
            house.send(*batch[250:])
            worker = house.start("recommend")
            assert round_ >= 0
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
    touched = {hash64(user) for user in {e.user_id for e in sent}}
    assert len(touched) == 40
    wait_for(lambda: one.child.poll() is None and two.child.poll() is None, limit_s=5)
