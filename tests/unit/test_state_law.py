"""Whatever the order, batching, duplicates, restarts and undos: the state is the fold of the
distinct, not-undone events (DESIGN section 3)."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encoders.interest import masses
from encoders.law import DAY_MS, KINDS, hash64, item_hash
from encoders.persist import OtherLaw, dumps, loads
from encoders.state import fold, new_state
from schemas import Erase, Event, Query, Signal, Undo, Undone, Visit
from tests.support.folded import (
    ITEMS,
    LAW,
    NOW,
    SPACE,
    VECTORS,
    WIDTH,
    assert_lawful,
    click,
    folded,
    interest_unit,
    outcome,
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


def test_what_comes_again_after_an_erasure_is_still_a_duplicate():
    visit = Visit(event_id="v", user_id="u", at_ms=NOW)
    state = folded([visit, Erase(event_id="z", user_id="u", at_ms=NOW - 1)])
    assert outcome(state, visit) == "duplicate"


def test_a_value_beyond_single_precision_is_the_largest():
    state = folded([click("e1", kind="dwell", value=1e300)])
    assert np.isfinite(state.ring.rows["value"]).all()


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
