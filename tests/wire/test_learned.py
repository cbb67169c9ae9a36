"""The whole loop on a real Kafka: one program sends and reads, and three processes learn from it
what follows what: trends by counting, a model by training, lists by both."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas import Interaction, Slate
from tests.support.academy import NAMES, chains
from tests.support.spine import Process, Reader, Spine, ids, reading, spine
from tests.support.waiting import wait_for
from workers.laptop_kafka import Broker
from workers.lists import BLEND
from workers.recommend_doors import MODEL

pytest.importorskip("faust")
pytestmark = [pytest.mark.wire, pytest.mark.timeout(400)]
STRIDE, KNOWN = 7, 800


@pytest.fixture
def house(broker: Broker, topic_prefix: str, tmp_path: Path) -> Iterator[Spine]:
    settings = {
        "STREAMREC_TREND__PATH": str(tmp_path / "trend"),
        "STREAMREC_TRAIN__EVERY_S": "1",
        "STREAMREC_TRAIN__MIN_EVENTS": str(KNOWN),
        "STREAMREC_TRAIN__NEWEST": "60",
        "STREAMREC_TRAIN__TOLERANCE": "1",
        "STREAMREC_TRAIN__PATH": str(tmp_path / "columns"),
        "STREAMREC_TRAIN__OUT": str(tmp_path / "models"),
    }
    with spine(broker.bootstrap, topic_prefix, tmp_path, **settings) as made:
        made.catalogue(NAMES)
        yield made


def heard_ms(worker: Process) -> float:
    """Up to when this worker has heard of trends."""
    said = re.search(
        rb"^streamrec_trends_at_seconds (\S+)", worker.get("/metrics")[1], re.M
    )
    return 1_000 * float(said[1]) if said else 0.0


def newcomers(
    house: Spine, reader: Reader, turn: int, *, at_ms: int
) -> list[tuple[str, Slate]]:
    """Somebody new clicks each item: what everybody touches after it, and the list."""
    clicks = [
        Interaction(
            event_id=f"new-{turn}-{n}", user_id=f"new-{turn}-{n}", item_id=item,
            kind="click", at_ms=at_ms,
        )
        for n, item in enumerate(NAMES)
    ]  # fmt: skip
    house.send(*clicks)
    house.flush()
    reader.until(click.event_id for click in clicks)
    list_of = {event: slate for slate in reader.slates for event in slate.caused_by}
    return [
        (NAMES[(n + STRIDE) % len(NAMES)], list_of[click.event_id])
        for n, click in enumerate(clicks)
    ]


def test_a_click_is_answered_with_what_follows_it_once_trends_and_a_model_know(
    house: Spine,
):
    workers = [house.start(role) for role in ("recommend", "trend", "train")]
    for worker in workers:
        worker.wait_ready()
    events = chains(KNOWN, step=STRIDE)
    house.send(*events)
    house.flush()
    at_ms, turns = events[-1].at_ms, itertools.count()
    with reading(house) as reader:
        reader.until(event.event_id for event in events)

        def blended() -> list[tuple[str, Slate]]:
            heard = heard_ms(workers[0]) >= at_ms
            asked = newcomers(house, reader, next(turns), at_ms=at_ms)
            learned = all(slate.versions["model"] != MODEL for _, slate in asked)
            return asked if heard and learned else []

        asked = wait_for(blended, limit_s=180, what="trends and a model", every_s=0.5)
    assert {slate.versions["ranker"] for _, slate in asked} == {BLEND}
    assert sum(wanted in ids(slate)[:3] for wanted, slate in asked) >= 0.9 * len(NAMES)
    assert [worker.stop() for worker in workers] == [0, 0, 0]
