"""The item index that lives in the worker: one matrix, searched exactly by one product.

Legend: N rows of the matrix (some free), D width, U lists asked for, E hashes, K places.

A row is shut while it is free or its item unavailable, open until its item expires. All
three are one number a row, `until_N`, so a search looks row by row at the times of its
users only where some item expires between the earliest and the latest of them.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ranking.index import Ask, Found, IndexedItem
from ranking.rows import NOWHERE, HashRows

SHUT = -(1 << 62)
CELLS = 1 << 24
"""Scores held at once (64 MB): lists are answered so many at a time."""


class ResidentIndex:
    """Exact top-k. Equal scores: the lower hash first. Not for several threads.

    `half` keeps the matrix in 16 bits (on an accelerator; sums are still 32 bits)."""

    def __init__(self, width: int, *, device: str = "cpu", half: bool = False) -> None:
        if half and device == "cpu":
            raise ValueError("half precision is for accelerators; on the CPU it is slower")
        dtype = torch.float16 if half else torch.float32
        self.width = width
        self._half = half
        self._matrix_ND = torch.zeros(1024, width, dtype=dtype, device=device)
        self._until_N = torch.full((1024,), SHUT, dtype=torch.int64, device=device)
        self._hash_N = np.zeros(1024, np.uint64)
        self._item_N: list[tuple[frozenset[str], bool, int]] = []
        self._rows = HashRows()
        self._free: list[int] = []
        self._members: dict[str, set[int]] = {}

    def __len__(self) -> int:
        return len(self._item_N) - len(self._free)

    def put(self, items: Sequence[IndexedItem]) -> None:
        """Add items or replace them whole; of the same hash twice, the last counts."""
        latest = {item.hash: item for item in items}
        if not latest:
            return
        vector_ED = np.stack([item.vector for item in latest.values()])
        if vector_ED.shape[1:] != (self.width,) or not np.isfinite(vector_ED).all():
            raise ValueError(
                f"items need finite vectors of width {self.width}, not {vector_ED.shape[1:]}"
            )
        hash_E = np.fromiter(latest, np.uint64, len(latest))
        row_E = self._rows.find(hash_E)
        new_E = row_E == NOWHERE
        row_E[new_E] = self._allot(int(new_E.sum()))
        self._rows.place(hash_E, row_E)
        self._hash_N[row_E] = hash_E
        for row, item in zip(row_E.tolist(), latest.values(), strict=True):
            self._describe(row, item.categories, item.available, item.expires_at_ms)
        at_E = torch.from_numpy(row_E).to(self._matrix_ND.device)
        vectors = torch.from_numpy(vector_ED).to(self._matrix_ND)
        self._matrix_ND.index_copy_(0, at_E, vectors)
        until = [i.expires_at_ms if i.available else SHUT for i in latest.values()]
        self._until_N.index_copy_(0, at_E, torch.tensor(until).to(at_E))

    def remove(self, hashes: Sequence[int]) -> None:
        """Forget items; hashes that are not here are fine."""
        hash_E = np.unique(np.array(hashes, np.uint64))
        row_E = self._rows.find(hash_E)
        hash_E, row_E = hash_E[row_E != NOWHERE], row_E[row_E != NOWHERE]
        self._rows.place(hash_E, np.full(len(hash_E), NOWHERE))
        self._hash_N[row_E] = 0
        self._until_N[torch.from_numpy(row_E).to(self._until_N.device)] = SHUT
        for row in row_E.tolist():
            self._describe(row, frozenset(), False, SHUT)
            self._free.append(row)

    def vectors(
        self, hash_E: NDArray[np.uint64]
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """E x D vectors of items (zero where unknown), and which are known."""
        row_E = self._rows.find(hash_E)
        known_E = row_E != NOWHERE
        at_E = torch.from_numpy(np.maximum(row_E, 0)).to(self._matrix_ND.device)
        vector_ED = self._matrix_ND.index_select(0, at_E).float().cpu().numpy()
        vector_ED[~known_E] = 0.0
        return vector_ED, known_E

    def items(self) -> Iterator[IndexedItem]:
        """All that is here, to be moved to another index."""
        for row in np.flatnonzero(self._hash_N).tolist():
            categories, available, expires_at_ms = self._item_N[row]
            yield IndexedItem(
                hash=int(self._hash_N[row]),
                vector=self._matrix_ND[row].float().cpu().numpy(),
                categories=categories,
                available=available,
                expires_at_ms=expires_at_ms,
            )

    def search(self, ask: Ask, *, limit: int) -> Found:
        """The best `limit` items of each row, exactly; see Ask for what is left out."""
        count = len(ask.vector_UD)
        hash_UK = np.zeros((count, limit), np.uint64)
        score_UK = np.full((count, limit), -np.inf, np.float32)
        if not self._item_N or not limit:
            return Found(hash_UK=hash_UK, score_UK=score_UK)
        step = max(1, CELLS // len(self._item_N))
        for category in dict.fromkeys(ask.category_U):
            all_G = np.array([u for u, c in enumerate(ask.category_U) if c == category])
            for start in range(0, len(all_G), step):
                at_G = all_G[start : start + step]
                scores_GN = self._scores(ask, category, at_G)
                hash_UK[at_G], score_UK[at_G] = self._best(scores_GN, limit)
        return Found(hash_UK=hash_UK, score_UK=score_UK)

    def _scores(self, ask: Ask, category: str, at_G: NDArray[np.int64]) -> Tensor:
        """Scores of all rows for lists of one category; -inf: may not be listed."""
        size, device = len(self._item_N), self._matrix_ND.device
        as_of_G = torch.from_numpy(ask.as_of_ms_U[at_G]).to(device)
        until_N = self._until_N[:size]
        bias_N = torch.zeros(size, device=device)
        bias_N.masked_fill_(until_N <= as_of_G.min(), -torch.inf)
        if category:
            outside_N = torch.ones(size, dtype=torch.bool, device=device)
            outside_N[sorted(self._members.get(category, ()))] = False
            bias_N.masked_fill_(outside_N, -torch.inf)
        scores_GN = self._product(torch.from_numpy(ask.vector_UD[at_G]).to(device), bias_N)
        between = ((until_N > as_of_G.min()) & (until_N <= as_of_G.max())).nonzero()[:, 0]
        if len(between):
            expired = until_N[between] <= as_of_G[:, None]
            scores_GN[:, between] = scores_GN[:, between].masked_fill(expired, -torch.inf)
        exclude = [ask.exclude_U[u] for u in at_G]
        row_E = self._rows.find(np.concatenate(exclude).astype(np.uint64))
        list_E = np.repeat(np.arange(len(at_G)), [len(hashes) for hashes in exclude])
        here_E = row_E != NOWHERE
        cell_E = torch.from_numpy(list_E[here_E] * size + row_E[here_E]).to(device)
        scores_GN.view(-1).index_fill_(0, cell_E, -torch.inf)
        return scores_GN

    def _product(self, vector_GD: Tensor, bias_N: Tensor) -> Tensor:
        matrix_DN = self._matrix_ND[: len(bias_N)].T
        if self._half:
            scores_GN = torch.mm(vector_GD.half(), matrix_DN, out_dtype=torch.float32)
            return scores_GN.add_(bias_N)
        return torch.addmm(bias_N, vector_GD, matrix_DN)

    def _best(
        self, scores_GN: Tensor, limit: int
    ) -> tuple[NDArray[np.uint64], NDArray[np.float32]]:
        """`limit` places a row, best first, padded with nothing."""
        size = scores_GN.shape[1]
        top = scores_GN.topk(min(limit + 1, size))
        score_GK, row_GK = top.values.cpu().numpy(), top.indices.cpu().numpy()
        if size > limit:
            # Which of several equals at the edge topk took is chance: take the lowest hashes.
            edge_G = score_GK[:, limit - 1]
            tied_G = (edge_G == score_GK[:, limit]) & (edge_G > -np.inf)
            for g in np.flatnonzero(tied_G):
                row_GK[g, :limit] = self._lowest(
                    scores_GN[g].cpu().numpy(), edge_G[g], limit
                )
            score_GK, row_GK = score_GK[:, :limit], row_GK[:, :limit]
        hash_GK = np.where(score_GK > -np.inf, self._hash_N[row_GK], np.uint64(0))
        order_GK = np.lexsort((hash_GK, -score_GK), axis=1)
        pad = ((0, 0), (0, limit - order_GK.shape[1]))
        return (
            np.pad(np.take_along_axis(hash_GK, order_GK, axis=1), pad),
            np.pad(
                np.take_along_axis(score_GK, order_GK, axis=1), pad, constant_values=-np.inf
            ),
        )

    def _lowest(
        self, score_N: NDArray[np.float32], edge: np.float32, limit: int
    ) -> NDArray[np.int64]:
        above = np.flatnonzero(score_N > edge)
        above = above[np.argsort(-score_N[above], kind="stable")]
        equal = np.flatnonzero(score_N == edge)
        lowest = np.argsort(self._hash_N[equal], kind="stable")[: limit - len(above)]
        return np.concatenate([above, equal[lowest]])

    def _describe(
        self, row: int, categories: frozenset[str], available: bool, expires_at_ms: int
    ) -> None:
        for category in self._item_N[row][0] - categories:
            self._members[category].discard(row)
            if not self._members[category]:
                del self._members[category]
        for category in categories - self._item_N[row][0]:
            self._members.setdefault(category, set()).add(row)
        self._item_N[row] = (categories, available, expires_at_ms)

    def _allot(self, count: int) -> list[int]:
        """So many free rows, growing the matrix by half when there are too few."""
        reused = [self._free.pop() for _ in range(min(count, len(self._free)))]
        start = len(self._item_N)
        end = start + count - len(reused)
        self._item_N += [(frozenset(), False, SHUT)] * (end - start)
        if (more := end - len(self._hash_N)) > 0:
            more = max(more, len(self._hash_N) // 2)
            pad = (0, 0, 0, more)
            self._matrix_ND = torch.nn.functional.pad(self._matrix_ND, pad)
            self._until_N = torch.nn.functional.pad(self._until_N, (0, more), value=SHUT)
            self._hash_N = np.pad(self._hash_N, (0, more))
        return reused + list(range(start, end))
