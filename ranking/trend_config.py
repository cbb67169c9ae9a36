"""What an operator may choose about trends. Values only: nobody reads it here."""

import hashlib
from math import exp
from typing import Annotated, Literal

import msgspec

from encoders.law import DAY_MS

Name = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9-]{1,32}$")]
Positive = Annotated[int, msgspec.Meta(ge=1)]
Seconds = Annotated[float, msgspec.Meta(gt=0)]
HOUR_S, DAY_S = 3_600, 86_400


class Variant(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One way to weigh what follows what: by the lag, by how long between the two, by age."""

    name: Name
    """part of the tables' names"""
    lag_weights: Annotated[tuple[float, ...], msgspec.Meta(min_length=1, max_length=50)]
    """weight of the item that came 1, 2, ... different items before"""
    max_gap_ms: Positive = 30 * DAY_MS
    """items farther apart in time do not follow each other"""
    gap_half_life_ms: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    """a pair this much farther apart in time weighs half; 0: time between does not matter"""
    first: Annotated[int, msgspec.Meta(ge=0, le=50)] = 0
    """not what follows an item, but what people touch as their 1st, 2nd, ... of so many"""
    half_life_ms: Seconds = 30.0 * DAY_MS
    """after so long a pair counts half"""


SESSION_LAGS = tuple(round(exp(-lag / 10), 6) for lag in range(20))
SESSION = Variant(
    name="session",
    lag_weights=SESSION_LAGS,
    max_gap_ms=HOUR_S * 1000,
    gap_half_life_ms=420_000.0,
    half_life_ms=60.0 * DAY_MS,
)
RECENT = Variant(
    name="recent",
    lag_weights=SESSION_LAGS[:10],
    max_gap_ms=HOUR_S * 1000,
    gap_half_life_ms=420_000.0,
    half_life_ms=5.0 * DAY_MS,
)
ENTRY = Variant(name="entry", lag_weights=(1.0,), first=20, half_life_ms=10.0 * DAY_MS)


class TrendConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is popular and what follows what (docs/trends.md). Half-lives, windows, variants and
    keep_rows make the state: with others the worker reads the log again from its start."""

    half_lives_s: tuple[Positive, ...] = (HOUR_S, DAY_S, 14 * DAY_S, 180 * DAY_S)
    """half-lives of the popularity tables, in seconds; lists read the first four, which are to rise:
    what is new shows in the difference of the longer ones"""
    windows_s: tuple[Positive, ...] = (HOUR_S, DAY_S)
    """widths of the tumbling windows, in seconds"""
    variants: tuple[Variant, ...] = (SESSION, RECENT, ENTRY)
    """ways to weigh what follows what, as JSON"""
    keep_rows: Positive = 2000
    """items kept, the heaviest, of those that came before an item"""
    buckets: Positive = 64
    """records that a popularity table of a partition is cut into"""
    rows: Positive = 200
    """rows of a table of what follows an item, the heaviest"""
    publish_every_s: Seconds = 0.5
    """how often changes are published"""
    publish_rows: Positive = 500
    """rows a partition and publish in whole tables (a record counts as 50 more); beyond it changed rows go out alone first"""
    slots: Annotated[int, msgspec.Meta(ge=8)] = 512
    """records of changed rows kept a partition"""
    save_every_s: Seconds = 5.0
    """how often changed state is saved and its events committed"""
    batch: Positive = 2000
    """events that are folded at once, at most"""
    store: Literal["rocksdb", "memory"] = "rocksdb"
    """where the tables lie beside their changelog; memory: read from the changelog at each start"""
    path: str = "var/trend"
    """folder of the tables; each worker has a folder of its own name inside"""

    @property
    def entries(self) -> frozenset[str]:
        """Names of the variants that go by the number of a touch."""
        return frozenset(v.name for v in self.variants if v.first)

    def digest(self) -> str:
        """Eight hex digits that change when the state would be another."""
        shape = (4, self.half_lives_s, self.windows_s, self.keep_rows, self.variants)
        return hashlib.sha256(msgspec.json.encode(shape)).hexdigest()[:8]
