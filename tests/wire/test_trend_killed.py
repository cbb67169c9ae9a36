"""The trend worker killed three times, once without its folder, and as one of two: not one event
more or less."""

from __future__ import annotations

import os
import random
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from ranking.trend_board import TrendBoard
from ranking.trends import Trends
from schemas import Erase, Event, Interaction, Undo, decode
from tests.support.kafka import consume_all
from tests.support.spine import Process, Spine, spine
from tests.support.waiting import wait_for
from workers.laptop_kafka import Broker
from workers.ports import Record
from workers.trend_events import decoded

pytest.importorskip("faust")
pytestmark = [pytest.mark.wire, pytest.mark.fault, pytest.mark.timeout(400)]
SEED = int(os.environ.get("TREND_SEED", "1"))
EVENTS, USERS, ITEMS, AT_MS = 3_200, 40, 30, 1_764_000_000_000


@pytest.fixture
def house(broker: Broker, topic_prefix: str, tmp_path: Path) -> Iterator[Spine]:
    more = {
        "STREAMREC_TREND__SAVE_EVERY_S": "0.02",  # a kill is in the midst of one
        "STREAMREC_TREND__PUBLISH_EVERY_S": "0.01",
        "STREAMREC_TREND__BATCH": "50",
        "STREAMREC_TREND__PUBLISH_ROWS": "500",
    }
    with spine(broker.bootstrap, topic_prefix, tmp_path, **more) as made:
        yield made


def log_of(seed: int) -> list[Event]:
    """Clicks, views, likes and dislikes at times out of order; some taken back, some people
    erased, some events sent twice."""
    chance, out = random.Random(seed), list[Event]()
    for n in range(EVENTS):
        user = f"u{chance.randrange(USERS)}"
        at_ms = AT_MS + n * 2_000 - chance.randrange(3_600_000)
        told = chance.random()
        if told < 0.01:
            out.append(Erase(event_id=f"x{n}", user_id=user, at_ms=at_ms))
        elif told < 0.04 and n:
            undone = chance.choice([e for e in out[-200:] if isinstance(e, Interaction)])
            out.append(
                Undo(
                    event_id=f"z{n}",
                    user_id=undone.user_id,
                    undoes=undone.event_id,
                    at_ms=at_ms,
                )
            )
        elif told < 0.06 and n:
            out.append(chance.choice(out[-50:]))
        else:
            kind = chance.choice(["click", "click", "view", "like", "hide", "impression"])
            item = f"i{int(ITEMS * chance.random() ** 2)}"
            out.append(
                Interaction(
                    event_id=f"e{n}", user_id=user, item_id=item, kind=kind, at_ms=at_ms
                )
            )
    return out


def folded(worker: Process) -> int:
    """Events that the worker counted since it started."""
    found = re.search(
        rb'events_total\{outcome="accepted",type="interaction"\} (\d+)',
        worker.get("/metrics")[1],
    )
    return int(found[1]) if found else 0


def expected(house: Spine) -> TrendBoard:
    """A plain fold of what is in the topic."""
    board, by_partition = TrendBoard(), dict[int, list[Record]]()
    for m in consume_all(house.bootstrap, house.topic("events")):
        record = Record(
            m.topic(), m.partition(), m.offset(), m.timestamp()[1], m.key(), m.value()
        )
        by_partition.setdefault(record.partition, []).append(record)
    law = house.config.law.law()
    for number, records in by_partition.items():
        trends = Trends(number, config=house.config.trend, law=law)
        trends.apply(decoded(records, house.config, law))
        while trends.changed():
            for table in trends.drain():
                board.take(table)
    return board


def published(house: Spine) -> TrendBoard:
    """What a reader knows who begins now."""
    board = TrendBoard()
    for m in consume_all(house.bootstrap, house.topic("trends")):
        board.take(decode("trends", m.value()))
    return board


def differences(house: Spine, wanted: TrendBoard, seen: TrendBoard) -> list[str]:
    """Where the two disagree by more than 1e-6."""
    at_ms, trend = wanted.newest_ms, house.config.trend
    pairs = [
        (f"popular {s}", wanted.popular(s, at_ms=at_ms), seen.popular(s, at_ms=at_ms))
        for s in trend.half_lives_s
    ]
    for width_s in trend.windows_s:
        start = at_ms // (1000 * width_s) * 1000 * width_s
        pairs += [
            (
                f"window {width_s}",
                wanted.window(width_s, start_ms=at),
                seen.window(width_s, start_ms=at),
            )
            for at in (start, start - 1000 * width_s)
        ]
    for variant in trend.variants:
        for item in (f"i{n}" for n in range(ITEMS)):
            both = [
                b.follows(
                    variant.name, item, at_ms=at_ms, half_life_ms=variant.half_life_ms
                )
                for b in (wanted, seen)
            ]
            pairs.append((f"{variant.name} {item}", *both))
    return [
        f"{name} {key}: {one.get(key)} != {other.get(key)}"
        for name, one, other in pairs
        for key in one.keys() | other.keys()
        if abs(one.get(key, 0.0) - other.get(key, 0.0)) > 1e-6
    ]


def kill_after(worker: Process, events: int) -> None:
    """Kill it when it has counted so many, wherever it is then."""
    wait_for(lambda: folded(worker) >= events, limit_s=60, every_s=0.002)
    worker.kill()


def settle(house: Spine, worker: Process) -> None:
    """Wait until what is published is what a plain fold gives."""
    wanted = expected(house)
    assert wanted.popular(3600, at_ms=wanted.newest_ms)
    left: list[str] = []

    def equal() -> bool:
        nonlocal left
        assert worker.child.poll() is None, worker.output
        left = differences(house, wanted, published(house))
        return not left

    try:
        wait_for(equal, limit_s=60, every_s=1.0, what="the counts of a plain fold")
    except AssertionError as error:
        raise AssertionError(f"{len(left)} differ, e.g. {left[:5]}") from error


@pytest.mark.parametrize("store", ["rocksdb", "memory"])
def test_a_trend_worker_killed_three_times_counts_each_event_once(house: Spine, store: str):
    events, chance = log_of(SEED), random.Random(SEED + 1)
    part = len(events) // 4
    for quarter in range(4):
        worker = house.start("trend", STREAMREC_TREND__STORE=store)
        worker.wait_ready()
        house.send(*events[quarter * part : (quarter + 1) * part])
        house.flush()
        if quarter < 3:
            enough = chance.randrange(part // 10, part // 2)
            kill_after(worker, enough)
    settle(house, worker)
    assert worker.stop() == 0


def test_a_worker_without_its_folder_has_its_tables_back_from_the_changelog(house: Spine):
    events = log_of(3)
    half = len(events) // 2
    worker = house.start("trend")
    worker.wait_ready()
    house.send(*events[:half])
    house.flush()
    kill_after(worker, half // 3)
    folder = house.folder / "var/trend"
    assert list(folder.rglob("*.db"))
    shutil.rmtree(folder)
    house.send(*events[half:])
    house.flush()
    worker = house.start("trend")
    settle(house, worker)
    assert worker.stop() == 0


def test_of_two_trend_workers_one_is_killed_and_the_other_counts_its_events_once(
    house: Spine,
):
    events = log_of(SEED + 4)
    half = len(events) // 2
    workers = [house.start("trend", name) for name in ("worker-0", "worker-1")]
    for worker in workers:
        worker.wait_ready()
    house.send(*events[:half])
    house.flush()
    wait_for(lambda: folded(workers[1]), limit_s=60, what="events of the other's own")
    kill_after(workers[0], half // 8)
    house.send(*events[half:])
    house.flush()
    settle(house, workers[1])
    assert workers[1].stop() == 0
