"""A new fusion rolled out while lists are made: each list is of one space, wholly."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace
from prometheus_client.parser import text_string_to_metric_families

from ranking.resident import ResidentIndex
from schemas import Item, ItemVectors, ModelCard, Signal, Slate, Slot, Visit, encode
from tests.support.academy import NAMES, chains
from tests.support.house import ITEMS, NOW, SPACE, VECTORS, WIDTH, House, named, vector_of
from workers import metrics
from workers.member import Worker
from workers.model_cards import CONFIRMED, FUSION, in_force
from workers.ports import Record
from workers.spaces import Spaces, TwinIndex

NEW = "fusion-joint-16@0123abcd"
Kept = tuple[str, str]
"""The spaces that a record has vectors of: that in force, and the next (empty: none)."""


def inside(name: str, space: str) -> bytes:
    """The item's vector in a space: the two have nothing to do with each other."""
    seed = name if space == SPACE else f"{name[::-1]}*"
    return np.asarray(vector_of(seed), "<f4").tobytes()


def record_of(name: str, kept: Kept, *, declined: bool = False) -> bytes:
    slot = Slot(vector=inside(name, SPACE), encoder="t", source=(ITEMS, 0, 0))
    now, later = kept
    return encode(
        ItemVectors(
            item_id=name,
            slots={"text": slot},
            fused=inside(name, now),
            encoder=now,
            fused_next=inside(name, later) if later and not declined else None,
            encoder_next=later,
        )
    )


def worker_of(house: House, encoder: str = SPACE, name: str = "w") -> Worker:
    """A worker that follows what is rolled out. Its items begin in this space."""
    worker = house.hire(name)
    items = worker.items
    items.encoder = encoder
    items.spaces = Spaces(
        index=TwinIndex(ResidentIndex(WIDTH)),
        catalogue=items.catalogue,
        encoder=encoder,
        width=WIDTH,
        open_index=lambda _: ResidentIndex(WIDTH),
    )
    items.index = items.spaces.index
    return worker


def announce(worker: Worker, version: str, state: str = "") -> None:
    """The card of a fusion, as the worker reads it."""
    card = ModelCard(
        name=FUSION, version=version, uri="file:///x", sha256="0" * 64, state=state
    )
    for sent in in_force(card, topic="rec.models.v1"):
        assert worker.items.spaces is not None
        worker.items.spaces.card(Record("rec.models.v1", 0, 0, 0, sent.key, sent.value))


class Three:
    """The same events and items for one worker in the old space, one in the new, and one for
    whom the new is rolled out."""

    def __init__(self) -> None:
        self.houses = [House(), House(), House()]
        self.workers = [
            worker_of(house, space)
            for house, space in zip(self.houses, (SPACE, NEW, SPACE), strict=True)
        ]
        self.sent: list[str] = []

    def item(self, name: str, kept: Kept = (SPACE, ""), **more: Any) -> None:
        for house in self.houses:
            house.write(ITEMS, name, encode(Item(item_id=name, **more)))
        self.vectors(name, kept)

    def vectors(self, name: str, kept: Kept, **more: Any) -> None:
        old, new, both = self.houses
        old.write(VECTORS, name, record_of(name, (SPACE, "")))
        new.write(VECTORS, name, record_of(name, (NEW, "")))
        both.write(VECTORS, name, record_of(name, kept, **more))

    def events(self, *events: Any) -> None:
        for house in self.houses:
            house.tell(*events)
        self.sent += [getattr(e, "of", e.event_id) for e in events]

    def turn(self, turns: int = 2) -> None:
        for house, worker in zip(self.houses, self.workers, strict=True):
            house.turn(worker, turns)

    def compare(self) -> list[str]:
        """The space of each list, in order; AssertionError where a list is of neither."""
        old, new = ({s.slate_id: s for s in h.slates()} for h in self.houses[:2])
        spaces = []
        for slate in self.houses[2].slates():
            space = slate.versions["encoder"]
            assert told(slate) == told((old if space == SPACE else new)[slate.slate_id])
            spaces.append(space)
        assert sorted(named(self.houses[2].slates())) == sorted(self.sent)
        return spaces


def told(slate: Slate) -> Any:
    """All that a list says of its items."""
    return [
        (i.item_id, i.rank, round(i.score, 5), i.source, [r.because for r in i.reasons])
        for i in slate.items
    ]


def asked(number: int, space: str) -> Signal:
    """What somebody asks by a text that was fused into this space."""
    return Signal(
        event_id=f"q{number}#q", of=f"q{number}", user_id=f"u{number % 12}", cause="query",
        at_ms=NOW - 1_000_000 + number, vector=inside(f"q{number}", space), encoder=space,
        modality="text",
    )  # fmt: skip


def story(three: Three, round_: int, left: list[str]) -> None:
    """What happens to items while the new space is rolled out, three of them a round."""
    if round_ == 5:
        announce(three.workers[2], NEW)
    if round_ >= 5:
        for name in [left.pop() for _ in range(min(3, len(left)))]:
            three.vectors(name, (SPACE, NEW))
    if round_ in (10, 30, 50):  # new ones, in both spaces
        three.item(f"new{round_}", (SPACE, NEW))
    if round_ in (12, 40):  # sold out, and back
        three.item("i07", (SPACE, NEW), available=round_ == 40)
    if round_ == 14:  # withdrawn before it was fused again
        for house in three.houses:
            house.write(ITEMS, left[0], None)


def test_every_list_during_a_switch_is_of_the_old_space_or_of_the_new_one():
    three = Three()
    for name in NAMES:
        three.item(name, categories=["even" if int(name[1:]) % 2 else "odd"])
    left, events = random.Random(4).sample(NAMES, len(NAMES)), chains(900)
    for round_ in range(60):
        story(three, round_, left)
        three.events(*events[round_ * 12 : round_ * 12 + 12])
        three.events(asked(2 * round_, SPACE), asked(2 * round_ + 1, NEW))
        three.turn()
    spaces = three.compare()
    assert {SPACE, NEW} == set(spaces)
    for name in [*NAMES, "new10", "new30", "new50"]:  # the old one is not written any more
        three.vectors(name, (NEW, ""))
        three.events(Visit(event_id=f"v{name}", user_id="u3", at_ms=NOW))
        three.turn()
    three.compare()
    items = three.workers[2].items
    assert items.encoder == NEW
    assert not items.spaces.next


def test_the_switch_waits_for_the_last_item_and_then_happens_at_once():
    three = Three()
    for name in NAMES:
        three.item(name)
    announce(three.workers[2], NEW)
    for name in NAMES[:-1]:
        three.vectors(name, (SPACE, NEW))
    three.events(*chains(12))
    three.turn(3)
    assert set(three.compare()) == {SPACE}
    items = three.workers[2].items
    assert items.spaces.index.lacking == {
        n
        for n, row in items.catalogue.row_of.items()
        if items.catalogue.item_id[row] == NAMES[-1]
    }
    three.vectors(NAMES[-1], (SPACE, NEW))
    three.events(*chains(12, start=12))
    three.turn(1)
    assert items.encoder == NEW
    assert set(three.compare()[-12:]) <= {SPACE, NEW}


def test_an_item_without_a_vector_in_the_new_space_does_not_hold_up_the_switch():
    three = Three()
    for name in NAMES:
        three.item(name)
    three.turn(1)
    for name in NAMES[1:]:
        three.vectors(name, (SPACE, NEW))
    three.vectors(NAMES[0], (SPACE, NEW), declined=True)
    three.turn(2)
    items = three.workers[2].items
    assert items.encoder == NEW
    assert len(items.index) == len(NAMES) - 1


def test_a_space_that_fits_few_items_is_gone_to_only_once_a_person_confirms_it():
    metrics.set_worker("recommend")
    three = Three()
    for name in NAMES:
        three.item(name)
    three.turn(1)
    announce(three.workers[2], NEW)
    few = len(NAMES) // 2
    for name in NAMES[:few]:
        three.vectors(name, (SPACE, NEW))
    for name in NAMES[few:]:
        three.vectors(name, (SPACE, NEW), declined=True)
    three.events(*chains(12))
    three.turn(3)
    items = three.workers[2].items
    assert items.encoder == SPACE
    assert lacking() == len(NAMES) - few
    assert set(three.compare()) == {SPACE}
    announce(three.workers[2], NEW, CONFIRMED)
    three.turn(1)
    assert items.encoder == NEW
    assert lacking() == 0
    assert len(items.index) == few


def test_a_change_in_the_old_space_alone_makes_the_switch_wait_again():
    three = Three()
    for name in NAMES:
        three.item(name)
    for name in NAMES[:-1]:
        three.vectors(name, (SPACE, NEW))
    three.turn(1)
    three.vectors(NAMES[3], (SPACE, ""))
    three.vectors(NAMES[-1], (SPACE, NEW))
    three.turn(2)
    assert three.workers[2].items.encoder == SPACE
    three.vectors(NAMES[3], (SPACE, NEW))
    three.turn(2)
    assert three.workers[2].items.encoder == NEW


def test_a_vector_that_comes_before_its_item_is_there_in_both_spaces():
    three = Three()
    for name in NAMES[:-1]:
        three.item(name)
    three.vectors(NAMES[-1], (SPACE, NEW))
    three.turn(1)
    for name in NAMES[:-1]:
        three.vectors(name, (SPACE, NEW))
    three.turn(2)
    for house in three.houses:
        house.write(ITEMS, NAMES[-1], encode(Item(item_id=NAMES[-1])))
    three.events(*chains(12))
    three.turn(2)
    assert set(three.compare()) == {NEW}
    assert len(three.workers[2].items.index) == len(NAMES)


def test_back_to_the_old_space_is_a_switch_like_any_other():
    three = Three()
    for name in NAMES:
        three.item(name, (SPACE, NEW))
    announce(three.workers[2], NEW)
    three.events(*chains(12))
    three.turn(2)
    assert three.workers[2].items.encoder == NEW
    announce(three.workers[2], SPACE)
    for kept in ((NEW, SPACE), (SPACE, "")):
        for name in NAMES:
            three.vectors(name, kept)
            event = f"v{name}{kept[0]}"
            three.events(Visit(event_id=event, user_id="u3", at_ms=NOW))
            three.turn(1)
    three.turn(2)
    assert three.workers[2].items.encoder == SPACE
    three.compare()


def test_a_worker_that_goes_back_is_told_of_the_old_space_alone_and_lists_stay_whole():
    three = Three()
    for name in NAMES:
        three.item(name, (SPACE, NEW))
    announce(three.workers[2], NEW)
    three.turn(2)
    three.events(*chains(48))
    announce(three.workers[2], SPACE)
    for name in NAMES:  # by an encode worker that was killed and knows no other any more
        three.vectors(name, (SPACE, ""))
        three.events(Visit(event_id=f"v{name}", user_id="u3", at_ms=NOW))
        three.turn(1)
    three.turn(2)
    assert set(three.compare()) == {SPACE, NEW}
    assert three.workers[2].items.encoder == SPACE
    assert len(three.workers[2].items.index) == len(NAMES)


def test_nobody_goes_where_the_card_does_not_send_him():
    three = Three()  # back by the card, and no encode worker has written anything since
    announce(three.workers[2], SPACE)
    for name in NAMES:
        three.item(name, (SPACE, NEW))
    three.events(*chains(12))
    three.turn(3)
    assert set(three.compare()) == {SPACE}


def test_what_the_log_has_of_a_space_that_was_left_is_forgotten_at_start():
    house = House()
    for kept in ((SPACE, NEW), (NEW, SPACE), (NEW, "")):
        for name in NAMES:
            house.write(ITEMS, name, encode(Item(item_id=name)))
            house.write(VECTORS, name, record_of(name, kept))
    worker = worker_of(house, NEW)
    announce(worker, NEW)
    house.turn(worker, 2)
    spaces = worker.items.spaces
    assert spaces is not None
    assert not spaces.next
    assert lacking() == 0
    assert len(worker.items.index) == len(NAMES)


@pytest.mark.parametrize("kept", [(SPACE, NEW), (NEW, "")], ids=["both", "new alone"])
def test_a_worker_that_starts_later_makes_its_first_list_in_the_new_space(kept: Kept):
    three = Three()
    for name in NAMES:
        three.item(name, kept)
    announce(three.workers[2], NEW)
    three.events(*chains(24))
    three.turn(3)
    assert set(three.compare()) == {NEW}
    assert len(three.workers[2].items.index) == len(NAMES)


def test_a_space_that_nobody_announced_is_left_out():
    house = House()
    worker = worker_of(house)
    for name in NAMES:
        house.item(name)
    house.turn(worker, 1)
    house.write(VECTORS, NAMES[0], record_of(NAMES[0], (NEW, "")))
    house.tell(*chains(12))
    house.turn(worker, 3)
    assert worker.items.encoder == SPACE
    assert len(worker.items.index) == len(NAMES) - 1


def test_cards_of_other_names_announce_nothing(tmp_path: Path):
    house = House()
    worker = worker_of(house)
    announce(worker, NEW)
    spaces = worker.items.spaces
    assert spaces is not None
    assert spaces.wanted == {NEW}
    card = ModelCard(name="ranker", version="x", uri="file:///x", sha256="0" * 64)
    for sent in in_force(replace(card), topic="t"):
        spaces.card(Record("t", 0, 0, 0, sent.key, sent.value))
    assert spaces.wanted == {NEW}


def lacking() -> float:
    """What the worker shows of items that the next space does not have yet."""
    families = text_string_to_metric_families(metrics.exposition().decode())
    (found,) = (f for f in families if f.name == "streamrec_space_items_lacking")
    return found.samples[0].value


def test_a_worker_shows_how_many_items_lack_a_vector_and_none_once_that_is_given_up():
    metrics.set_worker("recommend")
    house = House()
    worker = worker_of(house)
    assert lacking() == 0
    for name in NAMES:
        house.item(name)
    announce(worker, NEW)
    house.write(VECTORS, NAMES[0], record_of(NAMES[0], (SPACE, NEW)))
    house.turn(worker, 3)
    assert lacking() == len(NAMES) - 1
    announce(worker, SPACE)
    assert lacking() == 0
