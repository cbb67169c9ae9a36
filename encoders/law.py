"""What an event is worth: weights, half-lives and which kinds mark an item as seen."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
CLASSES = ("short", "medium", "long")
DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of interaction. `weight` is ignored where the value decides (dwell, rating)."""

    weight: float
    half_life: str
    seen: bool = True


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "view": Kind(0.2, "short", seen=False),
        "click": Kind(1.0, "medium"),
        "dwell": Kind(1.0, "medium"),
        "like": Kind(2.0, "long"),
        "save": Kind(2.0, "long"),
        "share": Kind(2.0, "long"),
        "rating": Kind(1.0, "long"),
        "purchase": Kind(3.0, "long"),
        "complete": Kind(1.5, "medium"),
        "skip": Kind(-0.3, "short"),
        "hide": Kind(-1.5, "long"),
        "dislike": Kind(-1.5, "long"),
        "not_interested": Kind(-3.0, "long"),
        "report": Kind(-3.0, "long"),
        "impression": Kind(0.0, "short", seen=False),
    }
)
CODES: Mapping[str, int] = MappingProxyType({name: at for at, name in enumerate(KINDS)})
NAMES: tuple[str, ...] = tuple(KINDS)
IMPRESSION = CODES["impression"]
UNWANTED = frozenset({"impression", "skip", "hide", "dislike", "not_interested", "report"})
"""Kinds that say "not this": nothing that a list should have foretold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Law:
    """The whole of what folding depends on. `digest` (eight hex digits) changes when any of
    it does, and is kept with every state."""

    kinds: Mapping[str, Kind] = field(default_factory=lambda: KINDS)
    half_life_ms: tuple[float, float, float] = (1.0 * DAY_MS, 14.0 * DAY_MS, 180.0 * DAY_MS)
    rating_weights: tuple[float, ...] = (-2.0, -1.0, 0.3, 1.0, 2.0)
    signal_weight: float = 1.0
    ring: int = 256
    recent: int = 1024
    signals: int = 256
    impressions: int = 128

    columns: NDArray[np.int64] = field(init=False, compare=False, repr=False)
    seen_column: NDArray[np.int32] = field(init=False, compare=False, repr=False)
    base: Floats = field(init=False, compare=False, repr=False)
    digest: str = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        if missing := KINDS.keys() ^ self.kinds.keys():
            raise ValueError(f"kinds must name each kind once; check {sorted(missing)}")
        if len(self.rating_weights) < 2:
            raise ValueError(
                f"rating_weights needs the weights of 1, 2, ... stars, at least two, not "
                f"{self.rating_weights}"
            )
        if min(self.half_life_ms) <= 0:
            raise ValueError(f"half-lives must be positive, not {self.half_life_ms}")
        in_order = [self.kinds[name] for name in NAMES]
        columns = np.array([CLASSES.index(kind.half_life) for kind in in_order])
        object.__setattr__(self, "columns", columns)
        seen = np.array([kind.seen for kind in in_order], dtype=np.int32)
        object.__setattr__(self, "seen_column", seen)
        base = np.array([kind.weight for kind in in_order], dtype=np.float64)
        object.__setattr__(self, "base", base)

        object.__setattr__(self, "digest", self._digest())

    def _digest(self) -> str:
        shape = (
            [(n, k.weight, k.half_life, k.seen) for n, k in sorted(self.kinds.items())],
            self.half_life_ms, self.rating_weights, self.signal_weight,
            self.ring, self.recent, self.signals, self.impressions,
        )  # fmt: skip
        return hashlib.sha256(repr(shape).encode()).hexdigest()[:8]

    def weight(self, code: int, value: float | None) -> float:
        """The weight of one event. dwell: seconds / 30, at most 2; rating: between stars 1..5
        the configured weights, linear in between, clamped outside."""
        name = NAMES[code]
        kind = self.kinds[name]
        if name == "dwell":
            return kind.weight * min(max(value or 0.0, 0.0) / 30.0, 2.0)
        if name == "rating":
            stars = min(max(value or 0.0, 1.0), float(len(self.rating_weights))) - 1.0
            low = min(int(stars), len(self.rating_weights) - 2)
            below, above = self.rating_weights[low], self.rating_weights[low + 1]
            return kind.weight * (below + (above - below) * (stars - low))
        return kind.weight

    def half_life_of(self, code: int) -> int:
        """The column of this kind's half-life class."""
        return int(self.columns[code])

    def marks_seen(self, code: int) -> int:
        """1 if this kind marks its item as seen, else 0."""
        return int(self.seen_column[code])

    def weights(self, codes: NDArray[np.uint8], values: NDArray[np.float32]) -> Floats:
        """`weight` of many events at once."""
        out = self.base[codes]
        dwell, rating = codes == CODES["dwell"], codes == CODES["rating"]
        out[dwell] *= np.clip(values[dwell] / 30.0, 0.0, 2.0)
        stars = np.arange(1, len(self.rating_weights) + 1)
        out[rating] *= np.interp(values[rating], stars, self.rating_weights)
        return out


@lru_cache(maxsize=1 << 17)
def item_hash(item_id: str) -> int:
    """`hash64` with the common ones at hand: items come again, events do not."""
    return hash64(item_id)


def hash64(text: str) -> int:
    """The 8-byte name by which states, indexes and rings know an id; never 0."""
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") or 1
