"""Trends: any batching and any crash gives the tables of a plain fold; late events; decay."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encoders.law import KINDS, Law
from ranking.trend_board import TrendBoard, by_category
from ranking.trend_config import TrendConfig, Variant
from ranking.trend_saved import items_from
from ranking.trend_state import ItemTrend, TrendEvent
from ranking.trend_tables import MAX_BYTES
from ranking.trends import Changes, Trends
from schemas import TrendTable, decode, encode
from tests.support.small_parts import small_parts  # noqa: F401  # in force by its name

AT_MS, HOUR_MS = 1_764_000_000_000, 3_600_000
LAW = Law()
NEAR = Variant(name="near", lag_weights=(1.0, 0.5), half_life_ms=1000.0 * HOUR_MS)
CONFIG = TrendConfig(
    half_lives_s=[3600, 86_400],
    windows_s=[3600, 86_400],  # so long that nothing here fades away
    variants=(NEAR,),
    buckets=4,
    keep_rows=1000,
)
MOVING = TrendConfig(  # rows are dropped, and the time that weights are kept from moves on
    half_lives_s=[86_400],
    variants=(Variant(name="near", lag_weights=(1.0, 0.5, 0.2), half_life_ms=72_000.0),),
    keep_rows=4,
)


def event(n: int, user: int, item: str, kind: str = "click", **more: object) -> TrendEvent:
    fields = {"value": None, "at_ms": AT_MS + 60_000 * n, "event": 1000 + n} | more
    return TrendEvent(user=user, item_id=item, kind=kind, offset=n, **fields)  # type: ignore[arg-type]


@dataclass
class Disk:
    """What a store holds, and what a crash leaves of it."""

    items: dict[str, bytes] = field(default_factory=dict)
    users: dict[int, bytes] = field(default_factory=dict)
    committed: int = 0

    def write(self, changes: Changes, *, share: float = 1.0, seed: int = 0) -> None:
        """All of it, or as much as was written when the power went."""
        chance = random.Random(seed)
        for name, data in changes.items.items():
            if chance.random() < share:
                self.items.pop(name, None)
                self.items |= {name: data} if data is not None else {}
        for user, past in changes.users.items():
            if chance.random() < share:
                self.users[user] = past or b""

    def trends(self, config: TrendConfig = CONFIG) -> Trends:
        return Trends(
            3, config=config, law=LAW, items=self.items,
            load_user=lambda user: self.users.get(user) or None,
        )  # fmt: skip


def kept(disk: Disk) -> dict[str, ItemTrend]:
    """The items that a store holds."""
    return {name: item for name, (item, _) in items_from(disk.items).items()}


def items_of(
    events: Sequence[TrendEvent], config: TrendConfig = CONFIG
) -> dict[str, ItemTrend]:
    """The items after a plain fold, one event at a time."""
    disk = Disk()
    trends = disk.trends(config)
    for one in events:
        trends.apply([one])
    disk.write(trends.unsaved(floor=len(events)))
    return kept(disk)


def board(*records: TrendTable) -> TrendBoard:
    made = TrendBoard()
    for record in records:
        made.take(decode("trends", encode(record)))
    return made


@st.composite
def logs(draw: st.DrawFn) -> list[TrendEvent]:
    """Few users and items, any kinds, times out of order, duplicates, undos and erases."""
    out: list[TrendEvent] = []
    for n in range(draw(st.integers(1, 60))):
        user = draw(st.integers(1, 3))
        shape = draw(st.sampled_from(["touch"] * 8 + ["again", "undo", "erase"]))
        at_ms = AT_MS + draw(st.integers(-30, 30)) * HOUR_MS // 5
        mine = [e for e in out if e.user == user and e.kind in KINDS]
        if shape == "again" and mine:
            out.append(draw(st.sampled_from(mine))._replace(offset=n))
        elif shape == "undo" and mine:
            undoes = draw(st.sampled_from(mine)).event
            out.append(event(n, user, "", "undo", undoes=undoes, at_ms=at_ms))
        elif shape == "erase":
            out.append(event(n, user, "", "erase", at_ms=at_ms))
        else:
            kind = draw(st.sampled_from(["click", "view", "like", "hide"]))
            item = f"i{draw(st.integers(0, 6))}"
            out.append(event(n, user, item, kind, at_ms=at_ms))
    return out


@pytest.mark.parametrize("config", [CONFIG, MOVING], ids=["lasting", "moving"])
@settings(max_examples=60, deadline=None)
@given(logs(), st.data())
def test_any_batching_and_any_crash_gives_the_values_of_a_plain_fold(
    config: TrendConfig, events: list[TrendEvent], data: st.DataObject
):
    disk, at = Disk(), 0
    trends = disk.trends(config)
    while at < len(events) or trends.dirty():
        size = data.draw(st.integers(1, 20))
        trends.apply(events[at : at + size])
        at = min(len(events), at + size)
        fate = data.draw(st.sampled_from(["go on", "save", "die", "die in the save"]))
        if fate == "save" or (at == len(events) and fate == "go on"):
            disk.write(trends.unsaved(floor=disk.committed))
            trends.saved()
            disk.committed = data.draw(st.sampled_from([disk.committed, at]))
            if at == len(events):
                break
        elif fate.startswith("die"):
            if fate == "die in the save":
                changes = trends.unsaved(floor=disk.committed)
                disk.write(changes, share=0.5, seed=data.draw(st.integers(0, 9)))
            trends, at = disk.trends(config), disk.committed
    assert kept(disk) == items_of(events, config)


def test_of_an_item_with_many_rows_only_what_changed_is_saved():
    disk, trends, sizes = Disk(), Disk().trends(), list[int]()
    log = [
        event(2 * n + k, 100 + n, "z" if k else f"p{n % 40}")
        for n in range(120)
        for k in (0, 1)
    ]
    for at in range(0, len(log), 2):
        trends.apply(log[at : at + 2])
        changes = trends.unsaved(floor=at)
        sizes.append(sum(len(d or b"") for k, d in changes.items.items() if k[0] == "z"))
        disk.write(changes)
        trends.saved()
    assert kept(disk) == items_of(log)
    once, trends = Disk(), Disk().trends()
    trends.apply(log)
    once.write(trends.unsaved(floor=0))
    assert sum(sizes[60:]) < 60 * len(once.items["z"]) / 4
    assert 1 < len([key for key in disk.items if key[0] == "z"]) <= 41


@settings(max_examples=40, deadline=None)
@given(logs(), st.integers(1, 9))
def test_what_is_published_bit_by_bit_is_what_is_published_at_once(
    events: list[TrendEvent], size: int
):
    tight = TrendConfig(
        half_lives_s=(3600, 86_400), windows_s=(3600,), variants=(NEAR,), buckets=4,
        publish_rows=3, slots=8,
    )  # fmt: skip
    trends, topic, live = Disk().trends(tight), dict[str, TrendTable](), TrendBoard()
    for at in range(0, len(events), size):
        trends.apply(events[at : at + size])
        for record in trends.drain():
            topic.pop(record.name, None)
            topic[record.name] = record  # as compaction leaves it
            live.take(record)
        partly = board(*topic.values())
        assert same(partly, live, trends)
    while trends.changed():
        for record in trends.drain():
            live.take(record)
    whole = Disk().trends()
    whole.apply(events)
    assert same(live, board(*whole.drain()), whole)


def same(one: TrendBoard, other: TrendBoard, trends: Trends) -> bool:
    """What they say of popularity and of what follows, to 1e-6."""
    at_ms = max(one.newest_ms, other.newest_ms)
    pairs = [(b.popular(s, at_ms=at_ms)) for s in (3600, 86_400) for b in (one, other)]
    for item in (f"i{n}" for n in range(7)):
        pairs += [
            b.follows("near", item, at_ms=at_ms, half_life_ms=NEAR.half_life_ms)
            for b in (one, other)
        ]
    for left, right in zip(pairs[::2], pairs[1::2], strict=True):
        for key in left.keys() | right.keys():
            assert left.get(key, 0.0) == pytest.approx(right.get(key, 0.0), abs=1e-6), key
    return True


def test_a_count_is_halved_after_a_half_life_and_late_events_count_at_their_own_time():
    events = [
        event(0, 1, "a", at_ms=AT_MS + HOUR_MS),
        event(1, 2, "a", at_ms=AT_MS),
        event(2, 3, "b", at_ms=AT_MS + HOUR_MS),
    ]
    trends = Disk().trends()
    trends.apply(events)
    popular = board(*trends.drain()).popular(3600, at_ms=AT_MS + 2 * HOUR_MS)
    assert popular["a"] == pytest.approx(0.5 + 0.25)
    assert popular["b"] == pytest.approx(0.5)


def test_a_late_event_goes_to_its_window_while_that_is_kept():
    start = AT_MS // HOUR_MS * HOUR_MS
    times = [start, start + 1, start + HOUR_MS, start + 2, start - 1]
    trends = Disk().trends()
    trends.apply([event(n, n, "a", at_ms=at_ms) for n, at_ms in enumerate(times)])
    shown = board(*trends.drain())
    assert shown.window(3600, start_ms=start + HOUR_MS) == {"a": 1.0}
    assert shown.window(3600, start_ms=start) == {"a": 3.0}
    assert shown.window(3600, start_ms=start - HOUR_MS) == {}


def test_impressions_and_what_people_dislike_make_nothing_popular():
    trends = Disk().trends()
    trends.apply(
        [event(0, 1, "a", "impression"), event(1, 1, "b", "hide"), event(2, 1, "c", "view")]
    )
    assert set(board(*trends.drain()).popular(3600, at_ms=AT_MS)) == {"c"}


def test_an_undo_takes_a_count_back_once_with_or_without_of():
    trends = Disk().trends()
    trends.apply([event(0, 1, "a", at_ms=AT_MS), event(1, 2, "a", at_ms=AT_MS)])
    trends.apply(
        [event(2, 1, "", "undo", undoes=1000), event(3, 1, "", "undo", undoes=1000)]
    )
    seen = board(*trends.drain())
    assert seen.popular(86_400, at_ms=AT_MS)["a"] == pytest.approx(1.0)
    trends.apply([event(4, 9, "a", "undo", undoes=7, value=1.0, at_ms=AT_MS)])
    for record in trends.drain():
        seen.take(record)
    assert seen.popular(86_400, at_ms=AT_MS)["a"] == 0.0


def test_what_follows_is_weighed_by_the_lag_between_different_items():
    names = ["a", "a", "b", "b", "c", "a"]
    trends = Disk().trends()
    trends.apply([event(n, 1, name, at_ms=AT_MS) for n, name in enumerate(names)])
    seen = board(*trends.drain())
    of = {n: seen.follows("near", n, at_ms=AT_MS, half_life_ms=1.0) for n in "abc"}
    assert of == {"a": {"b": 1.0, "c": 0.5}, "b": {"c": 1.0, "a": 0.5}, "c": {"a": 1.0}}


def test_pairs_far_apart_in_time_do_not_follow_each_other():
    trends = Disk().trends()
    late = AT_MS + NEAR.max_gap_ms + 1
    trends.apply([event(0, 1, "a", at_ms=AT_MS), event(1, 1, "b", at_ms=late)])
    assert not board(*trends.drain()).follows("near", "a", at_ms=late, half_life_ms=1.0)


def test_who_is_erased_is_gone_from_the_store_once_no_replay_can_ask():
    disk = Disk()
    trends = disk.trends()
    trends.apply([event(0, 1, "a"), event(1, 1, "", "erase")])
    for floor in (0, 2):
        disk.write(trends.unsaved(floor=floor))
        trends.saved()
    assert disk.users == {1: b""}
    assert not trends.dirty()


def test_an_item_keeps_the_heaviest_of_what_came_before_it():
    config = TrendConfig(variants=(NEAR,), keep_rows=8)
    log = [
        event(2 * n + k, 100 + n, "z" if k else f"p{n % 12 if n % 3 else 0}")
        for n in range(60)
        for k in (0, 1)
    ]
    item = items_of(log, config)["z"]
    assert len(set(item.before.values())) == len(item.before) <= 10
    assert max(item.before, key=lambda name: item.weights[item.before[name]]) == "p0"


def test_an_item_that_has_faded_away_is_let_go_and_counts_anew():
    short = Variant(name="near", lag_weights=(1.0,), half_life_ms=1.0 * HOUR_MS)
    config = TrendConfig(half_lives_s=(3600,), windows_s=(3600,), variants=(short,))
    disk, late = Disk(), AT_MS + 100 * HOUR_MS
    trends = disk.trends(config)
    trends.apply([event(0, 1, "a"), event(1, 1, "b"), event(2, 2, "c", at_ms=late)])
    for floor in (0, 0, 2):  # saved; still asked for; no more
        disk.write(trends.unsaved(floor=floor))
        trends.saved()
        assert trends.item("a") is not None or floor == 2
    assert set(disk.items) == {"c"}
    trends.apply([event(3, 1, "b", at_ms=late), event(4, 3, "a", at_ms=late)])
    for seen in (board(*trends.drain()), board(*disk.trends(config).drain())):
        popular = seen.popular(3600, at_ms=late)
        assert popular.get("c") == pytest.approx(1.0)
    assert trends.item("a") is not None


def test_an_item_taken_back_is_kept_until_what_readers_have_of_it_has_faded():
    short = Variant(name="near", lag_weights=(1.0,), half_life_ms=1.0 * HOUR_MS)
    config = TrendConfig(half_lives_s=(3600,), windows_s=(3600,), variants=(short,))
    trends, later = Disk().trends(config), AT_MS + 3 * HOUR_MS
    trends.apply([event(0, 1, "a", at_ms=AT_MS)])
    reader = board(*trends.drain())
    trends.apply([event(1, 1, "", "undo", undoes=1000)])
    trends.apply([event(2, 2, "b", at_ms=later)])
    for _ in range(2):  # nothing is left of its counts, but nobody was told
        trends.unsaved(floor=3)
        trends.saved()
    for record in trends.drain():
        reader.take(record)
    assert reader.popular(3600, at_ms=later)["a"] == pytest.approx(0.0)
    for n, hours, kept in ((3, 49, True), (4, 51, False)):
        trends.apply([event(n, n, "c", at_ms=AT_MS + hours * HOUR_MS)])
        trends.unsaved(floor=n)
        assert (trends.item("a") is not None) == kept
        trends.saved()


def test_a_whole_table_tells_of_what_was_taken_back_though_little_is_left_of_it():
    config = TrendConfig(half_lives_s=(3600,), windows_s=(), variants=(NEAR,), buckets=1)
    trends, later = Disk().trends(config), AT_MS + 30 * HOUR_MS
    trends.apply([event(0, 1, "a"), event(1, 1, "a", at_ms=AT_MS + 25 * HOUR_MS)])
    reader = board(*trends.drain())
    trends.apply([event(2, 1, "", "undo", undoes=1001), event(3, 2, "b", at_ms=later)])
    for record in trends.drain():
        reader.take(record)
    assert reader.popular(3600, at_ms=later)["a"] == pytest.approx(0.0, abs=1e-6)


def test_a_record_stays_small_and_a_name_that_is_too_long_is_left_out():
    trends = Disk().trends(TrendConfig(buckets=1, publish_rows=10**6, variants=(NEAR,)))
    ids = [f"{n:05d}".ljust(250, "x") for n in range(3_000)]
    trends.apply([event(n, n // 2, name) for n, name in enumerate(ids)])
    records = trends.drain()
    assert all(len(encode(record)) < 512 * 1024 for record in records)
    assert not any(record.name.startswith("follows/") for record in records)
    for record in records:
        decode("trends", encode(record))
    assert MAX_BYTES < 512 * 1024


def test_a_category_is_as_popular_as_its_items_together():
    popular = {"a": 2.0, "b": 1.0, "c": 4.0}
    assert by_category(popular, {"a": ["x"], "b": ["x", "y"]}) == {"x": 3.0, "y": 1.0}
