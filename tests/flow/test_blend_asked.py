"""What is asked in words, a picture or a sound, where lists are blended: it fits that and them."""

from typing import Any

import numpy as np
import pytest

import ranking.features
from evaluation.replay import TRENDS
from ranking.trend_config import TrendConfig
from schemas import Event, Item, Query, Signal, Slate, encode
from tests.support.house import ITEMS, NOW, SPACE, House, ids, vector_of
from tests.support.town import NAMES, Town, chains, click, encode_table
from workers.config import ListConfig

pytestmark = pytest.mark.usefixtures("small_and_large")

DAY_MS = 86_400_000
TWIN = vector_of("twin")


def query(
    user: str, event_id: str, vector: Any, encoder: str = SPACE, **context: str
) -> list[Event]:
    """A query, and what the encode worker sends for it."""
    said = np.asarray(vector, "<f4").tobytes()
    return [
        Query(event_id=event_id, user_id=user, at_ms=NOW, text="words", context=context),
        Signal(
            event_id=f"{event_id}#q", of=event_id, cause="query", user_id=user, at_ms=NOW,
            vector=said, modality="text", encoder=encoder, context=context,
        ),
    ]  # fmt: skip


def asked(town: Town, user: str, event_id: str, vector: Any, **more: str) -> Slate:
    (slate,) = town.tell(*query(user, event_id, vector, **more))
    return slate


def twins(town: Town) -> None:
    """Two items that fit equally: who touched i03 went on to one, after i05 to the other."""
    for name, first in (("one", "i03"), ("other", "i05")):
        town.house.item(name, vector=TWIN, categories=["odd"])
        town.tell(
            *(click(f"{name}{u}", i, n=u) for u in range(6) for i in (first, name)),
        )


@pytest.fixture(params=[100_000, 10], ids=["compared with all", "searched"])
def dense(request, monkeypatch) -> int:
    """Items up to which content is compared with all of them."""
    monkeypatch.setattr(ranking.features, "DENSE", request.param)
    return int(request.param)


def test_of_two_that_fit_equally_the_persons_own_comes_first(town, dense):
    twins(town)
    town.tell(click("ann", "i03", n=40), click("bob", "i05", n=40))
    vectors_ND = town.worker.lists.blending.sources.vector_ND
    assert (len(vectors_ND) > 0) == (dense > len(NAMES))
    for_ann, for_bob = asked(town, "ann", "q1", TWIN), asked(town, "bob", "q2", TWIN)
    assert ids(for_ann)[:2] == ["one", "other"]
    assert ids(for_bob)[:2] == ["other", "one"]
    for slate in (for_ann, for_bob):
        assert slate.versions["ranker"] == "blend-1"
        assert len(slate.items) == len({*ids(slate)}) == 10
        assert {i.source for i in slate.items} == {"query"}
        scores = [i.score for i in slate.items]
        assert scores == sorted(scores, reverse=True)
        assert any(i.reasons for i in slate.items)


@pytest.mark.parametrize("name", ["i20", "i07", "i29"])
def test_what_fits_exactly_is_first_though_nobody_touched_it_and_others_are_liked(
    town, dense, name
):
    town.tell(*chains(), click("ann", "i03", n=50))
    assert ids(asked(town, "ann", "q1", vector_of(name)))[0] == name
    assert ids(asked(town, "stranger", "q2", vector_of(name)))[0] == name


@pytest.mark.parametrize("share", [0.0, 1.0], ids=["the person", "what was asked"])
def test_a_weight_of_all_or_nothing_leaves_one_of_both(share):
    town = Town(House(trends=TrendConfig(), lists=ListConfig(query_weight=share)))
    town.tell(*chains(), click("ann", "i03", n=50))
    got = ids(asked(town, "ann", "q1", vector_of("i20")))
    if share:
        near = sorted(NAMES, key=lambda n: -float(vector_of(n) @ vector_of("i20")))
        assert got == [n for n in near if n != "i03"][:10]
    else:
        assert got[0] == "i14"


def test_an_answer_has_nothing_that_may_not_be_listed(town, dense):
    town.tell(*chains())
    touched = [click("ann", n, n=60, kind="like") for n in ("i20", "i21")]
    town.tell(*touched)
    for name, more in {
        "i22": {"available": False},
        "i24": {"expires_at_ms": NOW - 1},
        "i26": {"published_at_ms": NOW + DAY_MS},  # `available` says what may be listed
    }.items():
        town.house.write(
            ITEMS, name, encode(Item(item_id=name, categories=["even"], **more))
        )
    town.house.write(ITEMS, "i28", None)
    for n, name in enumerate(("i20", "i22", "i24", "i28")):
        assert name not in ids(asked(town, "ann", f"q{n}", vector_of(name)))
    slate = asked(town, "ann", "q9", vector_of("i21"), category="even")
    assert len(slate.items) == 10
    assert all(int(name[1:]) % 2 == 0 for name in ids(slate))
    assert ids(asked(town, "ann", "q10", vector_of("i26")))[0] == "i26"
    assert asked(town, "ann", "q11", vector_of("i26"), category="nowhere").items == []


def test_with_fewer_that_fit_than_places_what_is_new_and_popular_fills_up(town):
    """Items without a vector fit nothing that is asked."""
    town.tell(*chains())
    for name in ("bare", "i20"):
        town.house.write(ITEMS, name, encode(Item(item_id=name, categories=["rare"])))
    slate = asked(town, "ann", "q1", vector_of("i20"), category="rare")
    assert [(i.item_id, i.source) for i in slate.items] == [
        ("i20", "query"),
        ("bare", "fresh"),
    ]


def test_while_no_item_has_a_vector_an_answer_is_what_is_popular():
    house = House(trends=TrendConfig())
    for name in NAMES[:4]:
        house.write(ITEMS, name, encode(Item(item_id=name)))
    house.put(TRENDS, "t", encode_table("follows/session/0/i00"))
    worker = house.hire()
    house.tell(*query("ann", "q1", TWIN))
    house.turn(worker, 4)
    (slate,) = house.slates("ann")
    assert sorted(ids(slate)) == NAMES[:4]
    assert "query" not in {i.source for i in slate.items}


def test_what_was_asked_in_another_space_leaves_the_list_that_a_visit_has(town):
    town.tell(*chains(), click("ann", "i03", n=50))
    slate = asked(town, "ann", "q1", vector_of("i20"), encoder="another-space")
    assert ids(slate)[0] == "i14"
    assert "query" not in {i.source for i in slate.items}


def test_whoever_else_is_in_the_batch_changes_nothing():
    several = {
        "q1": query("ann", "q1", vector_of("i20")),
        "q2": query("bob", "q2", vector_of("i09")),
        "q3": query("cat", "q3", vector_of("i11"), category="odd"),
        "zoe-i03-51-click": [click("zoe", "i03", n=51)],
    }
    answers = []
    for groups in ([[*several]], [[name] for name in several]):
        town = Town(House(trends=TrendConfig(), lists=ListConfig(blend_rate=0.0)))
        town.tell(
            *chains(),
            *(click(u, f"i0{n}", n=50) for n, u in ((3, "ann"), (5, "bob"), (3, "cat"))),
        )
        slates = [s for g in groups for s in town.tell(*(e for n in g for e in several[n]))]
        answers.append({s.caused_by[0]: ids(s) for s in slates})
    together, alone = answers
    assert together == alone
    assert [together[name][0] for name in several] == ["i20", "i09", "i11", "i14"]


def test_an_answer_tires_of_what_was_shown_but_not_of_what_was_asked_for(town):
    twins(town)
    town.tell(*(click(f"few{u}", i, n=u) for u in range(2) for i in ("i03", "other")))
    town.tell(click("ann", "i03", n=40))
    assert ids(asked(town, "ann", "q1", TWIN))[:2] == ["one", "other"]
    town.house.tell(*(click("ann", "one", n=50 + n, kind="impression") for n in range(60)))
    assert ids(asked(town, "ann", "q2", TWIN))[:2] == ["other", "one"]
