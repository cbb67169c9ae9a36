"""The whole path of recommend on in-memory doors: what a subscriber may rely on."""

import json

import numpy as np
import pytest

from schemas import Erase, Item, Query, Signal, Undo, Undone, Visit, encode
from tests.support.house import (
    EVENTS,
    ITEMS,
    NOW,
    SLATES,
    SPACE,
    VECTORS,
    House,
    answered,
    click,
    ids,
    named,
    vector_of,
)
from workers.users import point_id_of


def test_a_click_is_answered_by_one_list_without_what_was_clicked(house):
    answered(house, click("e1"))
    (slate,) = house.slates("ann")
    assert slate.caused_by == ["e1"]
    assert len(slate.items) == 10
    assert "i1" not in ids(slate)
    assert [i.rank for i in slate.items] == list(range(1, 11))
    assert {i.source for i in slate.items} == {"interest"}
    assert slate.items[0].reasons[0].because == "i1"


def test_the_list_is_the_exact_neighbourhood_of_the_interest(house):
    answered(house, click("e1"), click("e2", item="i2", kind="purchase"))
    wanted = vector_of("i1") + 3 * vector_of("i2")
    others = [f"i{n}" for n in range(30) if n not in (1, 2)]
    best = sorted(others, key=lambda name: -float(vector_of(name) @ wanted))[:10]
    assert ids(house.slates("ann")[-1]) == best


def test_events_of_one_user_in_a_batch_share_a_list_and_others_have_their_own(house):
    answered(house, click("e1"), click("e2", item="i3"), click("e3", user="bob"))
    assert [s.caused_by for s in house.slates("ann")] == [["e1", "e2"]]
    assert [s.caused_by for s in house.slates("bob")] == [["e3"]]


def test_a_list_goes_to_the_partition_number_of_its_cause(house):
    answered(house, *(click(f"e{n}", user=f"u{n}") for n in range(20)))
    causes = {r.key: r.partition for r in house.log.records(EVENTS)}
    assert {r.key: r.partition for r in house.log.records(SLATES)} == causes


def test_duplicates_and_impressions_cause_no_list(house):
    answered(house, click("e1"), click("e1"), click("e2", kind="impression"))
    assert named(house.slates()) == ["e1"]


def test_an_undo_brings_the_list_back(house):
    worker = house.hire()
    for event in (
        click("e1"),
        click("e2", item="i9", kind="purchase"),
        Undo(event_id="x", user_id="ann", undoes="e2", at_ms=NOW),
    ):
        house.tell(event)
        house.turn(worker, 4)
    before, between, after = (ids(s) for s in house.slates("ann"))
    assert before == after != between


def test_an_undo_that_came_first_takes_its_event_back(house):
    answered(house, Undo(event_id="x", user_id="ann", undoes="e1", at_ms=NOW), click("e1"))
    (slate,) = house.slates("ann")
    assert slate.caused_by == ["x", "e1"]
    assert {i.source for i in slate.items} <= {"popular", "fresh"}


def test_a_visit_of_a_category_lists_only_that_category(house):
    visit = Visit(event_id="v", user_id="ann", at_ms=NOW, context={"category": "even"})
    answered(house, click("e1"), visit)
    by_cause = {tuple(s.caused_by): ids(s) for s in house.slates("ann")}
    assert all(int(name[1:]) % 2 == 0 for name in by_cause["v",])
    assert len(by_cause["v",]) == 10
    assert any(int(name[1:]) % 2 for name in by_cause["e1",])


def test_a_stranger_is_shown_what_is_popular_and_fresh(house):
    for n in range(3):
        house.tell(click(f"p{n}", user=f"u{n}", item="i7"))
    answered(house, Visit(event_id="v", user_id="new", at_ms=NOW))
    (slate,) = house.slates("new")
    assert {i.source for i in slate.items} == {"popular", "fresh"}
    assert "i7" in ids(slate)


def test_an_empty_catalogue_makes_an_empty_list():
    house = answered(House(), click("e1"))
    assert [(s.caused_by, s.items) for s in house.slates()] == [(["e1"], [])]


def test_a_query_is_answered_once_when_its_signal_comes(house):
    worker = house.hire()
    query = Query(event_id="q", user_id="ann", at_ms=NOW, text="like i5")
    house.tell(query)
    house.turn(worker, 4)
    assert house.slates() == []
    signal = Signal(
        event_id="q#q", of="q", user_id="ann", at_ms=NOW, cause="query", encoder=SPACE,
        vector=vector_of("i5").astype("<f4").tobytes(),
    )  # fmt: skip
    house.tell(signal, signal)
    house.turn(worker, 4)
    (slate,) = house.slates()
    assert slate.caused_by == ["q"]
    assert (slate.items[0].item_id, slate.items[0].source) == ("i5", "query")


def test_a_query_that_could_not_be_encoded_still_has_its_list(house):
    signal = Signal(event_id="q#q", of="q", user_id="ann", at_ms=NOW, cause="query")
    answered(house, click("e1"), signal)
    assert ["q"] in [s.caused_by for s in house.slates("ann")]


def test_what_was_said_about_an_item_moves_the_list_and_is_named(house):
    said = Signal(
        event_id="e1#m0", of="e1", user_id="ann", at_ms=NOW, encoder=SPACE, modality="text",
        vector=vector_of("i8").astype("<f4").tobytes(),
    )  # fmt: skip
    answered(house, said)
    (slate,) = house.slates("ann")
    assert (slate.caused_by, slate.items[0].item_id) == (["e1#m0"], "i8")


def test_withdrawn_unavailable_and_expired_items_are_never_listed(house):
    worker = house.hire()
    house.tell(click("e1"))
    house.turn(worker, 4)
    first, second, third = ids(house.slates("ann")[-1])[:3]
    house.write(ITEMS, first, None)
    house.item(second, available=False)
    house.item(third, expires_at_ms=NOW + 5)
    house.tell(click("e2", item="i2", at_ms=NOW + 5))
    house.turn(worker, 4)
    assert not {first, second, third} & set(ids(house.slates("ann")[-1]))


def test_a_withdrawn_item_that_comes_back_is_found_again(house):
    worker = house.hire()
    house.tell(click("e1"))
    house.turn(worker, 4)
    best = ids(house.slates("ann")[-1])[0]
    house.write(ITEMS, best, None)
    house.turn(worker, 2)
    house.write(ITEMS, best, house_item(best))
    house.tell(Visit(event_id="v", user_id="ann", at_ms=NOW))
    house.turn(worker, 4)
    assert ids(house.slates("ann")[-1])[0] == best


def house_item(name: str) -> bytes:
    return json.dumps({"type": "item", "item_id": name}).encode()


def test_vectors_of_another_version_are_never_compared(house):
    house.vector("i4", vector_of("i1"), encoder="another")
    answered(house, click("e1"))
    assert ids(house.slates("ann")[0])[0] != "i4"


@pytest.mark.parametrize("number", [np.nan, np.inf, 3e38, 0.0], ids=str)
def test_a_vector_that_is_none_stops_nobody_and_its_item_is_found_no_more(house, number):
    house.vector("i4", np.full(16, number))
    house.write(VECTORS, "i5", b"\xc1")
    answered(house, click("e1"))
    (slate,) = house.slates("ann")
    assert len(slate.items) == 10
    assert all(-1 <= item.score <= 1 for item in slate.items)


def test_an_item_is_new_to_lists_as_soon_as_its_vector_is_there(house):
    worker = house.hire()
    house.turn(worker, 1)
    house.item("new", vector_of("i1"))
    house.tell(click("e1"))
    house.turn(worker, 4)
    assert ids(house.slates("ann")[0])[0] == "new"


def test_an_erased_user_gets_a_null_list_and_starts_afresh(house):
    answered(
        house, click("e1", at_ms=NOW - 9), Erase(event_id="z", user_id="ann", at_ms=NOW),
        click("late", at_ms=NOW - 5), click("e2", item="i2", at_ms=NOW + 1),
    )  # fmt: skip
    values = [r.value for r in house.log.records(SLATES) if r.key == b"ann"]
    assert [value is None for value in values] == [False, True, False]
    assert named(house.slates("ann")) == ["e1", "e2"]
    stored = house.store.load([point_id_of("ann")])[point_id_of("ann")]
    assert stored.user_id == "ann"


def test_a_list_before_an_erasure_in_one_batch_is_of_who_the_user_was(house):
    house.write(ITEMS, "gone", encode(Item(item_id="gone", expires_at_ms=NOW - 1_000)))
    house.vector("gone", vector_of("i1"))
    answered(
        house, click("e1", item="i1", at_ms=NOW - 9),
        Erase(event_id="z", user_id="ann", at_ms=NOW), click("e2", item="i2", at_ms=NOW + 1),
    )  # fmt: skip
    before, after = house.slates("ann")
    assert before.as_of_ms == NOW - 9
    assert not {"i1", "gone"} & {*ids(before)}
    assert before.items[0].source == "interest"
    assert after.as_of_ms == NOW + 1
    assert "i2" not in ids(after)


def test_headers_of_an_item_stop_nobody(house):
    worker = house.hire()
    house.turn(worker, 2)
    for n, stamp in enumerate((b"soon", b"-5", b"1" * 400, "\u00b2".encode(), b"\xff")):
        item = encode(Item(item_id=f"h{n}"))
        house.put(ITEMS, f"h{n}", item, headers=(("caused-at-ms", stamp),))
    house.tell(click("e1"))
    house.turn(worker, 4)
    assert named(house.slates("ann")) == ["e1"]


def test_a_tombstone_names_nobody(house):
    answered(
        house, click("e1", at_ms=NOW - 9), Erase(event_id="z", user_id="ann", at_ms=NOW)
    )
    stored = house.store.load([point_id_of("ann")])[point_id_of("ann")]
    assert stored.user_id is None
    assert not stored.interest.any()
    assert b"ann" not in stored.state


REFUSED: list[tuple[str, str, bytes | None, str]] = [
    ("unreadable", "ann", b"\xc1", "msgpack"),
    ("null_value", "ann", None, "undo"),
    ("missing_field", "ann", b'{"type":"visit","event_id":"v","at_ms":1}', "user_id"),
    ("wrong_key", "bob", encode(Visit(event_id="v", user_id="ann", at_ms=NOW)), "bob"),
    (
        "from_the_future",
        "ann",
        encode(Visit(event_id="v", user_id="ann", at_ms=NOW + 9 * 86_400_000)),
        "at_ms",
    ),
    ("missing_field", "ann", encode(click("r", kind="rating")), "value"),
    (
        "missing_field",
        "ann",
        encode(
            Undo(
                event_id="x", user_id="ann", undoes="r", at_ms=NOW,
                of=Undone(item_id="i1", kind="rating", at_ms=NOW),
            )
        ),
        "of.value",
    ),
    (
        "wrong_width",
        "ann",
        encode(Signal(event_id="s", of="e", user_id="ann", at_ms=1, vector=b"1234")),
        "vector",
    ),
    (
        "non_finite",
        "ann",
        encode(
            Signal(
                event_id="s", of="e", user_id="ann", at_ms=1,
                vector=np.full(16, np.nan, "<f4").tobytes(),
            )
        ),
        "vector",
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("reason", "key", "value", "names"),
    REFUSED,
    ids=[f"{r[0]}-{n}" for n, r in enumerate(REFUSED)],
)
def test_what_cannot_be_taken_is_set_aside_whole_and_the_next_is_answered(
    house, reason, key, value, names
):
    house.put(EVENTS, key, value, headers=(("mine", b"kept"),))
    answered(house, click("e1"))
    (dead,) = house.dead()
    assert (dead.key, dead.value, dead.header("mine")) == (key.encode(), value, "kept")
    assert dead.header("__connect.errors.class.name") == reason
    assert names in str(dead.header("__connect.errors.exception.message"))
    assert dead.header("__connect.errors.topic") == EVENTS
    assert named(house.slates()) == ["e1"]


def test_a_time_a_little_ahead_is_set_to_the_brokers(house):
    answered(house, click("e1", at_ms=NOW + 3_600_000))
    assert house.slates("ann")[0].as_of_ms == NOW


def test_a_user_in_two_partitions_is_refused_in_the_second(house):
    house.put(EVENTS, "ann", encode(click("e1")), partition=0)
    house.turn(house.hire(), 4)
    house.put(EVENTS, "ann", encode(click("e2")), partition=1)
    house.turn(house.hire(), 4)
    (dead,) = house.dead()
    assert dead.header("__connect.errors.class.name") == "wrong_partition"
    assert named(house.slates()) == ["e1"]


def test_headers_of_the_cause_travel_to_its_list(house):
    house.put(EVENTS, "ann", encode(click("e1")), headers=(("traceparent", b"00-abc"),))
    house.turn(house.hire(), 4)
    (record,) = house.log.records(SLATES)
    assert record.header("traceparent") == "00-abc"
    assert record.header("content-type") == "application/msgpack"
