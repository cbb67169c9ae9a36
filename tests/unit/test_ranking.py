"""Lists: strict filters, fillers in order, reasons that add up."""

import numpy as np
import pytest

from encoders.interest import Masses
from encoders.law import hash64
from ranking.catalogue import Catalogue, mixed
from ranking.reasons import past, reasons
from ranking.slate import Places, Wanted, places, slate_items

NEVER = 1 << 60
NONE = np.zeros(0, np.uint64)


def catalogue(items: int = 6, **changes: dict[str, object]) -> Catalogue:
    """Items i0.. published one after the other; `changes` are attributes by item id."""
    made = Catalogue(popular_half_life_ms=1_000.0)
    for n in range(items):
        attributes = {
            "categories": frozenset({"even" if n % 2 == 0 else "odd"}),
            "available": True,
            "expires_at_ms": NEVER,
            "published_at_ms": n,
        } | changes.get(f"i{n}", {})
        made.put(hash64(f"i{n}"), item_id=f"i{n}", **attributes)  # type: ignore[arg-type]
    return made


def wanted(**more: object) -> Wanted:
    defaults = {"as_of_ms": 100, "category": "", "exclude": NONE, "source": "interest"}
    return Wanted(**(defaults | more))  # type: ignore[arg-type]


def listed(
    row: Wanted, held: Catalogue, *found: str, k: int = 10, share: float = 0.0
) -> list[str]:
    hash_UK = np.zeros((1, k), np.uint64)
    hash_UK[0, : len(found)] = [hash64(name) for name in found]
    score_UK = np.linspace(0.9, 0.1, k, dtype=np.float32)[None]
    rows = places(
        [row], hash_UK=hash_UK, score_UK=score_UK, catalogue=held, fresh_share=share
    )
    return [str(held.id_of(name)) for name in rows.hash_UK[0].tolist() if name]


def test_what_was_found_comes_first_and_the_newest_fill_up():
    assert listed(wanted(), catalogue(4), "i0") == ["i0", "i3", "i2", "i1"]


def test_the_popular_fill_up_before_the_fresh():
    held = catalogue(4)
    held.touch(hash64("i1"), 1.0, 50)
    assert listed(wanted(), held)[0] == "i1"


def test_what_is_published_after_the_list_is_not_new_then():
    assert listed(wanted(as_of_ms=2), catalogue(4)) == ["i2", "i1", "i0", "i3"]


def test_popularity_fades_in_event_time():
    held = catalogue(3)
    held.touch(hash64("i0"), 3.0, 0)
    held.touch(hash64("i1"), 1.0, 200_000)
    assert held.item_id[held.popular(1)[0]] == "i1"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param({"available": False}, "sold out", id="unavailable"),
        pytest.param({"expires_at_ms": 100}, "expired", id="expired at the list's time"),
    ],
)
def test_a_barred_item_never_fills_a_list(change, reason):
    assert "i2" not in listed(wanted(), catalogue(4, i2=change)), reason


def test_a_seen_item_never_fills_a_list():
    seen = np.array([hash64("i3"), hash64("i0")], np.uint64)
    assert listed(wanted(exclude=seen), catalogue(4)) == ["i2", "i1"]


def test_only_items_of_the_asked_category_fill_a_list():
    assert listed(wanted(category="odd"), catalogue(6)) == ["i5", "i3", "i1"]
    assert listed(wanted(category="unknown"), catalogue(6)) == []


def test_a_list_is_full_even_when_the_best_of_many_are_sold_out():
    sold = {f"i{n}": {"available": False} for n in range(20, 400)}
    assert len(listed(wanted(), catalogue(400, **sold), k=10)) == 10


def test_scores_fall_along_a_list_whatever_its_sources():
    held = catalogue(6)
    rows = places(
        [wanted()], hash_UK=np.array([[hash64("i0"), *[0] * 5]], np.uint64),
        score_UK=np.array([[-0.2, *[-np.inf] * 5]], np.float32), catalogue=held, fresh_share=0.5,
    )  # fmt: skip
    scores = rows.score_UK[0].tolist()
    assert len(scores) == 6
    assert scores == sorted(scores, reverse=True)


def test_two_lists_are_mixed_by_share_without_doubles():
    mixture = mixed(np.array([1, 2, 3, 4]), np.array([9, 1, 8]), share=0.5)
    assert [row for row, _ in mixture] == [1, 9, 2, 8, 3, 4]


def test_a_withdrawn_item_leaves_and_its_row_serves_another():
    held = catalogue(3)
    held.remove(hash64("i1"))
    held.put(
        hash64("new"), item_id="new", categories=frozenset(), available=True,
        expires_at_ms=NEVER, published_at_ms=9,
    )  # fmt: skip
    assert listed(wanted(), held) == ["new", "i2", "i0"]
    assert held.rows_in("odd").size == 0


def test_many_items_grow_the_columns():
    assert len(listed(wanted(), catalogue(500), k=200)) == 200


def masses_of(*pairs: tuple[str, float]) -> Masses:
    return Masses(
        np.array([hash64(name) for name, _ in pairs], np.uint64),
        np.array([weight for _, weight in pairs], np.float32),
        np.array([0, len(pairs)]),
        np.zeros(1),
    )


def test_reasons_are_shares_of_what_speaks_for_an_item():
    held = catalogue(4)
    before = past(masses_of(("i0", 1.0), ("i1", 0.5), ("i2", -1.0)), size=4)
    vectors = {"i0": [1.0, 0.0], "i1": [0.6, 0.8], "i2": [0.0, 1.0]}
    past_UMD = np.zeros((1, 4, 2), np.float32)
    for at, name in enumerate(["i0", "i1"]):
        past_UMD[0, list(before.hash_UM[0]).index(hash64(name))] = vectors[name]
        assert at < 2
    why = reasons(
        before, past_UMD=past_UMD, listed_UK=np.array([[hash64("i3")]], np.uint64),
        listed_UKD=np.array([[[1.0, 0.0]]], np.float32), catalogue=held, limit=3,
    )  # fmt: skip
    said = [(r.because, r.weight) for r in why[0]]
    assert said == [
        ("i0", pytest.approx(1 / 1.3, abs=1e-4)),
        ("i1", pytest.approx(0.3 / 1.3, abs=1e-4)),
    ]


def test_a_reason_names_the_modality_in_which_two_items_are_most_alike():
    held = catalogue(2)
    one, other = np.float16([1, 0]), np.float16([0.1, 1])
    held.sketch(hash64("i0"), {"text": one, "image": other})
    held.sketch(hash64("i1"), {"text": other, "image": other})
    before = past(masses_of(("i0", 1.0)), size=1)
    why = reasons(
        before, past_UMD=np.ones((1, 1, 2), np.float32),
        listed_UK=np.array([[hash64("i1")]], np.uint64),
        listed_UKD=np.ones((1, 1, 2), np.float32), catalogue=held, limit=1,
    )  # fmt: skip
    assert why[0][0].modality == "image"


def test_fillers_have_no_reasons():
    held = catalogue(1)
    items = slate_items(
        Places(
            np.array([[hash64("i0"), 0]], np.uint64),
            np.array([[0.5, 0.0]]),
            np.array([["popular", "interest"]], object),
        ),
        [[], []],
        held,
    )
    assert (items[0][0].item_id, items[0][0].rank, items[0][0].reasons) == ("i0", 1, [])
