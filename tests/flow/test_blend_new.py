"""An upload in blended lists: explored by the people whom it may concern, and seldom by others."""

from typing import Any

import numpy as np
import pytest

from evaluation.replay import ITEMS
from ranking.trend_config import TrendConfig
from schemas import Item, Slate, Visit, encode
from tests.support.house import NOW, House, ids, vector_of
from tests.support.town import NAMES, Town, click
from workers.config import ListConfig

pytestmark = pytest.mark.usefixtures("small_and_large")

YEAR_MS = 365 * 86_400_000
EVEN, ODD = NAMES[:8:2], NAMES[1:8:2]
PEOPLE = 150
OTHERS = 400  # items that nobody touched, old ones


def near(shelf: str, name: str) -> Any:
    """A vector like those of a shelf."""
    vector = vector_of(name) + 2 * vector_of(shelf)
    return vector / np.linalg.norm(vector)


def opened(explore: float) -> Town:
    """Where half of the people touched even items just now, half odd ones, and the others' shelf
    a month ago. All items are a year old, and most of them nobody touched."""
    town = Town(House(trends=TrendConfig(), lists=ListConfig(explore=explore)))
    for name in NAMES:
        shelf = "even" if int(name[1:]) % 2 == 0 else "odd"
        town.house.item(
            name,
            vector=near(shelf, name),
            categories=[shelf],
            published_at_ms=NOW - YEAR_MS,
        )
    for n in range(OTHERS):
        shelf, name = ("even", "odd")[n % 2], f"old{n}"
        town.house.item(
            name,
            vector=near(shelf, name),
            categories=[shelf],
            published_at_ms=NOW - YEAR_MS,
        )
    town.tell(*(click("all", name, n=-60 + n) for n, name in enumerate(NAMES)))
    rng = np.random.default_rng(3)
    for shelf, own, other in (("even", EVEN, ODD), ("odd", ODD, EVEN)):
        town.tell(
            *(
                click(f"{shelf}{n}", str(name), n=minute)
                for n in range(PEOPLE)
                for minute, name in ((-50_000, rng.choice(other)), (5, rng.choice(own)))
            ),
            turns=16,
        )
    return town


def visits(
    town: Town, event: str, shelf: str, *, context: dict[str, str] | None = None
) -> list[Slate]:
    asks = [
        Visit(
            event_id=f"{event}{n}", user_id=f"{shelf}{n}", at_ms=NOW, context=context or {}
        )
        for n in range(PEOPLE)
    ]
    return town.tell(*asks, turns=10)


def share_with(slates: list[Slate], name: str) -> float:
    assert len(slates) == PEOPLE
    return sum(name in ids(s) for s in slates) / len(slates)


def share_with_source(slates: list[Slate], source: str) -> float:
    return sum(s.items[-1].source == source for s in slates) / len(slates)


def blends_as_if_trained(town: Town) -> None:
    """A blend that has learned that what is new and untouched is never right."""
    from ranking.feature_names import FEATURES

    blend = town.worker.lists.blending.sources.model.blend
    for name in ("fresh", "content", "interest", "category"):
        blend.linear.weight[0, FEATURES.index(name)] = 0
    blend.linear.weight[0, FEATURES.index("popular_long")] = 5


@pytest.mark.parametrize("how", ["category", "content"])
def test_an_upload_is_explored_by_those_whose_newest_touches_are_like_it(how):
    town = opened(explore=1.0)
    blends_as_if_trained(town)
    if how == "category":
        upload = Item(item_id="upload", categories=["even"], published_at_ms=NOW - 10_000)
        town.house.write(ITEMS, "upload", encode(upload))
    else:
        vector = near("even", "upload")
        town.house.item("upload", vector=vector, published_at_ms=NOW - 10_000)
    likely = share_with(visits(town, "v", "even"), "upload")
    seldom = share_with(visits(town, "w", "odd"), "upload")
    assert likely > 0.6
    assert likely > 3 * seldom


def test_as_many_lists_explore_as_asked_whatever_is_new():
    town = opened(explore=0.2)
    blends_as_if_trained(town)
    explored = []
    for event in "vw":
        slates = visits(town, event, "even") + visits(town, event + "o", "odd")
        explored.append(sum(s.items[-1].source == "explore" for s in slates) / len(slates))
        assert all("explore" not in {i.source for i in s.items[:-1]} for s in slates)
        town.house.item("upload", categories=["even"], published_at_ms=NOW - 10_000)
    assert explored == pytest.approx([0.2, 0.2], abs=0.07)


def test_a_newcomer_explores_what_is_new_too():
    town = opened(explore=1.0)
    blends_as_if_trained(town)
    town.house.item("upload", categories=["even"], published_at_ms=NOW - 10_000)
    asks = [Visit(event_id=f"x{n}", user_id=f"new{n}", at_ms=NOW) for n in range(PEOPLE)]
    assert 0.2 < share_with(town.tell(*asks, turns=10), "upload") < 0.8


def test_who_looks_through_a_shelf_is_shown_what_is_new_on_it_until_it_is_found():
    town, even = opened(explore=0.05), {"category": "even"}
    blends_as_if_trained(town)
    assert share_with_source(visits(town, "v", "even", context=even), "explore") < 0.15
    town.house.item("upload", categories=["even"], published_at_ms=NOW - 10_000)
    assert share_with(visits(town, "w", "odd", context=even), "upload") > 0.9
    assert share_with(visits(town, "x", "even", context={"category": "odd"}), "upload") == 0
    assert share_with_source(visits(town, "y", "odd"), "explore") < 0.15  # no shelf
    town.tell(*(click(f"finder{n}", "upload", n=6) for n in range(20)), turns=4)
    assert share_with_source(visits(town, "z", "even", context=even), "explore") < 0.15
