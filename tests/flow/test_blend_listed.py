"""Blended lists: what may be listed."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.replay import TRENDS
from ranking.trend_config import TrendConfig
from schemas import Item, Visit, encode
from tests.support.house import ITEMS, NOW, House, ids
from tests.support.town import NAMES, Town, chains, click, encode_table

pytestmark = pytest.mark.usefixtures("small_and_large")


@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_nothing_is_listed_that_was_seen_is_gone_sold_out_expired_or_of_another_category(
    data,
):
    town = Town(House(trends=TrendConfig()))
    town.tell(*chains())
    pick = st.lists(st.sampled_from(NAMES), max_size=12, unique=True)
    sold, expired, gone, seen = (data.draw(pick) for _ in range(4))
    for name in sold:
        town.house.write(
            ITEMS, name, encode(Item(item_id=name, available=False, categories=["even"]))
        )
    for name in expired:
        town.house.write(
            ITEMS,
            name,
            encode(Item(item_id=name, expires_at_ms=NOW - 1, categories=["even"])),
        )
    for name in gone:
        town.house.write(ITEMS, name, None)
    category = data.draw(st.sampled_from(["", "even", "odd"]))
    barred = {*sold, *expired, *gone, *seen}
    touches = [click("ann", name, n=n, kind="like") for n, name in enumerate(seen)]
    ask = Visit(
        event_id="v",
        user_id="ann",
        at_ms=NOW,
        context={"category": category} if category else {},
    )
    slate = next(s for s in town.tell(*touches, ask) if "v" in s.caused_by)
    left = [n for n in NAMES if n not in barred]
    if category:
        left = [n for n in left if (int(n[1:]) % 2 == 0) == (category == "even")]
    assert {*ids(slate)} <= {*left}
    assert len(slate.items) == min(10, len(left))
    assert len({*ids(slate)}) == len(slate.items)


def test_a_withdrawn_item_vanishes_and_comes_back_as_it_was(town):
    town.tell(*chains())
    town.house.write(ITEMS, "i14", None)
    (slate,) = town.tell(click("ann", "i03", n=50))
    assert "i14" not in ids(slate)
    town.house.write(ITEMS, "i14", encode(Item(item_id="i14", categories=["even"])))
    (slate,) = town.tell(click("bob", "i03", n=51))
    assert ids(slate)[0] == "i14"


def test_a_visit_of_a_category_has_nothing_else(town):
    town.tell(*chains(), click("ann", "i03", n=50))
    assert all(int(name[1:]) % 2 for name in ids(town.ask("ann", "v1", category="odd")))
    assert town.ask("ann", "v2", category="nowhere").items == []


def test_what_was_shown_without_an_answer_falls(town):
    town.tell(*chains(), click("ann", "i03", n=50))
    assert ids(town.ask("ann", "v1"))[0] == "i14"
    shown = [click("ann", "i14", n=60 + n, kind="impression") for n in range(60)]
    town.house.tell(*shown)
    slate = town.ask("ann", "v2")
    assert ids(slate)[0] != "i14"


def test_with_no_item_at_all_lists_are_empty_and_go_on():
    house = House(trends=TrendConfig())
    house.put(TRENDS, "t", encode_table("follows/old/0/i1"))
    worker = house.hire()
    house.tell(click("ann", "i01"))
    house.turn(worker, 4)
    assert [s.items for s in house.slates("ann")] == [[]]


@pytest.mark.parametrize("count", [1, 3])
def test_with_fewer_items_than_places_all_are_listed(count):
    house = House(trends=TrendConfig())
    for name in NAMES[:count]:
        house.item(name)
    house.put(TRENDS, "t", encode_table("follows/session/0/i00"))
    worker = house.hire()
    house.tell(Visit(event_id="v", user_id="ann", at_ms=NOW))
    house.turn(worker, 4)
    (slate,) = house.slates("ann")
    assert sorted(ids(slate)) == NAMES[:count]


def test_an_item_without_a_vector_does_not_bend_an_interest(town):
    """Who touched only such has no likeness to what items have not in common."""
    town.tell(*chains())
    town.house.write(ITEMS, "bare", encode(Item(item_id="bare")))
    town.tell(click("ann", "bare", n=50, kind="view"))
    slate = town.ask("ann", "v1")
    assert not [i for i in slate.items if i.source == "interest"]
