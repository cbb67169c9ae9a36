"""What the item indexes on Qdrant have in common on our side: vectors kept at hand, and
answers as columns."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workers.ports import Found

Fetch = Callable[[list[int]], dict[int, Any]]


class RecentVectors:
    """The vectors that were asked for lately, at most `limit` of them between calls."""

    def __init__(self, width: int, *, limit: int = 50_000) -> None:
        self._width, self._limit = width, limit
        self._kept: dict[int, NDArray[np.float32]] = {}

    def get(
        self, hash_E: NDArray[np.uint64], fetch: Fetch
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """E x D vectors (zero where unknown), and which are known; `fetch` brings those not
        at hand, all in one call. Hash 0 is nothing's."""
        hash_X, at_E = np.unique(hash_E, return_inverse=True)
        names = hash_X.tolist()
        missing = [name for name in names if name and name not in self._kept]
        fetched = fetch(missing) if missing else {}
        for name, vector in fetched.items():
            self._kept[name] = np.asarray(vector, np.float32)
        vector_XD = np.zeros((len(names), self._width), np.float32)
        known_X = np.array([name in self._kept for name in names], bool)
        for x in np.flatnonzero(known_X).tolist():
            vector_XD[x] = self._kept[names[x]] = self._kept.pop(names[x])
        for name in list(self._kept)[: max(0, len(self._kept) - self._limit)]:
            del self._kept[name]
        return vector_XD[at_E], known_X[at_E]

    def forget(self, hashes: Iterable[int]) -> None:
        """These have changed."""
        for name in hashes:
            self._kept.pop(name, None)


def ranked(answers: Sequence[Sequence[tuple[int, float]]], *, limit: int) -> Found:
    """Lists of (hash, score) as columns, best first, equals by the lower hash."""
    hash_UK = np.zeros((len(answers), limit), np.uint64)
    score_UK = np.full((len(answers), limit), -np.inf, np.float32)
    for u, answer in enumerate(answers):
        best = sorted(answer, key=lambda place: (-place[1], place[0]))
        hash_UK[u, : len(best)] = [name for name, _ in best]
        score_UK[u, : len(best)] = [score for _, score in best]
    return Found(hash_UK=hash_UK, score_UK=score_UK)
