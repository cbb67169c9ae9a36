"""Blended lists through the whole path: trends, what is asked in words, and people."""

import numpy as np

import ranking.blended
from evaluation.replay import TRENDS
from ranking.trend_config import TrendConfig
from schemas import Erase, Event, Query, Signal, Visit
from tests.support.house import NOW, SPACE, House, ids, vector_of
from tests.support.town import MINUTE_MS, NAMES, Town, chains, click, encode_table


def test_until_anything_is_known_of_trends_lists_go_by_content(town):
    (slate,) = town.tell(click("ann", "i01"))
    assert slate.versions["ranker"] == "cosine-1"
    again = town.ask("ann", "v1")
    assert again.versions["ranker"] == "blend-1"


def test_what_others_did_next_stands_first_within_a_poll(town):
    town.tell(*chains())
    (slate,) = town.tell(click("ann", "i03", n=50))
    assert slate.versions == {"encoder": SPACE, "model": "replay", "ranker": "blend-1"}
    assert ids(slate)[0] == "i14"
    assert slate.items[0].source == "together"
    assert len(slate.items) == 10
    assert [i.rank for i in slate.items] == list(range(1, 11))
    scores = [i.score for i in slate.items]
    assert scores == sorted(scores, reverse=True)
    assert {i.source for i in slate.items} <= {
        "together",
        "interest",
        "category",
        "popular",
        "fresh",
    }


def test_a_new_person_is_shown_what_is_popular(town):
    town.tell(*chains())
    slate = town.ask("new", "v1")
    assert {"i03", "i14", "i25"} == {*ids(slate)[:3]}
    assert slate.items[0].source == "popular"
    assert slate.items[0].reasons == []


def test_trends_about_an_item_that_is_not_here_yet_count_once_it_comes(town):
    town.tell(*(click(f"u{u}", item, n=u) for u in range(6) for item in ("i03", "later")))
    town.tell(click("ann", "later", n=40))  # known by name alone
    (slate,) = town.tell(click("ann", "i03", n=41))
    assert "later" not in ids(slate)
    town.house.item("later", categories=["odd"])
    (slate,) = town.tell(click("bob", "i03", n=42))
    assert ids(slate)[0] == "later"


def test_trends_of_many_items_that_never_come_do_no_harm(town):
    """More names than the catalogue has rows for; and whoever touched them has lists."""
    ghosts = [f"ghost{n}" for n in range(150)]
    town.tell(*(click(f"g{n % 5}", name, n=n) for n, name in enumerate(ghosts)), turns=12)
    for name in ghosts[::40]:
        (slate,) = town.tell(click("ann", name, n=200))
        assert len(slate.items) == 10
        assert not {*ids(slate)} & {*ghosts}


def test_records_of_trends_that_cannot_be_read_stop_nothing(town):
    town.tell(*chains())
    for value in (b"\xc1nonsense", b'{"type":"trend_table"}', None):
        town.house.put(TRENDS, "follows/session/0/i03", value)
    (slate,) = town.tell(click("ann", "i03", n=50))
    assert ids(slate)[0] == "i14"


def test_trends_that_nobody_asks_about_do_not_pile_up(town):
    for n in range(1_000):
        row = encode_table(f"follows/session/0/i{n:02d}")
        town.house.put(TRENDS, f"t{n}", row)
    town.house.turn(town.worker, 4)
    blending = town.worker.lists.blending
    assert blending is not None
    assert len(blending.waiting) < 500
    assert blending.ready


def test_a_query_with_a_vector_is_answered_by_what_was_asked(town):
    town.tell(*chains(), click("ann", "i03", n=50))
    said = vector_of("i20").astype("<f4").tobytes()
    asked = (
        Query(event_id="q1", user_id="ann", at_ms=NOW, text="rainy noir"),
        Signal(
            event_id="q1#m0", of="q1", cause="query", user_id="ann", at_ms=NOW,
            vector=said, modality="text", encoder=SPACE,
        ),
    )  # fmt: skip
    slates = town.tell(*asked, click("bob", "i03", n=51))
    (answer,) = [s for s in slates if "q1" in s.caused_by or "q1#m0" in s.caused_by]
    assert ids(answer)[0] == "i20"
    assert {i.source for i in answer.items} == {"query"}
    (other,) = [s for s in slates if s.user_id == "bob"]
    assert ids(other)[0] == "i14", "others in the batch have their own lists"


def test_an_erased_person_is_a_new_person(town):
    town.tell(*chains(), click("ann", "i03", n=50))
    town.tell(Erase(event_id="x", user_id="ann", at_ms=NOW))
    town.house.now_ms += MINUTE_MS
    again, new = town.ask("ann", "v1"), town.ask("zoe", "v2")
    assert ids(again) == ids(new)
    assert "i03" in ids(again)


def feed(town: Town) -> list[tuple[str, list[str]]]:
    """A day of events, several people a batch."""
    rng = np.random.default_rng(7)
    for step in range(12):
        events: list[Event] = [
            click(f"u{rng.integers(9)}", str(rng.choice(NAMES)), n=20 * step + n)
            for n in range(5)
        ]
        events.append(Visit(event_id=f"v{step}", user_id=f"u{step % 9}", at_ms=NOW))
        town.tell(*events)
    return [(s.slate_id, ids(s)) for s in town.house.slates()]


def test_the_same_log_gives_the_same_lists_twice():
    """Events and trends in the same order between each other. (When trends come is a matter of
    how busy brokers are: live, lists differ by up to two seconds of others' events.)"""
    first, second = (feed(Town(House(trends=TrendConfig()))) for _ in range(2))
    assert first == second


def test_in_chunks_of_one_lists_are_the_same(monkeypatch):
    whole = feed(Town(House(trends=TrendConfig())))
    monkeypatch.setattr(ranking.blended, "PAIRS", 1)
    assert feed(Town(House(trends=TrendConfig()))) == whole
