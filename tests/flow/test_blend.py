"""Blended lists through the whole path: trends, a model handed over, and what they may not hold."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import ranking.blended
from encoders.law import Law, hash64
from evaluation.replay import TRENDS
from ranking.blend import blend_tensors, untrained
from ranking.trend_config import TrendConfig
from ranking.trends import Trends
from schemas import (
    Erase,
    Event,
    Interaction,
    Item,
    ModelCard,
    Query,
    Signal,
    Slate,
    Visit,
    encode,
)
from tests.support.house import EVENTS, ITEMS, NOW, SPACE, WIDTH, House, ids, vector_of
from workers.config import Config, ListConfig
from workers.member import Worker
from workers.model_files import Model
from workers.ports import Outbound
from workers.trend_events import decoded

MINUTE_MS = 60_000
NAMES = [f"i{n:02d}" for n in range(30)]


@dataclass
class Town:
    """A worker with its lists blended, and what folds the trends beside it."""

    house: House
    worker: Worker = field(init=False)
    trends: dict[int, Trends] = field(default_factory=dict)
    read: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for n, name in enumerate(NAMES):
            self.house.item(name, categories=["even" if n % 2 == 0 else "odd"])
        self.worker = self.house.hire()
        self.trends = {
            n: Trends(n, config=TrendConfig(), law=Law())
            for n in range(self.house.partitions)
        }

    def fold(self) -> None:
        """As the trend worker does: what is new in the events, into records of trends."""
        for record in self.house.log.records(EVENTS):
            if record.offset >= self.read.get(record.partition, 0):
                self.read[record.partition] = record.offset + 1
                self.trends[record.partition].apply(decoded([record], Config(), Law()))
        for trends in self.trends.values():
            self.house.log.append(
                [
                    Outbound(TRENDS, table.name.encode(), encode(table))
                    for table in trends.drain()
                ]
            )

    def tell(self, *events: Event, turns: int = 6) -> list[Slate]:
        """Events answered; then the trends catch up. Returns the new lists."""
        before = len(self.house.log.records("rec.recommendations.v1"))
        self.house.tell(*events)
        self.house.turn(self.worker, turns)
        self.fold()
        self.house.turn(self.worker, 1)
        after = self.house.slates()
        caused = {event.event_id for event in events}
        assert len(self.house.log.records("rec.recommendations.v1")) >= before
        return [s for s in after if caused & {*s.caused_by}]

    def ask(self, user: str, event_id: str, **context: str) -> Slate:
        (slate,) = self.tell(
            Visit(event_id=event_id, user_id=user, at_ms=self.house.now_ms, context=context)
        )
        return slate


def click(user: str, item: str, n: int = 0, **more: Any) -> Interaction:
    return Interaction(
        event_id=f"{user}-{item}-{n}-{more.get('kind', 'click')}", user_id=user, item_id=item,
        kind=more.pop("kind", "click"), at_ms=NOW - 3_600_000 + n * MINUTE_MS, **more,
    )  # fmt: skip


def chains(users: int = 8) -> list[Interaction]:
    """Who touched i03 went on to i14, and then to i25."""
    return [
        click(f"u{u}", item, n=3 * u + step)
        for u in range(users)
        for step, item in enumerate(("i03", "i14", "i25"))
    ]


@pytest.fixture
def town() -> Town:
    return Town(House(trends=TrendConfig()))


def model(version: str, *, likes: str = "", encoder: str = "", **tensors: Any) -> Model:
    """A model in which every item speaks for one, and nothing else counts."""
    hash_M = np.array([hash64(name) for name in NAMES], np.uint64)
    to_MK = np.full((len(NAMES), 1), NAMES.index(likes) if likes else -1, np.int32)
    blend = untrained()
    blend.linear.weight.zero_()
    blend.linear.weight[0, 3] = blend.prior_F[3] = 50.0  # ease
    made = {
        "items": torch.from_numpy(hash_M.view(np.int64)),
        "ease.to": torch.from_numpy(to_MK),
        "ease.weight": torch.ones(len(NAMES), 1),
        **blend_tensors(blend),
        **tensors,
    }
    card = ModelCard(
        name="ranker", version=version, uri="file:///x", sha256="0" * 64, at_ms=1
    )
    return Model(card, made, {"encoder": encoder})


@dataclass
class Handed:
    """Models that became ready, one at a time."""

    ready: list[Model] = field(default_factory=list)

    def take(self) -> Model | None:
        return self.ready.pop(0) if self.ready else None

    def settle(self) -> None:
        """All of them are read already."""


# -- trends ----------------------------------------------------------------------------------


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


def encode_table(name: str) -> bytes:
    from schemas import TrendTable

    return encode(TrendTable(name=name, at_ms=NOW, rows=[("i01", 1.0)]))


# -- what may be listed ----------------------------------------------------------------------


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


# -- what is asked in words -------------------------------------------------------------------


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


# -- people ----------------------------------------------------------------------------------


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


# -- models ----------------------------------------------------------------------------------


def handed(town: Town, *models: Model) -> None:
    town.worker.models = Handed(list(models))  # type: ignore[assignment]


def test_a_model_handed_over_between_two_batches_is_named_and_in_force(town):
    town.tell(*chains())
    (before,) = town.tell(click("ann", "i03", n=50))
    handed(town, model("m1", likes="i22"))
    after = town.ask("ann", "v1")
    assert before.versions["model"] == "replay"
    assert after.versions["model"] == "m1"
    assert ids(after)[0] == "i22"
    handed(town, model("m2", likes="i08"))
    last = town.ask("ann", "v2")
    assert (last.versions["model"], ids(last)[0]) == ("m2", "i08")


def test_a_model_alone_is_enough_to_blend(town):
    handed(town, model("m1", likes="i22"))
    (slate,) = town.tell(click("ann", "i03"))
    assert slate.versions == {"encoder": SPACE, "model": "m1", "ranker": "blend-1"}
    assert ids(slate)[0] == "i22"


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param({"items": torch.zeros(3, dtype=torch.int32)}, id="items"),
        pytest.param({"ease.to": torch.full((30, 1), 99)}, id="a row that is not there"),
        pytest.param({"blend.linear.weight": torch.zeros(1, 3)}, id="other features"),
        pytest.param({"tower.settings": torch.zeros(2, dtype=torch.uint8)}, id="a tower"),
    ],
)
def test_a_model_that_does_not_fit_leaves_the_one_before_and_is_not_named(town, broken):
    town.tell(*chains())
    handed(town, model("good", likes="i22"), model("bad", likes="i08", **broken))
    town.ask("bob", "v0")
    slate = town.ask("ann", "v1")
    assert slate.versions["model"] == "good"
    (slate,) = town.tell(click("ann", "i03", n=50))
    assert ids(slate)[0] == "i22"


def test_a_models_items_that_are_not_here_are_never_listed(town):
    hash_M = np.array([hash64(n) for n in ["never", *NAMES[1:]]], np.uint64)
    odd = model("m1", items=torch.from_numpy(hash_M.view(np.int64)))
    to_MK = torch.zeros(len(NAMES), 1, dtype=torch.int32)  # all speak for what never comes
    handed(town, Model(odd.card, {**odd.tensors, "ease.to": to_MK}, {}))
    (slate,) = town.tell(click("ann", "i03"))
    assert "never" not in ids(slate)
    assert len(slate.items) == 10
    town.house.item("never")
    (slate,) = town.tell(click("bob", "i05"))
    assert ids(slate)[0] == "never"


def tower_model(version: str, *, encoder: str) -> Model:
    from encoders.tower import Tower, TowerSettings
    from encoders.tower_model import TowerModel
    from ranking.model import tower_tensors

    torch.manual_seed(3)
    net = Tower(
        TowerSettings(width=8, heads=2, blocks=1, length=5, content_width=WIDTH), items=30
    )
    hash_M = np.array([hash64(name) for name in NAMES], np.uint64)
    made = tower_tensors(TowerModel.of(net, hash_M))
    weigher = untrained()
    weigher.linear.weight.zero_()
    weigher.linear.weight[0, 4] = weigher.prior_F[4] = 10.0  # sequence
    return model(version, likes="", encoder=encoder, **made, **blend_tensors(weigher))


@pytest.mark.parametrize("encoder", [SPACE, "another-space"], ids=["same space", "another"])
def test_a_tower_speaks_only_in_the_space_that_it_was_trained_in(town, encoder):
    town.tell(*chains())
    handed(town, tower_model("t1", encoder=encoder))
    (slate,) = town.tell(click("ann", "i03", n=50))
    assert slate.versions["model"] == "t1"
    assert len(slate.items) == 10
    blending = town.worker.lists.blending
    assert (blending.sources.model.tower is not None) == (encoder == SPACE)
    if encoder == SPACE:
        assert blending.sources.model.vector_NW[: len(NAMES)].any(dim=1).all()
        town.house.item("brand-new", categories=["odd"])
        town.ask("ann", "v1")
        assert len(blending.sources.model.vector_NW) == blending.items.catalogue.size
        blending.items.encoder = "another-space"  # a space is rolled out
        blending.refresh()
        assert blending.sources.model.tower is None


def test_a_ranker_of_content_alone_can_still_be_chosen():
    house = House(lists=ListConfig(ranker="content"))
    for name in NAMES:
        house.item(name)
    worker = house.hire()
    house.tell(click("ann", "i03"))
    house.turn(worker, 4)
    assert {s.versions["ranker"] for s in house.slates()} == {"cosine-1"}
