"""The trends as lists read them: what the trend worker publishes is what a fold at once gives."""

import random
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encoders.law import CODES, Law, hash64
from ranking.catalogue import Catalogue
from ranking.fold_live import fold_live
from ranking.follows import Past
from ranking.histories import Pasts
from ranking.live import Live
from ranking.trend_config import TrendConfig
from ranking.trend_state import TrendEvent
from ranking.trends import Trends
from schemas import TrendTable, decode, encode

AT_MS, MINUTE_MS, DAY_MS = 1_764_000_000_000, 60_000, 86_400_000
LAW, CONFIG = Law(), TrendConfig()
Touch = tuple[int, int, str, int]  # user, item, kind, ms after AT_MS

touches = st.lists(
    st.tuples(
        st.integers(1, 5),
        st.integers(0, 8),
        st.sampled_from(["click", "click", "view", "like", "hide", "purchase"]),
        st.integers(0, 90 * MINUTE_MS),
    ),
    min_size=1,
    max_size=80,
)


def published(
    told: Sequence[Touch],
    *,
    config: TrendConfig = CONFIG,
    partitions: int = 3,
    seed: int = 0,
) -> list[TrendTable]:
    """What trend workers write of these events, drained at times that chance chooses."""
    chance = random.Random(seed)
    trends = [Trends(p, config=config, law=LAW) for p in range(partitions)]
    out: list[TrendTable] = []
    for n, (user, item, kind, at_ms) in enumerate(told):
        trends[user % partitions].apply(
            [
                TrendEvent(
                    user=user, item_id=f"i{item}", kind=kind, value=None,
                    at_ms=AT_MS + at_ms, offset=n, event=n,
                )
            ]
        )  # fmt: skip
        if chance.random() < 0.3:
            out += trends[chance.randrange(partitions)].drain()
    while any(t.changed() for t in trends):
        for t in trends:
            out += t.drain()
    return [decode("trends", encode(record)) for record in out]


def taken(records: Sequence[TrendTable], catalogue: Catalogue, *, seed: int = 0) -> Live:
    """Records taken in by parts."""
    live, chance, at = Live(CONFIG), random.Random(seed), 0
    while at < len(records):
        size = chance.randint(1, 40)
        live.take(records[at : at + size], catalogue)
        at += size
    return live


def folded(told: Sequence[Touch], catalogue: Catalogue, *, step: int = 10_000) -> Live:
    rows = catalogue.place([hash64(f"i{item}") for _, item, _, _ in told])
    pasts = Pasts.of(
        np.array([user for user, _, _, _ in told], np.uint64),
        rows,
        np.array([at_ms for _, _, _, at_ms in told], np.int64) + AT_MS,
        np.full(len(told), np.nan, np.float32),
        np.array([CODES[kind] for _, _, kind, _ in told], np.uint8),
    )
    live = Live(CONFIG)
    for at in range(0, len(told), step):
        fold_live(live, pasts, np.arange(at, min(at + step, len(told))), law=LAW)
    return live


def edges(live: Live, variant: str, *, owners: int, rows: int, as_of_ms: int) -> np.ndarray:
    return live.follows[variant].scatter(
        Past.of(np.arange(owners)[:, None], np.ones((owners, 1), np.float32)),
        rows=rows,
        as_of_ms_U=np.full(owners, as_of_ms),
    )


def same(a: Live, b: Live, catalogue: Catalogue, *, as_of_ms: int) -> None:
    rows = catalogue.size
    for variant in CONFIG.variants:
        both = [
            edges(x, variant.name, owners=max(rows, 25), rows=rows, as_of_ms=as_of_ms)
            for x in (a, b)
        ]
        assert np.allclose(*both, rtol=1e-4, atol=1e-6), variant.name
    for half_s in CONFIG.half_lives_s:
        counts = [x.popular[str(half_s)].read(rows, as_of_ms=as_of_ms) for x in (a, b)]
        assert np.allclose(*counts, rtol=1e-4, atol=1e-6), half_s
    assert a.newest_ms == b.newest_ms


@settings(max_examples=60, deadline=None)
@given(touches, st.integers(0, 1_000), st.sampled_from([1, 7, 10_000]))
def test_what_is_published_is_what_a_fold_at_once_gives(told, seed, step):
    """Repeats, views that mark nothing as seen and dislikes, times out of order between users
    and within, several partitions, drained and taken in any batching."""
    catalogue = Catalogue(popular_half_life_ms=1.0)
    live = taken(published(told, seed=seed), catalogue, seed=seed)
    at_once = folded(told, catalogue, step=step)
    newest_ms = AT_MS + max(at_ms for *_, at_ms in told)
    same(live, at_once, catalogue, as_of_ms=newest_ms + MINUTE_MS)


def test_a_longer_log_with_more_than_a_person_is_remembered_by():
    chance = random.Random(3)
    told = [
        (
            chance.randint(1, 4),
            int(chance.paretovariate(0.7)) % 60,
            chance.choice(["click", "click", "view", "like"]),
            n * MINUTE_MS // 2,
        )
        for n in range(600)
    ]
    catalogue = Catalogue(popular_half_life_ms=1.0)
    live = taken(published(told, partitions=2), catalogue)
    same(live, folded(told, catalogue, step=64), catalogue, as_of_ms=AT_MS + DAY_MS)


def test_rows_that_come_alone_give_what_whole_tables_give():
    told = [(n % 5, n * 7 % 40, "click", n * MINUTE_MS) for n in range(300)]
    tight = TrendConfig(publish_rows=30, slots=4096)
    catalogue = Catalogue(popular_half_life_ms=1.0)
    records = published(told, config=tight)
    assert any(record.name.startswith("rows/") for record in records)
    same(
        taken(records, catalogue), folded(told, catalogue), catalogue,
        as_of_ms=AT_MS + DAY_MS,
    )  # fmt: skip


def test_names_of_tables_have_no_control_characters_and_entries_are_by_number():
    told = [(user, item, "click", item) for user in range(3) for item in range(5)]
    records = published(told)
    names = {record.name for record in records}
    assert all(name.isprintable() for name in names)
    assert {name for name in names if name.startswith("follows/entry/0/")} == {
        f"follows/entry/0/{n}" for n in range(5)
    }


def test_numbers_of_touches_are_no_items():
    catalogue = Catalogue(popular_half_life_ms=1.0)
    taken(published([(1, n, "click", n) for n in range(12)]), catalogue)
    assert catalogue.size == 12


def test_other_variants_and_half_lives_and_windows_are_passed_over():
    catalogue = Catalogue(popular_half_life_ms=1.0)
    live = Live(CONFIG)
    strange = [
        ("follows/old/0/i1", "i2"),
        ("popular/77/0/b00", "i3"),
        ("window/3600/0/1/b00", "i4"),
        ("rows/0/1", "follows/old/0/i5\ni6"),
        ("rows/0/2", "popular/77/0\ni7"),
        ("follows/session", "i8"),
        ("follows/session/x/i9", "i9"),
        ("popular/3600/99999999999999999999/b00", "i9"),
        ("follows/session/0", "i9"),
        ("follows/entry/0/i9", "i9"),
        ("follows/entry/0/999999999999", "i9"),
        ("what is this", "i9"),
    ]
    live.take(
        [TrendTable(name=name, at_ms=AT_MS, rows=[(row, 1.0)]) for name, row in strange],
        catalogue,
    )
    assert live.ready
    assert catalogue.size == 0
    assert not live.row_of
    assert all(not len(f.to_NM) for f in live.follows.values())


def test_an_id_with_slashes_is_one_id():
    catalogue = Catalogue(popular_half_life_ms=1.0)
    a, b = catalogue.place([hash64("shop/1/a"), hash64("shop/2")])
    live = Live(CONFIG)
    live.take(
        [
            TrendTable(
                name="follows/session/2/shop/1/a", at_ms=AT_MS, rows=[("shop/2", 3.0)]
            )
        ],
        catalogue,
    )
    live.take(
        [TrendTable(name="rows/1/0", at_ms=AT_MS, rows=[("follows/session/1/shop/1/a\nshop/2", 2.0)])],
        catalogue,
    )  # fmt: skip
    got = edges(live, "session", owners=catalogue.size, rows=catalogue.size, as_of_ms=AT_MS)
    assert got[a, b] == pytest.approx(5.0)
    assert catalogue.size == 2


def test_items_that_come_later_than_the_trends_about_them_are_known_by_them():
    catalogue = Catalogue(popular_half_life_ms=1.0)
    told = [(1, 0, "click", 0), (1, 1, "click", 1)]
    live = taken(published(told), catalogue)
    catalogue.put(
        hash64("i1"), item_id="i1", categories=frozenset(), available=True,
        expires_at_ms=1 << 60, published_at_ms=0,
    )  # fmt: skip
    a, b = catalogue.named.find(np.array([hash64("i0"), hash64("i1")], np.uint64))
    assert catalogue.row_of[hash64("i1")] == b
    got = edges(live, "session", owners=2, rows=2, as_of_ms=AT_MS)
    assert got[a, b] == pytest.approx(1.0, abs=1e-3)
    assert live.popular["86400"].read(2, as_of_ms=AT_MS)[b] == pytest.approx(1.0, abs=1e-3)


def test_what_was_taken_back_is_no_longer_popular():
    catalogue = Catalogue(popular_half_life_ms=1.0)
    trends, live = Trends(0, config=CONFIG, law=LAW), Live(CONFIG)
    what = {"user": 1, "value": None, "at_ms": AT_MS}
    trends.apply([TrendEvent(item_id="i0", kind="like", offset=0, event=7, **what)])
    live.take(trends.drain(), catalogue)
    assert live.popular["3600"].read(1, as_of_ms=AT_MS)[0] == pytest.approx(1.0)
    trends.apply([TrendEvent(item_id="", kind="undo", offset=1, event=8, undoes=7, **what)])
    live.take(trends.drain(), catalogue)
    assert live.popular["3600"].read(1, as_of_ms=AT_MS)[0] == 0


@pytest.mark.parametrize("hours", [1, 63, 65, 5_000])
def test_popularity_fades_is_never_more_than_it_was_and_never_overflows(hours):
    catalogue = Catalogue(popular_half_life_ms=1.0)
    live = Live(CONFIG)
    later_ms = AT_MS + hours * 3_600_000
    for at_ms, row in ((AT_MS, ("i0", 8.0)), (later_ms, ("i1", 2.0))):
        live.take(
            [TrendTable(name="popular/3600/0/b00", at_ms=at_ms, rows=[row])], catalogue
        )
    hour = live.popular["3600"]
    assert hour.read(2, as_of_ms=later_ms)[1] == pytest.approx(2.0)
    assert hour.read(2, as_of_ms=later_ms)[0] == pytest.approx(8.0 * 2.0**-hours)
    assert hour.read(2, as_of_ms=0)[1] == pytest.approx(2.0)
    assert hour.read(3, as_of_ms=later_ms + 3_600_000)[1:] == pytest.approx([1.0, 0.0])
    assert hour.read(0, as_of_ms=later_ms).shape == (0,)


def test_nothing_taken_and_nothing_folded_is_nothing():
    catalogue = Catalogue(popular_half_life_ms=1.0)
    live = Live(CONFIG)
    live.take([], catalogue)
    assert not live.ready
    pasts = Pasts.of(
        *(np.zeros(0, t) for t in (np.uint64, np.int64, np.int64, np.float32, np.uint8))
    )
    fold_live(live, pasts, np.zeros(0, np.int64), law=LAW)
    assert not live.ready
