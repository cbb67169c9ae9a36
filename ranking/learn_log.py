"""What a model learns from and is judged by. Values only: who learns is beside it.

Shapes:  E = events,  I = items,  D = width of the fused space,  N = newest events
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

UNTIL_MS = "until_ms"  # of a model's tensors: the time of the newest event it learned from


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class LearnItems:
    """The items that can be recommended. `vector_ID` is a unit row of the space `encoder`,
    or zero where the item has none of it. `published_at_ms_I`: 0 where nobody knows."""

    hash_I: NDArray[np.uint64]
    item_id_I: Sequence[str]
    categories_I: Sequence[frozenset[str]]
    published_at_ms_I: NDArray[np.int64]
    vector_ID: NDArray[np.float32]
    encoder: str

    def __len__(self) -> int:
        return len(self.hash_I)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class LearnLog:
    """Interactions in the order of their own time; doubles, and what was undone or erased,
    left out. `kind_E`: codes of `encoders.law.CODES`. `value_E`: NaN where there is none.
    (`partition_E`, `offset_E`) is where the record stands in rec.events."""

    user_E: NDArray[np.uint64]
    item_E: NDArray[np.uint64]
    kind_E: NDArray[np.uint8]
    value_E: NDArray[np.float32]
    at_ms_E: NDArray[np.int64]
    offset_E: NDArray[np.int64]
    partition_E: NDArray[np.int32]
    items: LearnItems

    def __len__(self) -> int:
        return len(self.user_E)

    def before(self, newest: int) -> "LearnLog":
        """The same log without its newest events."""
        end = max(0, len(self) - newest)
        return replace(
            self,
            user_E=self.user_E[:end],
            item_E=self.item_E[:end],
            kind_E=self.kind_E[:end],
            value_E=self.value_E[:end],
            at_ms_E=self.at_ms_E[:end],
            offset_E=self.offset_E[:end],
            partition_E=self.partition_E[:end],
        )


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """How a model did on the newest events, one by one: `hit_N` is 1 where the item was
    among the 20 that were listed just before, 0 where it was not, NaN where the event was
    not asked (an impression). Two models that were judged on one log can be compared event
    by event."""

    hit_N: NDArray[np.float32]

    @property
    def score(self) -> float:
        """Hit rate at 20; 0 where nothing was asked."""
        asked = self.hit_N[~np.isnan(self.hit_N)]
        return float(asked.mean()) if len(asked) else 0.0


def gain(candidate: Judged, current: Judged) -> tuple[float, float]:
    """Mean of the candidate's hits less the current model's, event by event, and the standard
    error of that mean. Raises ValueError where the two were not judged on the same events."""
    if len(candidate.hit_N) != len(current.hit_N):
        raise ValueError(
            f"{len(candidate.hit_N)} events judged against {len(current.hit_N)}; judge both "
            "on one log"
        )
    more_N = candidate.hit_N - current.hit_N
    more_N = more_N[~np.isnan(more_N)]
    if not len(more_N):
        return 0.0, 0.0
    return float(more_N.mean()), float(more_N.std() / len(more_N) ** 0.5)
