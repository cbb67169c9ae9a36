"""From scores to lists: the one thing that all baselines share.

Legend:  I = items,  U = users asked at once,  N = events of a profile, newest first
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from evaluation.recorded import Event, Ints, Log

Scores = npt.NDArray[np.floating]


class Scorer(Protocol):
    """Scores all items for one user. `apply` tells it an event after it was asked."""

    def fit(self, history: Log) -> None: ...

    def score(self, user: int, at_ms: int) -> Scores:
        """One number an item, the higher the better; the caller may overwrite it."""

    def apply(self, event: Event) -> None: ...


@dataclass(frozen=True, slots=True)
class Ranked:
    """Holds `Recommender`: the best `k` by score; equal scores in the catalogue's order."""

    name: str
    scorer: Scorer
    settings: str = ""

    def fit(self, history: Log) -> None:
        self.scorer.fit(history)

    def lists(
        self, user_U: Ints, at_ms_U: Ints, *, k: int, exclude: Sequence[Ints]
    ) -> Ints:
        found_UK = np.full((len(user_U), k), -1, np.int64)
        for n, (user, at_ms) in enumerate(zip(user_U, at_ms_U, strict=True)):
            best = top(self.scorer.score(int(user), int(at_ms)), k, exclude=exclude[n])
            found_UK[n, : len(best)] = best
        return found_UK

    def apply(self, event: Event) -> None:
        self.scorer.apply(event)


def top(score_I: Scores, k: int, *, exclude: Ints) -> Ints:
    """The best `k` items, best first, without `exclude`; fewer where there are no more."""
    score_I = score_I.astype(np.float64)
    score_I[exclude] = -np.inf
    k = min(k, len(score_I))
    floor = np.partition(score_I, -k)[-k]
    near = np.flatnonzero(score_I >= floor)
    best = near[np.argsort(-score_I[near], kind="stable")][:k]
    kept: Ints = best[score_I[best] > -np.inf]
    return kept


@dataclass(slots=True)
class Profiles:
    """What each user did, in order. `age_ms`: own events younger than this when he is asked
    are not known (the lift of live state); 0: all are."""

    age_ms: int = 0
    _items: defaultdict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    _at_ms: defaultdict[int, list[int]] = field(default_factory=lambda: defaultdict(list))

    def add(self, event: Event) -> None:
        self._items[event.user].append(event.item)
        self._at_ms[event.user].append(event.at_ms)

    def users(self) -> list[int]:
        """Everybody of whom something is known."""
        return sorted(user for user, items in self._items.items() if items)

    def told(self, user: int) -> tuple[list[int], list[int]]:
        """The user's items and when each was, oldest first, whatever their age."""
        return self._items[user], self._at_ms[user]

    def newest(self, user: int, limit: int) -> list[int]:
        """The user's newest items, newest first, whatever their age: what happened is
        learnt from at once."""
        return self._items[user][: -limit - 1 : -1]

    def known(self, user: int, at_ms: int, limit: int) -> list[int]:
        """The user's newest items that are at least `age_ms` old, newest first."""
        items = self._items[user]
        if self.age_ms:
            times = self._at_ms[user]
            count = len(times)
            while count and times[count - 1] > at_ms - self.age_ms:
                count -= 1
            items = items[:count]
        return items[: -limit - 1 : -1]
