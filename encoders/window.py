"""The newest N rows of a column set, in arrival order."""

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray


class Window:
    """Appends are amortised O(1), the rows are one contiguous array (`rows`)."""

    __slots__ = ("_end", "_rows", "_start", "size")

    def __init__(self, dtype: DTypeLike, size: int, rows: bytes = b"") -> None:
        self.size = size
        held = np.frombuffer(rows, dtype=dtype)[-size:]
        self._rows: NDArray[Any] = np.zeros(max(8, len(held) + len(held) // 2), dtype=dtype)
        self._rows[: len(held)] = held
        self._start, self._end = 0, len(held)

    def __len__(self) -> int:
        return self._end - self._start

    @property
    def rows(self) -> NDArray[Any]:
        """A view, oldest first."""
        return self._rows[self._start : self._end]

    @property
    def nbytes(self) -> int:
        return self._rows.nbytes

    def append(self, row: Any) -> Any | None:
        """Add a row; returns a copy of the row that it pushed out, if any."""
        pushed = None
        if len(self) == self.size:
            pushed = self._rows[self._start].copy()
            self._start += 1
        if self._end == len(self._rows):
            self._make_room()
        self._rows[self._end] = row
        self._end += 1
        return pushed

    def remove(self, at: int) -> None:
        """Take out the row at this place of `rows`."""
        at += self._start
        self._rows[at : self._end - 1] = self._rows[at + 1 : self._end].copy()
        self._end -= 1

    def keep(self, mask: NDArray[np.bool_]) -> None:
        """Keep only the rows where the mask holds."""
        kept = self.rows[mask].copy()
        self._rows[: len(kept)] = kept
        self._start, self._end = 0, len(kept)

    def tobytes(self) -> bytes:
        return self.rows.tobytes()

    def _make_room(self) -> None:
        held = self.rows.copy()
        if len(held) * 2 > len(self._rows) and len(self._rows) < 2 * self.size:
            self._rows = np.zeros(min(2 * len(self._rows), 2 * self.size), self._rows.dtype)
        self._rows[: len(held)] = held
        self._start, self._end = 0, len(held)
