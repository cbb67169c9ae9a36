"""What follows what, as it is read from the trends: weighted edges between rows of the catalogue.

Shapes:  C = cells (edges) of a change,  U = users,  L = past items of each, padded with row -1,
         N = rows of the catalogue,  M = edges kept an owner

A cell is (owner row, next row, source partition) -> weight. Cells of all partitions stand side by
side and are summed as they are read, so nothing is ever repartitioned. Weights are relative to
one time by forward decay (Cormode et al. 2009): nothing has to be touched for getting older.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import embedding_bag

_FEW, _POWER = 20.0, 0.7  # of an owner's sum (docs/learning.md)
_DENSE = 4_096  # rows up to which edges are kept as a matrix too, 64 MiB
_CELLS = 1 << 21  # edges that are summed at once
_AHEAD = 64.0  # half-lives by which a cell may lead the reference before all are rescaled
Ints = NDArray[np.int64]
Floats = NDArray[np.float32]


@dataclass(slots=True, eq=False)
class Follows:
    """The edges of one variant: at most `width` an owner, the heaviest. `half_life_ms`: after
    so long an edge counts half."""

    half_life_ms: float
    width: int = 200
    ref_ms: int = -1
    newest_ms: int = -1
    to_NM: NDArray[np.int32] = field(init=False)
    part_NM: NDArray[np.int16] = field(init=False)
    weight_NM: Floats = field(init=False)
    total_N: Floats = field(init=False)
    count_N: Ints = field(init=False)
    dense_NR: Tensor = field(init=False)  # the same as a matrix, where items are few
    stale_N: NDArray[np.bool_] = field(init=False)  # whose row of the matrix is out of date

    def __post_init__(self) -> None:
        self.to_NM = np.full((0, self.width), -1, np.int32)
        self.part_NM = np.zeros((0, self.width), np.int16)
        self.weight_NM = np.zeros((0, self.width), np.float32)
        self.total_N = np.zeros(0, np.float32)
        self.count_N = np.zeros(0, np.int64)
        self.dense_NR = torch.zeros(0, 0)
        self.stale_N = np.zeros(0, np.bool_)

    @classmethod
    def fixed(cls, owner_X: Ints, to_XK: Ints, weight_XK: Floats) -> "Follows":
        """Edges that were learned and do not change: of each owner up to K, -1 for none."""
        made = cls(float("inf"), width=to_XK.shape[1], ref_ms=0)
        made._reach(int(owner_X.max(initial=-1)) + 1)
        made.to_NM[owner_X], made.weight_NM[owner_X] = to_XK, weight_XK
        made.count_N[owner_X] = made.width
        made.stale_N[owner_X] = True
        return made

    def put(
        self,
        owner_C: Ints,
        next_C: Ints,
        partition_C: Ints,
        value_C: NDArray[np.float64],
        at_ms_C: Ints,
    ) -> None:
        """Set cells; of several for the same place the last one counts. `value_C` is what the
        cell is worth at `at_ms_C`. An owner that is full lets go of its lightest."""
        if not len(owner_C):
            return
        self._reach(int(owner_C.max()) + 1)
        key_C = (owner_C << 40) | (next_C << 12) | partition_C
        last_C = len(key_C) - 1 - np.unique(key_C[::-1], return_index=True)[1]
        weight_C = self._forward(value_C, at_ms_C)[last_C]
        self._set(owner_C[last_C], next_C[last_C], partition_C[last_C], weight_C, add=False)

    def add(
        self, owner_C: Ints, next_C: Ints, value_C: NDArray[np.float64], at_ms_C: Ints
    ) -> None:
        """Fold events into cells of partition 0: each adds its value as of its time."""
        if not len(owner_C):
            return
        self._reach(int(owner_C.max()) + 1)
        key_X, at_C = np.unique((owner_C << 40) | (next_C << 12), return_inverse=True)
        weight_X = np.bincount(at_C, self._forward(value_C, at_ms_C)).astype(np.float32)
        owner_X, next_X = key_X >> 40, (key_X >> 12) & ((1 << 28) - 1)
        self._set(owner_X, next_X, np.zeros_like(owner_X), weight_X, add=True)

    def _set(
        self, owner_C: Ints, next_C: Ints, partition_C: Ints, weight_C: Floats, *, add: bool
    ) -> None:
        """Cells in order of their owners, none twice."""
        self.stale_N[owner_C] = True
        for begin in range(0, len(owner_C), 4096):
            part = slice(begin, begin + 4096)
            owner, following, partition = owner_C[part], next_C[part], partition_C[part]
            weight = weight_C[part]
            same_CM = self.to_NM[owner] == following[:, None]
            if partition.any() or self.part_NM[owner].any():
                same_CM &= self.part_NM[owner] == partition[:, None]
            place_C = same_CM.argmax(axis=1)
            known_C = same_CM[np.arange(len(owner)), place_C]
            place = owner[known_C], place_C[known_C]
            self.weight_NM[place] = weight[known_C] + (self.weight_NM[place] if add else 0)
            new_C = ~known_C
            self._new(owner[new_C], following[new_C], partition[new_C], weight[new_C])
            changed_O = np.unique(owner)
            self.total_N[changed_O] = self.weight_NM[changed_O].sum(axis=1)

    def scatter(
        self,
        past: "Past",
        *,
        rows: int,
        as_of_ms_U: Ints,
        share: bool = False,
        row_UM: Ints | None = None,
    ) -> Floats:
        """U x N: for each user the sum of the edges out of the past items, each times the
        item's weight, decayed to the user's time. `share`: an owner's edges are divided by a
        power of their sum, so that who is followed often says no more. With `row_UM` (-1: none)
        U x M, to these rows alone."""
        past = past.below(len(self.to_NM))
        gain_X = self._gain(as_of_ms_U)[past.user_X]
        if share:
            whole_X = self.total_N[past.row_X] * gain_X
            gain_X *= (whole_X + np.float32(_FEW)) ** np.float32(-_POWER)
        gain_X *= past.weight_X
        if row_UM is not None:
            return self._narrow(past, gain_X, row_UM, rows=rows)
        if (dense_NR := self._dense(rows)) is not None:
            return summed(dense_NR, past.row_X, gain_X, past.start_U).numpy()[:, :rows]
        out_UN = np.zeros((past.users, rows), np.float32)
        longest = int(np.diff(past.start_U).max(initial=1))
        step = max(1, _CELLS // max(1, longest * self.width))
        for begin in range(0, past.users, step):
            end = min(begin + step, past.users)
            part = slice(past.start_U[begin], past.start_U[end])
            cells = (end - begin) * (rows + 1)
            to_XM = self.to_NM[past.row_X[part]]
            at_XM = np.where((to_XM >= 0) & (to_XM < rows), to_XM, rows)
            at_XM += ((past.user_X[part] - begin) * (rows + 1)).astype(np.int32)[:, None]
            value_XM = self.weight_NM[past.row_X[part]] * gain_X[part, None]
            out: NDArray[Any] = np.bincount(
                at_XM.ravel(), value_XM.ravel(), minlength=cells
            )
            out_UN[begin:end] = out.reshape(-1, rows + 1)[:, :rows]
        return out_UN

    def _narrow(self, past: "Past", gain_X: Floats, row_UM: Ints, *, rows: int) -> Floats:
        """U x M: the sums of edges to some rows of each user."""
        none = row_UM.shape[1]
        out_UM = np.zeros(row_UM.shape, np.float32)
        place_N = np.full(rows + 1, none, np.int32)  # by row; the last one for row -1
        for u in range(past.users):
            part = slice(past.start_U[u], past.start_U[u + 1])
            to_C, value_C = self.out_of(past.row_X[part], gain_X[part], rows=rows)
            place_N[row_UM[u]] = np.arange(none)
            place_N[-1] = none
            told = np.bincount(place_N[to_C], value_C, minlength=none + 1)
            out_UM[u] = told[:none]
            place_N[row_UM[u]] = none
        return out_UM

    def out_of(
        self, row_X: Ints, weight_X: Floats, *, rows: int
    ) -> tuple[Ints, NDArray[np.float64]]:
        """The edges out of some rows, as they are at the reference time, and each times its
        owner's weight: to where (below `rows`), and how heavy."""
        row_X, weight_X = row_X[row_X < len(self.to_NM)], weight_X[row_X < len(self.to_NM)]
        to_C = self.to_NM[row_X].ravel()
        value_C = (self.weight_NM[row_X] * weight_X[:, None]).ravel()
        kept_C = (to_C >= 0) & (to_C < rows)
        return to_C[kept_C].astype(np.int64), value_C[kept_C].astype(np.float64)

    def _dense(self, rows: int) -> Tensor | None:
        """Edges as a matrix of at least so many columns, where they are few: a sum over its
        rows is much faster. Rows of owners that changed are written anew."""
        owners, held = len(self.to_NM), self.dense_NR.shape
        if not 0 < max(owners, rows) <= _DENSE:
            return None
        if held[0] < owners or held[1] < rows:
            wide = max(held[1], min(rows + rows // 16 + 16, _DENSE))
            self.dense_NR = torch.zeros(owners, wide)
            self.stale_N[:] = True
        columns = self.dense_NR.shape[1]
        at_O = np.flatnonzero(self.stale_N)
        if len(at_O):
            to_OM = self.to_NM[at_O].astype(np.int64)
            to_OM[(to_OM < 0) | (to_OM >= columns)] = columns
            row_OR = torch.zeros(len(at_O), columns + 1).scatter_add_(
                1, torch.from_numpy(to_OM), torch.from_numpy(self.weight_NM[at_O])
            )
            self.dense_NR[at_O] = row_OR[:, :-1]
            self.stale_N[at_O] = False
        return self.dense_NR

    def _new(
        self, owner_C: Ints, next_C: Ints, partition_C: Ints, weight_C: Floats
    ) -> None:
        """New cells, in order of their owners: in free places, then in place of lighter ones."""
        if not len(owner_C):
            return
        rank_C = np.arange(len(owner_C)) - np.searchsorted(owner_C, owner_C)
        place_C = self.count_N[owner_C] + rank_C
        full_C = place_C >= self.width
        if full_C.any():
            full_C = np.isin(owner_C, owner_C[full_C])
            self._heaviest(
                owner_C[full_C], next_C[full_C], partition_C[full_C], weight_C[full_C]
            )
        fits_C = ~full_C
        self._write(
            owner_C[fits_C], place_C[fits_C], next_C[fits_C],
            partition_C[fits_C], weight_C[fits_C],
        )  # fmt: skip
        np.maximum.at(self.count_N, owner_C[fits_C], place_C[fits_C] + 1)

    def _heaviest(
        self, owner_C: Ints, next_C: Ints, partition_C: Ints, weight_C: Floats
    ) -> None:
        """New cells, in order of their owners, of whom none has room for all of them: each
        keeps the heaviest of what it had and of what is new."""
        owner_O, first_O, at_C = np.unique(owner_C, return_index=True, return_inverse=True)
        rank_C = np.arange(len(owner_C)) - first_O[at_C]
        pad = ((0, 0), (0, int(rank_C.max()) + 1))
        to_OX = np.pad(self.to_NM[owner_O], pad, constant_values=-1)
        part_OX = np.pad(self.part_NM[owner_O], pad)
        weight_OX = np.pad(self.weight_NM[owner_O], pad)
        place = at_C, self.width + rank_C
        to_OX[place], part_OX[place], weight_OX[place] = next_C, partition_C, weight_C
        weight_OX[to_OX < 0] = -np.inf
        keep_OM = np.argpartition(-weight_OX, self.width - 1, axis=1)[:, : self.width]
        self.to_NM[owner_O] = np.take_along_axis(to_OX, keep_OM, axis=1)
        self.part_NM[owner_O] = np.take_along_axis(part_OX, keep_OM, axis=1)
        self.weight_NM[owner_O] = np.take_along_axis(weight_OX, keep_OM, axis=1)
        self.count_N[owner_O] = self.width

    def _write(self, owner: Any, place: Any, to: Any, part: Any, weight: Any) -> None:
        self.to_NM[owner, place], self.part_NM[owner, place] = to, part
        self.weight_NM[owner, place] = weight

    def _forward(self, value_C: NDArray[np.float64], at_ms_C: Ints) -> Floats:
        newest_ms = int(at_ms_C.max())
        self.newest_ms = max(self.newest_ms, newest_ms)
        if self.ref_ms < 0:
            self.ref_ms = newest_ms
        ahead = (newest_ms - self.ref_ms) / self.half_life_ms
        if ahead > _AHEAD:
            faded = np.float32(2.0 ** -min(ahead, 1_000.0))
            self.weight_NM *= faded
            self.total_N *= faded
            self.stale_N[:] = True
            self.ref_ms = newest_ms
        age_C = np.clip((at_ms_C - self.ref_ms) / self.half_life_ms, -1_000.0, None)
        weight_C: Floats = (value_C * np.exp2(age_C)).astype(np.float32)
        return weight_C

    def _gain(self, as_of_ms_U: Ints) -> Floats:
        """What brings weights to a user's time. Before the newest of all events that is the
        newest's: for a list of an old log they gain nothing."""
        lead_ms_U = np.maximum(as_of_ms_U, self.newest_ms) - self.ref_ms
        gain_U: Floats = np.exp2(-np.minimum(lead_ms_U / self.half_life_ms, 1_000.0))
        return gain_U.astype(np.float32)

    def _reach(self, rows: int) -> None:
        if (more := rows - len(self.to_NM)) > 0:
            more = max(more, len(self.to_NM) // 2, 64)
            pad = ((0, more), (0, 0))
            self.to_NM = np.pad(self.to_NM, pad, constant_values=-1)
            self.part_NM = np.pad(self.part_NM, pad)
            self.weight_NM = np.pad(self.weight_NM, pad)
            self.total_N = np.pad(self.total_N, (0, more))
            self.count_N = np.pad(self.count_N, (0, more))
            self.stale_N = np.pad(self.stale_N, (0, more))


@dataclass(frozen=True, slots=True)
class Past:
    """Past items of so many people, person after person: whose, of which row, how weighty;
    user u's stand between two starts."""

    users: int
    user_X: Ints
    row_X: Ints
    weight_X: Floats
    start_U: Ints

    @classmethod
    def of(cls, row_UL: Ints, weight_UL: Floats) -> "Past":
        """Of columns: row -1 and weight 0 are nothing."""
        at_X = np.nonzero((row_UL >= 0) & (weight_UL != 0))
        return cls._of(len(row_UL), at_X[0], row_UL[at_X], weight_UL[at_X])

    @classmethod
    def _of(cls, users: int, user_X: Ints, row_X: Ints, weight_X: Floats) -> "Past":
        start_U = np.searchsorted(user_X, np.arange(users + 1))
        return cls(users, user_X, row_X, weight_X, start_U)

    def below(self, rows: int) -> "Past":
        """Without those of rows beyond."""
        if not len(self.row_X) or self.row_X.max() < rows:
            return self
        return self.only(self.row_X < rows)

    def only(self, kept_X: NDArray[np.bool_]) -> "Past":
        """Some of them."""
        return Past._of(
            self.users, self.user_X[kept_X], self.row_X[kept_X], self.weight_X[kept_X]
        )

    def newest(self, count: int) -> "Past":
        """Each person's first `count`."""
        return self.only(np.arange(len(self.row_X)) - self.start_U[self.user_X] < count)

    def summed(self, vector_NX: Floats) -> Floats:
        """U x width: the weighted sum of these vectors; of items without one nothing."""
        past = self.below(len(vector_NX))
        held_NX = torch.from_numpy(vector_NX)
        return summed(held_NX, past.row_X, past.weight_X, past.start_U).numpy()


def summed(vector_NX: Tensor, row_E: Ints, weight_E: Floats, start_U: Ints) -> Tensor:
    """U x width: for each user the weighted sum of the rows between two starts."""
    return embedding_bag(
        torch.from_numpy(row_E), vector_NX, torch.from_numpy(start_U),
        mode="sum", per_sample_weights=torch.from_numpy(weight_E), include_last_offset=True,
    )  # fmt: skip
