"""Whatever the order, batching, duplicates, restarts and undos: the state is the fold of the
distinct, not-undone events (DESIGN section 3)."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from encoders.interest import interest, masses
from encoders.law import DAY_MS, KINDS, Law, hash64, item_hash
from encoders.persist import OtherLaw, dumps, loads
from encoders.state import Outcome, UserState, fold, new_state
from schemas import Erase, Event, Interaction, Query, Signal, Undo, Undone, Visit
from tests.support.oracle import interest_of, oracle

LAW = Law()
WIDTH = 8
NOW = 1_764_000_000_000
ITEMS = [f"i{n}" for n in range(12)]
SPACE = "space-1"
VECTORS = {
    hash64(name): np.random.default_rng(at).standard_normal(WIDTH).astype(np.float32)
    for at, name in enumerate(ITEMS)
}


def folded(
    events: Sequence[Event], law: Law = LAW, state: UserState | None = None
) -> UserState:
    state = state or new_state(law)
    for event in events:
        fold(state, event, offset=state.applied + 1, at_ms=event.at_ms)
    return state


def vectors_of(hashes: Any) -> tuple[torch.Tensor, torch.Tensor]:
    rows = [VECTORS.get(int(h), np.zeros(WIDTH, np.float32)) for h in hashes]
    known = [int(h) in VECTORS for h in hashes]
    return torch.from_numpy(np.array(rows, np.float32).reshape(-1, WIDTH)), torch.tensor(
        known
    )


def interest_unit(state: UserState) -> Any:
    held = masses([state], heaviest=512)
    vector = interest([state], held, vectors_of, width=WIDTH, encoder=SPACE)[0].numpy()
    length = np.linalg.norm(vector)
    return vector / length if length else vector


def assert_lawful(state: UserState, events: Sequence[Event], law: Law = LAW) -> None:
    expected = oracle(events, law)
    assert set(state.seen_items().tolist()) == expected.seen
    assert state.as_of_ms == expected.as_of_ms
    wanted = interest_of(expected, VECTORS, SPACE)
    if np.linalg.norm(wanted):
        np.testing.assert_allclose(interest_unit(state), wanted, atol=2e-5)


def click(event_id: str, item: str = "i1", at_ms: int = NOW, **more: Any) -> Interaction:
    kind = more.pop("kind", "click")
    return Interaction(
        event_id=event_id, user_id="u", item_id=item, kind=kind, at_ms=at_ms, **more
    )


times = st.integers(0, 400 * DAY_MS).map(lambda back: NOW - back)
interactions = st.builds(
    click,
    st.integers(0, 40).map("e{}".format),
    st.sampled_from(ITEMS),
    times,
    kind=st.sampled_from(sorted(KINDS)),
    value=st.one_of(st.none(), st.floats(0.5, 90, width=32)),
)
undos = st.builds(
    lambda n, target, at: Undo(event_id=f"x{n}", user_id="u", undoes=f"e{target}", at_ms=at),
    st.integers(0, 20), st.integers(0, 40), times,
)  # fmt: skip
signals = st.builds(
    lambda of, part, at, seed: Signal(
        event_id=f"e{of}#m{part}", of=f"e{of}", user_id="u", at_ms=at, modality="text",
        encoder=SPACE,
        vector=np.random.default_rng(seed).standard_normal(WIDTH).astype("<f4").tobytes(),
    ),
    st.integers(0, 40), st.integers(0, 2), times, st.integers(0, 9),
)  # fmt: skip
visits = st.builds(
    lambda n, at: Visit(event_id=f"v{n}", user_id="u", at_ms=at), st.integers(0, 9), times
)


def one_meaning(events: list[Event]) -> list[Event]:
    """Producers do not use one id for two things: the first event of an id is the event."""
    first: dict[str, Event] = {}
    return [first.setdefault(e.event_id, e) for e in events]


histories = st.lists(
    st.one_of(interactions, interactions, undos, signals, visits), min_size=1, max_size=60
).map(one_meaning)


@settings(max_examples=150, deadline=None)
@given(histories, st.randoms(use_true_random=False))
def test_order_duplicates_and_undos_change_nothing(history, random):
    shuffled = history + random.sample(history, min(10, len(history)))
    random.shuffle(shuffled)
    assert_lawful(folded(shuffled), history)


@settings(max_examples=60, deadline=None)
@given(histories, st.integers(0, 60))
def test_a_restart_in_between_changes_nothing(history, cut):
    before = folded(history[:cut])
    again = loads(dumps(before), law=LAW, applied=before.applied)
    state = folded(history[cut:], state=again)
    assert_lawful(state, history)
    assert dumps(state) == dumps(folded(history))


@settings(max_examples=60, deadline=None)
@given(histories)
def test_folding_again_what_was_folded_changes_nothing(history):
    state = folded(history)
    before = dumps(state)
    outcomes = {fold(state, e, offset=at, at_ms=e.at_ms) for at, e in enumerate(history)}
    assert outcomes == {"replayed"}
    assert dumps(state) == before


@settings(max_examples=40, deadline=None)
@given(histories, st.integers(1, 12), st.randoms(use_true_random=False))
def test_what_leaves_the_ring_keeps_its_mass(history, ring, random):
    law = replace(LAW, ring=ring, signals=4)
    kept = [e for e in history if not isinstance(e, Undo)]
    shuffled = kept + random.sample(kept, min(5, len(kept)))
    random.shuffle(shuffled)
    assert_lawful(folded(shuffled, law), kept, law)


@settings(max_examples=40, deadline=None)
@given(st.lists(interactions, min_size=8, max_size=40).map(one_meaning), st.data())
def test_an_undo_beyond_the_ring_works_if_it_says_of_what(history, data):
    law = replace(LAW, ring=4)
    distinct = list({e.event_id: e for e in history}.values())
    beyond = [e for e in distinct[:-4] if e.kind != "impression"]
    targets = data.draw(st.lists(st.sampled_from(beyond), unique_by=id)) if beyond else []
    undone: list[Event] = [
        Undo(
            event_id=f"x{e.event_id}", user_id="u", undoes=e.event_id, at_ms=NOW,
            of=Undone(item_id=e.item_id, kind=e.kind, value=e.value, at_ms=e.at_ms),
        )
        for e in targets
    ]  # fmt: skip
    assert_lawful(folded([*distinct, *undone], law), [*distinct, *undone], law)


@settings(max_examples=60, deadline=None)
@given(histories, times, st.randoms(use_true_random=False))
def test_an_erasure_takes_all_up_to_it_and_nothing_after(history, at_ms, random):
    events = [*history, Erase(event_id="z", user_id="u", at_ms=at_ms)]
    # an id is forgotten with its event: what came again after an erasure is what it says
    later = [e for e in events if isinstance(e, Erase) or not isinstance(e, Undo)]
    shuffled = list({e.event_id: e for e in later}.values())
    random.shuffle(shuffled)
    assert_lawful(folded(shuffled), shuffled)


def outcome(state: UserState, event: Event) -> Outcome:
    return fold(state, event, offset=state.applied + 1, at_ms=event.at_ms)


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


def test_what_comes_again_after_an_erasure_is_still_a_duplicate():
    visit = Visit(event_id="v", user_id="u", at_ms=NOW)
    state = folded([visit, Erase(event_id="z", user_id="u", at_ms=NOW - 1)])
    assert outcome(state, visit) == "duplicate"


def test_a_value_beyond_single_precision_is_the_largest():
    state = folded([click("e1", kind="dwell", value=1e300)])
    assert np.isfinite(state.ring.rows["value"]).all()


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


def test_old_tastes_do_not_underflow():
    years = 30 * 365 * DAY_MS
    state = folded([click("e1", kind="view", at_ms=NOW - years), Visit(
        event_id="v", user_id="u", at_ms=NOW)])  # fmt: skip
    np.testing.assert_allclose(interest_unit(state), unit(VECTORS[hash64("i1")]), atol=1e-5)


def test_an_undone_newcomer_leaves_no_residue_on_an_old_taste():
    old = [click("e1", kind="view", at_ms=NOW - 90 * DAY_MS)]
    new = [
        click("e2", "i2", kind="view"),
        Undo(event_id="x", user_id="u", undoes="e2", at_ms=NOW),
    ]
    state = folded(old + new)
    np.testing.assert_allclose(interest_unit(state), unit(VECTORS[hash64("i1")]), atol=1e-5)


def unit(vector: Any) -> Any:
    return vector / np.linalg.norm(vector)


def test_a_duplicate_within_the_horizon_counts_once_and_beyond_it_again():
    state = folded([click("e1"), *(click(f"f{n}") for n in range(LAW.recent - 1))])
    assert outcome(state, click("e1")) == "duplicate"
    assert outcome(state, click("g")) == "folded"
    assert outcome(state, click("e1")) == "folded"


def test_an_impression_is_remembered_but_changes_no_interest():
    state = folded([click("e1", "i3", kind="impression")])
    assert state.shown.rows["item"].tolist() == [item_hash("i3")]
    assert not state.seen_items().size
    assert outcome(state, click("e2", "i3", kind="impression")) == "silent"


def test_a_query_waits_for_its_signal():
    query = Query(event_id="q", user_id="u", at_ms=NOW, text="rainy noir")
    assert outcome(new_state(LAW), query) == "silent"


def test_what_was_said_in_another_space_is_never_compared():
    said = Signal(
        event_id="e1#m0", of="e1", user_id="u", at_ms=NOW, encoder="another",
        vector=np.ones(WIDTH, "<f4").tobytes(),
    )  # fmt: skip
    assert not interest_unit(folded([said])).any()


def test_a_state_of_another_law_is_refused():
    state = folded([click("e1")])
    with pytest.raises(OtherLaw, match="rec rebuild"):
        loads(dumps(state), law=replace(LAW, signal_weight=2.0), applied=0)


def test_an_erased_user_keeps_nothing_but_the_time():
    state = folded([click("e1"), Erase(event_id="z", user_id="u", at_ms=NOW)])
    assert outcome(state, click("e9", at_ms=NOW)) == "erased"
    assert (state.size, len(state.ring), len(state.recent), state.as_of_ms) == (0, 0, 0, -1)
    assert len(dumps(state)) < 120


@pytest.mark.parametrize(
    ("stars", "weight"),
    [(1.0, -2.0), (2.0, -1.0), (3.0, 0.3), (4.0, 1.0), (5.0, 2.0), (4.5, 1.5), (9.0, 2.0)],
)
def test_stars_become_weights(stars, weight):
    assert LAW.weight(6, stars) == pytest.approx(weight)


def test_heaviest_items_alone_make_the_interest_of_who_has_many():
    events = [click(f"e{n}", f"j{n}", at_ms=NOW + n * DAY_MS) for n in range(40)]
    held = masses([folded(events)], heaviest=10)
    assert set(held.item_E.tolist()) == {hash64(f"j{n}") for n in range(30, 40)}
