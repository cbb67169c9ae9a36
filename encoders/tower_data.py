"""Events as the tower learns from them and is asked: histories, windows, batches.

Shapes:  E = events,  G = the same events, grouped by user,  B = windows of a batch,
         L = entries of a window but its last,  S = L + 1,  T = targets,  N = items
"""

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from encoders.tower import Entries

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Touches:
    """Who touched what, in order of time. `item_E`: rows of the catalogue; `kind_E`: codes of
    encoders/law.py; `value_E`: NaN or 0 for none; `mass_E`: what each counts for in the
    long-term memory (the law's weight of it)."""

    user_E: Ints
    item_E: Ints
    at_ms_E: Ints
    kind_E: Ints
    value_E: Floats
    mass_E: Floats

    def __len__(self) -> int:
        return len(self.user_E)

    def part(self, begin: int, end: int) -> "Touches":
        """Events [begin, end)."""
        columns = ("user_E", "item_E", "at_ms_E", "kind_E", "value_E", "mass_E")
        return replace(self, **{name: getattr(self, name)[begin:end] for name in columns})


@dataclass(frozen=True, slots=True, eq=False)
class Histories:
    """The events of each user one after the other. `start_G`: where its user's begin;
    `event_G`: which event it is; `place_E`: where an event stands."""

    touches: Touches
    start_G: Ints
    event_G: Ints
    place_E: Ints

    @classmethod
    def of(cls, touches: Touches, chance: np.random.Generator | None = None) -> "Histories":
        """With `chance`, what a user did within one second stands in an order drawn anew: the
        log's order of it is arbitrary, and so is no sign of anything."""
        second_E = touches.at_ms_E // 1000
        tie_E = np.arange(len(touches)) if chance is None else chance.random(len(touches))
        when_E = touches.at_ms_E if chance is None else second_E
        event_G = np.lexsort((tie_E, when_E, touches.user_E))
        user_G = touches.user_E[event_G]
        first_G = np.concatenate([[True], user_G[1:] != user_G[:-1]])[: len(user_G)]
        start_G = np.flatnonzero(first_G)[np.cumsum(first_G) - 1]
        place_E = np.empty(len(event_G), np.int64)
        place_E[event_G] = np.arange(len(event_G))
        columns = ("user_E", "item_E", "at_ms_E", "kind_E", "value_E", "mass_E")
        grouped = replace(touches, **{c: getattr(touches, c)[event_G] for c in columns})
        return cls(grouped, start_G, event_G, place_E)


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """Stretches [begin, end) of histories, of each of which events from `target` on are to be
    foretold."""

    begin_B: Ints
    target_B: Ints
    end_B: Ints

    def __len__(self) -> int:
        return len(self.begin_B)

    def at(self, rows: Ints) -> "Windows":
        return Windows(self.begin_B[rows], self.target_B[rows], self.end_B[rows])


def windows(
    histories: Histories, *, length: int, chance: np.random.Generator, since: int = 0
) -> Windows:
    """Every event from number `since` of the log on is the target of one window. A window has
    up to `length` targets, cut at a drawn place, and a quarter more before them."""
    user_G = histories.touches.user_E
    fresh_G = histories.event_G >= since
    begins, targets, ends = [], [], []
    for start in np.flatnonzero(histories.start_G == np.arange(len(user_G))).tolist():
        stop = int(np.searchsorted(user_G, user_G[start], side="right"))
        new = np.flatnonzero(fresh_G[start:stop])
        if not len(new):
            continue
        first = start + int(new[0])
        cut = first + int(chance.integers(1, length + 1)) if stop - first > length else stop
        edges = [first, *range(cut, stop, length), stop]
        for low, high in pairwise(edges):
            if high > low:
                begins.append(max(start, min(low, high - length) - length // 4))
                targets.append(low)
                ends.append(high)
    return Windows(*(np.array(edge, np.int64) for edge in (begins, targets, ends)))


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Windows side by side, newest last, and the targets among their places: `row_T`,
    `place_T` (of S), `event_T` (of the grouped events), each after what stands before it."""

    entries: Entries
    mass_BL: Tensor
    row_T: Tensor
    place_T: Tensor
    event_T: Tensor


def batch(histories: Histories, chosen: Windows) -> Batch:
    """The entries of these windows but for each one's last, which is only a target."""
    held = histories.touches
    size_B = chosen.end_B - chosen.begin_B
    length = max(int(size_B.max()) - 1, 1)
    at_BL = chosen.end_B[:, None] - 1 - length + np.arange(length)
    there_BL = at_BL >= chosen.begin_B[:, None]
    at_BL = np.where(there_BL, at_BL, 0)
    # The start (place 0) foretells a history's first event and no other.
    next_BS = np.concatenate([chosen.begin_B[:, None], at_BL + 1], axis=1)
    whole_B = histories.start_G[chosen.begin_B] == chosen.begin_B
    asked_BS = np.concatenate([whole_B[:, None], there_BL], axis=1)
    row_T, place_T = np.nonzero(asked_BS & (next_BS >= chosen.target_B[:, None]))

    def column(values: NDArray[np.generic], filling: float) -> Tensor:
        return torch.from_numpy(
            np.where(there_BL, values[at_BL], filling).astype(values.dtype)
        )

    entries = Entries(
        column(held.item_E, -1), column(held.at_ms_E, 0), column(held.kind_E, 0),
        column(np.nan_to_num(held.value_E), 0),
    )  # fmt: skip
    return Batch(
        entries, column(held.mass_E, 0), torch.from_numpy(row_T), torch.from_numpy(place_T),
        torch.from_numpy(next_BS[row_T, place_T]),
    )  # fmt: skip


def before(histories: Histories, place_B: Ints, *, items: int) -> tuple[Tensor, Tensor]:
    """mass_BN, touched_BN of all that each window's user did before `place_B`."""
    mass_BN = np.zeros((len(place_B), items), np.float32)
    touched_BN = np.zeros((len(place_B), items), np.bool_)
    held = histories.touches
    for row, place in enumerate(place_B.tolist()):
        # a place past the end belongs to nobody: asked for by `prefixes` alone
        past = slice(int(histories.start_G[place]), place)
        np.add.at(mass_BN[row], held.item_E[past], held.mass_E[past])
        touched_BN[row, held.item_E[past]] = True
    return torch.from_numpy(mass_BN), torch.from_numpy(touched_BN)


def prefixes(histories: Histories, place_B: Ints, *, length: int) -> Batch:
    """Of each event the entries before it, the newest `length`, and it as the one target."""
    begin_B = np.maximum(histories.start_G[place_B], place_B - length)
    chosen = Windows(begin_B, place_B, place_B + 1)
    return batch(histories, chosen)
