"""Models on a real Kafka: learned, published, reloaded and rolled back while events flow."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from schemas import Event
from tests.support.academy import NAMES, chains
from tests.support.people import assert_answered_once
from tests.support.spine import Reader, Spine, reading, spine
from workers.laptop_kafka import Broker
from workers.model_cards import Cards
from workers.model_files import path_of
from workers.models_report import cards_of, release
from workers.recommend_doors import MODEL

pytestmark = [pytest.mark.wire, pytest.mark.timeout(300)]


@pytest.fixture
def house(broker: Broker, topic_prefix: str, tmp_path: Path) -> Iterator[Spine]:
    settings = {
        "STREAMREC_TRAIN__LEARNER": "tests.support.counts",
        "STREAMREC_TRAIN__EVERY_S": "1",
        "STREAMREC_TRAIN__MIN_EVENTS": "200",
        "STREAMREC_TRAIN__NEWEST": "200",
        "STREAMREC_TRAIN__PATH": str(tmp_path / "columns"),
        "STREAMREC_TRAIN__OUT": str(tmp_path / "models"),
    }
    with spine(broker.bootstrap, topic_prefix, tmp_path, **settings) as made:
        made.catalogue(NAMES)
        yield made


def cards(house: Spine) -> Cards:
    """The cards as they are now."""
    return cards_of(house.config)


def flow(
    house: Spine, reader: Reader, sent: list[Event], *, until: Callable[[], Any]
) -> None:
    """Events all the time, and their lists read, until the condition holds."""
    end = time.monotonic() + 120
    while not until():
        assert time.monotonic() < end, house.children[-1].output
        batch = chains(24, start=len(sent))
        sent += batch
        house.send(*batch)
        house.flush()
        reader.until([event.event_id for event in batch])


def test_a_model_is_learned_published_and_reloaded_and_rolled_back_under_load(house: Spine):
    house.start("recommend").wait_ready()
    train = house.start("train")
    train.wait_ready()
    sent: list[Event] = []
    with reading(house) as reader:

        def newest() -> str:
            return reader.slates[-1].versions["model"]

        def published() -> set[str]:
            return {s.versions["model"] for s in reader.slates} - {MODEL}

        flow(house, reader, sent, until=lambda: len(published()) >= 2)
        assert reader.slates[0].versions["model"] == MODEL
        before = cards(house).history("ranker")
        assert published() <= {card.version for card in before}
        files = [path_of(card) for card in before]
        assert all(file and file.parent == house.folder / "models" for file in files)

        wanted = before[0].version
        assert wanted in house.rec("models", "rollback", wanted)
        flow(house, reader, sent, until=lambda: newest() == wanted)
        at, number = len(reader.slates), len(sent)
        flow(house, reader, sent, until=lambda: len(sent) >= number + 240)
        assert {s.versions["model"] for s in reader.slates[at:]} == {wanted}
        chosen = [
            json.loads(line)
            for line in house.rec("models", "list", "--json").split("\n")
            if line
        ]
        now = [(card["version"], card["state"]) for card in chosen if card["in_force"]]
        assert now == [(wanted, "pinned")]

        release(name="ranker", config=house.config)
        flow(house, reader, sent, until=lambda: newest() not in {wanted, MODEL})
        assert_answered_once(reader, sent)
    status, said = train.get("/metrics")
    assert status == 200
    assert b"streamrec_models_published_total" in said
    assert train.stop() == 0


def test_a_train_worker_that_is_killed_reads_on_from_its_columns(house: Spine):
    sent = chains(900)
    house.send(*sent)
    house.flush()
    train = house.start("train", STREAMREC_TRAIN__MIN_EVENTS="1000000")
    train.wait_ready()
    assert train.stop() == 0
    more = chains(300, start=900)
    house.send(*more)
    house.flush()
    killed = house.start("train", STREAMREC_TRAIN__MIN_EVENTS="1000000")
    killed.wait_ready()
    killed.kill()
    last = house.start("train", STREAMREC_TRAIN__MIN_EVENTS="1000000")
    last.wait_ready()
    _, said = last.get("/metrics")
    (kept,) = [x for x in said.splitlines() if x.startswith(b"streamrec_train_events ")]
    assert float(kept.split()[1]) == 1200
    assert b"reading_on=True" in (house.folder / "train-worker-0.log").read_bytes()
