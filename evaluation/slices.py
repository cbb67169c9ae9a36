"""Whose events, and which: the slices by which a table says where a system loses.

All is known before the event: nothing here looks at what came after.

Legend:  E = events of the stream,  I = items,  G = categories
"""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from evaluation.metrics import Values
from evaluation.protocol import Split
from evaluation.recorded import Bools, Ints, Log

COLD_EVENTS = 5
FIRST_EVENTS = 5

GAPS = (
    ("first", -1, 0), ("<1 min", 0, 60_000), ("1-5 min", 60_000, 300_000),
    ("5-60 min", 300_000, 3_600_000), ("1-24 h", 3_600_000, 86_400_000),
    (">1 d", 86_400_000, 1 << 62),
)  # fmt: skip
LENGTHS = (
    ("0", 0, 1), ("1-4", 1, 5), ("5-19", 5, 20), ("20-49", 20, 50),
    ("50-99", 50, 100), ("100-199", 100, 200), ("200+", 200, 1 << 62),
)  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Stream:
    """What was true just before each event of the stream.

    `before_E`: events of its user in the log so far; `gap_ms_E`: since the user's last one, -1
    at the first; `new_E`: the user has no event in the history; `target_E`: wanted, and not
    touched before, so that a list could have held it. `profile_EG`: the categories of what
    the user wanted so far, as shares; `profile_popularity_E`: the mean count of those items in
    the history. `count_I` events and `people_I` users of an item in the history."""

    user_E: Ints
    item_E: Ints
    before_E: Ints
    gap_ms_E: Ints
    new_E: Bools
    target_E: Bools
    profile_EG: Values
    profile_popularity_E: Values
    count_I: Ints
    people_I: Ints
    people: int


def stream_of(log: Log, split: Split, share_IG: Values) -> Stream:
    """The facts of each event of the stream, gone through in order."""
    wanted = log.wanted_E[: split.history]
    items, users = log.item_E[: split.history][wanted], log.user_E[: split.history][wanted]
    count_I = np.bincount(items, minlength=len(log.items))
    pairs = np.unique(np.stack([users, items]), axis=1)
    people_I = np.bincount(pairs[1], minlength=len(log.items))
    old = set(log.user_E[: split.history].tolist())

    touched: defaultdict[int, set[int]] = defaultdict(set)
    number: defaultdict[int, int] = defaultdict(int)
    last_ms: dict[int, int] = {}
    mix: defaultdict[int, Values] = defaultdict(lambda: np.zeros(share_IG.shape[1]))
    mass: defaultdict[int, list[float]] = defaultdict(lambda: [0.0, 0.0])
    rows: list[tuple[int, int, bool, Values, float]] = []
    for event in log.each():
        user, item = event.user, event.item
        if event.row >= split.history + split.stream:
            break
        if event.row >= split.history:
            gap = event.at_ms - last_ms[user] if user in last_ms else -1
            fresh = event.wanted and item not in touched[user]
            total, seen = mass[user]
            rows.append(
                (number[user], gap, fresh, mix[user].copy(), total / seen if seen else 0.0)
            )
        touched[user].add(item)
        number[user] += 1
        last_ms[user] = event.at_ms
        if event.wanted:
            mix[user] += share_IG[item]
            mass[user][0] += float(count_I[item])
            mass[user][1] += 1
    before, gaps, fresh_E, mixes, popular = zip(*rows, strict=True)
    mix_EG = np.stack(mixes)
    user_E = log.user_E[split.history : split.history + split.stream]
    return Stream(
        user_E=user_E,
        item_E=log.item_E[split.history : split.history + split.stream],
        before_E=np.array(before, np.int64),
        gap_ms_E=np.array(gaps, np.int64),
        new_E=np.array([user not in old for user in user_E.tolist()]),
        target_E=np.array(fresh_E),
        profile_EG=mix_EG / np.maximum(mix_EG.sum(axis=1, keepdims=True), 1e-12),
        profile_popularity_E=np.array(popular),
        count_I=count_I,
        people_I=people_I,
        people=len(set(users.tolist())),
    )


def slices(stream: Stream) -> dict[str, Bools]:
    """The main slices, of targets only, by the name that the report shows."""
    target_E = stream.target_E
    cold_E = stream.count_I[stream.item_E] <= COLD_EVENTS
    first_E = stream.before_E < FIRST_EVENTS
    return {
        "all": target_E,
        "cold items": target_E & cold_E,
        "warm items": target_E & ~cold_E,
        "first 5 events": target_E & first_E,
        "first 5, new users": target_E & first_E & stream.new_E,
        "users with >= 5": target_E & ~first_E,
        "known users": target_E & ~stream.new_E,
    }


def by_gap(stream: Stream) -> dict[str, Bools]:
    """By the time since the user's last event."""
    return _bands(stream.gap_ms_E, GAPS, stream.target_E)


def by_length(stream: Stream) -> dict[str, Bools]:
    """By how many events the user had."""
    return _bands(stream.before_E, LENGTHS, stream.target_E)


def _bands(
    value_E: Ints, bands: tuple[tuple[str, int, int], ...], target_E: Bools
) -> dict[str, Bools]:
    return {
        name: target_E & (value_E >= low) & (value_E < high) for name, low, high in bands
    }
