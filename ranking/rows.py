"""Where in a matrix an item is: 64-bit hashes to row numbers, many at a time.

An open-addressing table in two arrays. Hashes of ids are uniform, so their low bits are a
good slot; a batch of 25,000 look-ups is a handful of numpy passes, not a loop.
"""

import numpy as np
from numpy.typing import NDArray

EMPTY = np.uint64(0)  # no id has hash 0
NOWHERE = -1


class HashRows:
    """hash -> row. Hash 0 is never here."""

    def __init__(self) -> None:
        self._key_S, self._row_S = _slots_for(256)
        self._used = 0  # slots with a key, its row known or forgotten

    def find(self, hash_E: NDArray[np.uint64]) -> NDArray[np.int64]:
        """The row of each hash, -1 for those unknown."""
        slot_E = self._slots(hash_E)
        row_E = self._row_S[slot_E]
        row_E[hash_E == EMPTY] = NOWHERE
        return row_E

    def place(self, hash_E: NDArray[np.uint64], row_E: NDArray[np.int64]) -> None:
        """Each hash (none twice, none 0) is at its row from now on; -1 forgets it."""
        if 2 * (self._used + len(hash_E)) > len(self._key_S):
            self._grow(len(hash_E))
        slot_E = self._slots(hash_E)
        left_E = np.flatnonzero(self._key_S[slot_E] == EMPTY)
        self._used += len(left_E)
        mask = len(self._key_S) - 1
        while len(left_E):
            # Two new hashes may want one slot: the last one written has it, the others walk on.
            free_E = left_E[self._key_S[slot_E[left_E]] == EMPTY]
            self._key_S[slot_E[free_E]] = hash_E[free_E]
            left_E = left_E[self._key_S[slot_E[left_E]] != hash_E[left_E]]
            slot_E[left_E] = (slot_E[left_E] + 1) & mask
        self._row_S[slot_E] = row_E

    def _slots(self, hash_E: NDArray[np.uint64]) -> NDArray[np.int64]:
        """The slot that has the hash, or the empty one where its search ends."""
        mask = len(self._key_S) - 1
        slot_E = (hash_E & np.uint64(mask)).astype(np.int64)
        key_E = self._key_S[slot_E]
        left_E = np.flatnonzero((key_E != hash_E) & (key_E != EMPTY))
        while len(left_E):
            slot_E[left_E] = (slot_E[left_E] + 1) & mask
            key_E = self._key_S[slot_E[left_E]]
            left_E = left_E[(key_E != hash_E[left_E]) & (key_E != EMPTY)]
        return slot_E

    def _grow(self, more: int) -> None:
        """Room for `more` at a quarter full; forgotten hashes are left behind."""
        known = (self._key_S != EMPTY) & (self._row_S != NOWHERE)
        key_E, row_E = self._key_S[known], self._row_S[known]
        self._key_S, self._row_S = _slots_for(len(key_E) + more)
        self._used = 0
        self.place(key_E, row_E)


def _slots_for(count: int) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    size = 4 << max(count - 1, 1).bit_length()
    return np.zeros(size, np.uint64), np.full(size, NOWHERE, np.int64)
