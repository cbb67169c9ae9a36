"""What is undone is as if it had never been, wherever its event stands by then."""

import numpy as np
import pytest

from encoders.law import DAY_MS, item_hash
from encoders.state import UserState
from schemas import Event, Query, Signal, Undo, Undone
from tests.support.folded import (
    LAW,
    NOW,
    SPACE,
    WIDTH,
    assert_lawful,
    click,
    folded,
    interest_unit,
    outcome,
)
from tests.support.oracle import oracle


def test_an_undo_beyond_the_ring_that_does_not_say_of_what_is_refused():
    state = folded([click(f"e{n}", at_ms=NOW + n) for n in range(LAW.ring + 1)])
    undo = Undo(event_id="x", user_id="u", undoes="e0", at_ms=NOW)
    assert outcome(state, undo) == "too_late_to_undo"
    assert outcome(state, replace_id(undo, undoes="e1")) == "folded"


def filled(events: int = LAW.recent + 1) -> UserState:
    """Somebody with more events than there are ids at hand."""
    return folded([click(f"e{n}", f"i{n % 12}", at_ms=NOW + n) for n in range(events)])


def undo_of(event_id: str, item: str, at_ms: int, undo_id: str = "x") -> Undo:
    of = Undone(item_id=item, kind="click", at_ms=at_ms)
    return Undo(event_id=undo_id, user_id="u", undoes=event_id, at_ms=NOW, of=of)


def test_an_undo_of_an_event_older_than_all_known_ids_must_say_of_what_too():
    state = filled()
    bare = Undo(event_id="x", user_id="u", undoes="e0", at_ms=NOW)
    before = len(state.undone)
    assert outcome(state, bare) == "too_late_to_undo"
    assert len(state.undone) == before  # and the right undo still works
    assert outcome(state, undo_of("e0", "i0", NOW)) == "folded"
    assert_lawful(state, [*history_of(filled_ids()), undo_of("e0", "i0", NOW)])


def filled_ids() -> range:
    return range(LAW.recent + 1)


def history_of(numbers: range) -> list[Event]:
    return [click(f"e{n}", f"i{n % 12}", at_ms=NOW + n) for n in numbers]


def test_an_undo_that_comes_before_its_event_takes_no_other_event_with_it():
    state = filled()
    later = NOW + LAW.recent + 50
    assert outcome(state, undo_of("new", "i0", later)) == "folded"
    assert outcome(state, click("new", "i0", at_ms=later)) == "folded"
    expected = oracle(history_of(filled_ids()), LAW)
    slot = state.slot_of[item_hash("i0")]
    relative = state.total[slot, 1] * 2.0 ** (
        (state.ref_ms[1] - (NOW + LAW.recent)) / (14 * DAY_MS)
    )
    assert relative == pytest.approx(expected.mass[item_hash("i0")], rel=1e-5)


@pytest.mark.parametrize(
    "at_ms", [NOW + 10, 253_402_300_799_999], ids=["a little", "the year 9999"]
)
def test_a_wrong_time_in_an_undo_harms_no_other_item(at_ms):
    state = filled(LAW.ring + 40)
    outcome(state, undo_of("e3", "i3", at_ms))
    events = [*history_of(range(LAW.ring + 40)), undo_of("e3", "i3", NOW)]
    assert_lawful(state, events)


def test_all_signals_of_a_full_ring_can_be_undone():
    vector = np.ones(WIDTH, "<f4").tobytes()
    said = [
        Signal(
            event_id=f"e{n}#m0",
            of=f"e{n}",
            user_id="u",
            at_ms=NOW,
            encoder=SPACE,
            vector=vector,
        )
        for n in range(LAW.ring)
    ]
    undone = [
        Undo(event_id=f"x{n}", user_id="u", undoes=f"e{n}", at_ms=NOW)
        for n in range(LAW.ring)
    ]
    clicks = [click(f"e{n}", kind="view") for n in range(LAW.ring)]
    assert not interest_unit(folded([*clicks, *said, *undone])).any()


def signal_of(event_id: str) -> Signal:
    return Signal(
        event_id=f"{event_id}#m0", of=event_id, user_id="u", at_ms=NOW, encoder=SPACE,
        vector=np.ones(WIDTH, "<f4").tobytes(),
    )  # fmt: skip


def test_an_event_beyond_the_ring_is_undone_with_its_signal_or_not_at_all():
    bought = click("e0", "i7", kind="purchase")
    later = [
        click(f"v{n}", "i1", at_ms=NOW + 1 + n, kind="view") for n in range(LAW.ring + 9)
    ]
    state = folded([bought, signal_of("e0"), *later])
    bare = Undo(event_id="x", user_id="u", undoes="e0", at_ms=NOW)
    assert outcome(state, bare) == "too_late_to_undo"
    assert len(state.said) == 1
    assert item_hash("i7") in state.seen_items()
    of = Undone(item_id="i7", kind="purchase", at_ms=NOW)
    told = Undo(event_id="y", user_id="u", undoes="e0", at_ms=NOW, of=of)
    assert outcome(state, told) == "folded"
    assert not state.said
    assert_lawful(state, [bought, *later, told])


def test_a_query_is_undone_by_its_signal_alone_as_long_as_that_is_newer_than_the_ring():
    views = [click(f"v{n}", "i1", at_ms=NOW, kind="view") for n in range(LAW.ring + 9)]
    state = folded([*views, Query(event_id="q", user_id="u", at_ms=NOW), signal_of("q")])
    assert (
        outcome(state, Undo(event_id="x", user_id="u", undoes="q", at_ms=NOW)) == "folded"
    )
    assert not state.said


@pytest.mark.parametrize("kind", ["view", "skip"])
def test_an_undone_impression_beyond_those_at_hand_takes_no_interest_with_it(kind):
    own = click("e0", "i7", kind=kind)
    shown = [
        click(f"s{n}", "i7" if not n else "i2", at_ms=NOW, kind="impression")
        for n in range(LAW.impressions + 9)
    ]
    later = [
        click(f"v{n}", "i1", at_ms=NOW + 1 + n, kind="view") for n in range(LAW.ring + 9)
    ]
    state = folded([own, *shown, *later])
    before = interest_unit(state)
    of = Undone(item_id="i7", kind="impression", at_ms=NOW)
    outcome(state, Undo(event_id="x", user_id="u", undoes="s0", at_ms=NOW, of=of))
    np.testing.assert_allclose(interest_unit(state), before)


def replace_id(undo: Undo, *, undoes: str) -> Undo:
    return Undo(event_id="x2", user_id="u", undoes=undoes, at_ms=undo.at_ms)


def test_an_undo_may_come_before_its_event_and_its_signals():
    said = Signal(
        event_id="e1#m0", of="e1", user_id="u", at_ms=NOW, encoder=SPACE,
        vector=np.ones(WIDTH, "<f4").tobytes(),
    )  # fmt: skip
    undo = Undo(event_id="x", user_id="u", undoes="e1", at_ms=NOW)
    state = folded([undo, click("e1", kind="purchase"), said])
    assert not state.seen_items().size
    assert not interest_unit(state).any()


def test_two_undos_of_one_event_take_it_back_once():
    undos = [Undo(event_id=f"x{n}", user_id="u", undoes="e1", at_ms=NOW) for n in range(2)]
    state = folded([click("e1"), click("e2"), *undos])
    assert state.seen_items().tolist() == [item_hash("i1")]
