"""What speaks for an item, for a person, as numbers: the features of ranking/feature_names.py.

Counts go through log(1 + c x): what is twice as strong is one step more, whatever the size of
the stream. Popularity of source and target is taken out where pairs are counted (an owner's
edges are divided by a power of their sum), and given beside them.

Shapes:  U = people,  N = rows of the catalogue,  F = paired features,  I = itemwise features,
         C = candidates,  L = newest touches,  G = hashed categories,  D = width of the space
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from encoders.law import hash64
from ranking.ages import AGES, ALIKE, DAY_MS, ages, bucket
from ranking.catalogue import Catalogue
from ranking.feature_names import FEATURES, ITEMWISE, PAIRED, PERSONAL
from ranking.live import Live
from ranking.model import Fitted
from ranking.people import Floats, Ints, People, recency

READ = 30  # newest touches that co-visitation is read from
ENTRY = 20  # a person is new for so many touches
CATEGORIES = 64
DENSE = 100_000  # items up to which content is compared with all of them
FRESH_MS = 30 * DAY_MS
_TOUCH = 4.0  # what one count is worth within the logarithm
_DOUBLINGS = 4  # of an age that make one
_AGE, _LONG = ITEMWISE.index("age"), ITEMWISE.index("popular_long")


@dataclass(slots=True, eq=False)
class Sources:
    """What lists are made from. `category_NG`: unit rows of the items' categories, hashed.
    `vector_ND`: item vectors without what all items have in common (`mean_D`), unit rows, zero
    where there is none; of a catalogue beyond `DENSE` items it is empty, and content speaks for
    those that a search finds."""

    catalogue: Catalogue
    live: Live
    model: Fitted
    mean_D: Floats | None = None
    vector_ND: Floats = field(default_factory=lambda: np.zeros((0, 1), np.float32))
    category_NG: Floats = field(
        default_factory=lambda: np.zeros((0, CATEGORIES), np.float32)
    )

    def centred(self, vector_XD: Floats, known_X: NDArray[np.bool_]) -> Floats:
        """Unit rows without what all items have in common; zero where nothing is known."""
        if self.mean_D is not None:
            vector_XD = vector_XD - self.mean_D
        length_X1 = np.linalg.norm(vector_XD, axis=1, keepdims=True)
        made: Floats = vector_XD / np.maximum(length_X1, 1e-9)
        made[~known_X] = 0
        return made.astype(np.float32)

    def place(self, rows: Ints, vector_XD: Floats, known_X: NDArray[np.bool_]) -> None:
        """The vectors of these rows, as they are now."""
        size = self.catalogue.size
        if size > DENSE:
            self.vector_ND = self.vector_ND[:0]
            return
        if size > len(self.vector_ND) or vector_XD.shape[1] != self.vector_ND.shape[1]:
            held = self.vector_ND
            self.vector_ND = np.zeros((size + size // 4, vector_XD.shape[1]), np.float32)
            if held.shape[1] == vector_XD.shape[1]:
                self.vector_ND[: len(held)] = held
        self.vector_ND[rows] = self.centred(vector_XD, known_X)

    def describe(self, rows: NDArray[np.int64]) -> None:
        """The categories of these rows changed."""
        if (more := len(self.catalogue.hash) - len(self.category_NG)) > 0:
            self.category_NG = np.pad(self.category_NG, ((0, more), (0, 0)))
        for row in rows.tolist():
            place = [_bucket(name) for name in self.catalogue.categories[row]]
            self.category_NG[row] = 0
            self.category_NG[row, place] = 1 / max(len(place), 1) ** 0.5


@dataclass(frozen=True, slots=True)
class Features:
    """Features of all pairs, of all items and of all people."""

    paired_FUN: Floats
    itemwise_IN: Floats
    personal_UP: Floats

    def prior(self, weight_F: NDArray[np.float32]) -> Floats:
        """U x N: the first choice among all items."""
        paired, itemwise = len(PAIRED), len(ITEMWISE)
        out_UN = np.zeros(self.paired_FUN.shape[1:], np.float32)
        for f in range(paired):
            if weight_F[f]:
                out_UN += weight_F[f] * self.paired_FUN[f]
        out_UN += weight_F[paired : paired + itemwise] @ self.itemwise_IN
        return out_UN

    def of(self, row_UC: Ints) -> Floats:
        """U x C x features, of candidates."""
        users, places = row_UC.shape
        out = np.empty((users, places, len(FEATURES)), np.float32)
        for f in range(len(PAIRED)):
            out[..., f] = np.take_along_axis(self.paired_FUN[f], row_UC, axis=1)
        for i in range(len(ITEMWISE)):
            out[..., len(PAIRED) + i] = self.itemwise_IN[i][row_UC]
        out[..., -len(PERSONAL) :] = self.personal_UP[:, None, :]
        return out


def features(
    people: People,
    sources: Sources,
    *,
    interest_UD: Floats,
    memory_UW: Tensor | None = None,
    found: tuple[Ints, Floats] | None = None,
) -> Features:
    """The features of these people, and of all items as of the newest trends. `found`:
    rows (-1: none) and likeness to the interest that a search gave, where content is searched."""
    rows, live = sources.catalogue.size, sources.live
    read_UL = recency(people.age_ms_UL, people.row_UL)
    weight_UL = read_UL[:, :READ]
    row_UL, as_of_U = people.row_UL[:, :READ], people.as_of_ms_U
    out = np.zeros((len(PAIRED), len(people), rows), np.float32)
    at = {name: out[f] for f, name in enumerate(PAIRED)}
    if session := live.follows.get("session"):
        at["together"][:] = _log(
            session.scatter(row_UL, weight_UL, rows=rows, as_of_ms_U=as_of_U, share=True),
            20,
        )
        newest = row_UL[:, :1]
        at["last"][:] = _log(
            session.scatter(
                newest, np.ones(newest.shape, np.float32),
                rows=rows, as_of_ms_U=as_of_U, share=True,
            ), 20,
        )  # fmt: skip
    if recent := live.follows.get("recent"):
        at["recent"][:] = _log(
            recent.scatter(row_UL, weight_UL, rows=rows, as_of_ms_U=as_of_U, share=True), 20
        )
    if entry := live.follows.get("entry"):
        place_UL = people.touched_U[:, None] + np.arange(-2, 3)
        near_UL = np.exp(-np.abs(np.arange(-2, 3)) / 2.0).astype(np.float32)
        new_U1 = (people.touched_U < ENTRY)[:, None]
        place_UL = np.where(new_U1 & (place_UL >= 0) & (place_UL < ENTRY), place_UL, -1)
        at["entry"][:] = _log(
            entry.scatter(
                place_UL, np.broadcast_to(near_UL, place_UL.shape),
                rows=rows, as_of_ms_U=as_of_U,
            ), 4,
        )  # fmt: skip
    model = sources.model
    if model.ease is not None:
        at["ease"][:] = model.ease.scatter(
            people.row_UL, read_UL, rows=rows, as_of_ms_U=as_of_U
        )
    score_UN = model.sequence(people, memory_UW)
    if score_UN is not None:
        at["sequence"][:, : score_UN.shape[1]] = score_UN
    _category(at["category"], row_UL, weight_UL, sources.category_NG[:rows])
    # of the trends' own time: a list must not depend on who else is in its batch
    newest_ms = live.newest_ms if live.ready else int(as_of_U.max(initial=0))
    of_items_IN = itemwise(sources, as_of_ms=newest_ms)
    age_N = _DOUBLINGS * of_items_IN[_AGE]
    _like(at["era"], row_UL, weight_UL, bucket(age_N))
    touches_N = np.expm1(of_items_IN[_LONG]) / _TOUCH
    _like(at["fame"], row_UL, weight_UL, bucket(np.log2(1 + 2 * touches_N)))
    _content(at, row_UL, weight_UL, sources=sources, interest_UD=interest_UD, found=found)
    return Features(out, of_items_IN, personal(people))


def itemwise(sources: Sources, *, as_of_ms: int) -> Floats:
    """I x N: what is popular and what is new, at a time."""
    catalogue, popular = sources.catalogue, list(sources.live.popular.values())
    rows = catalogue.size
    out = np.zeros((len(ITEMWISE), rows), np.float32)
    for i, table in enumerate(popular[: len(ITEMWISE) - 3]):
        out[i] = _log(table.read(rows, as_of_ms=as_of_ms), _TOUCH)
    published_N = catalogue.published_at_ms[:rows]
    age_N = np.maximum(0, as_of_ms - published_N) / FRESH_MS
    out[-3] = np.where(catalogue.hash[:rows] != 0, np.exp2(-age_N), 0)
    out[-2] = ages(published_N, as_of_ms=as_of_ms) / _DOUBLINGS
    known_N: NDArray[np.bool_] = np.asarray(sources.vector_ND[:rows].any(axis=1))
    out[-1, : len(known_N)] = known_N
    return out


def personal(people: People) -> Floats:
    """U x personal: how much each person touched, ever and within the newest second."""
    burst_U = ((people.age_ms_UL <= 1_000) & (people.row_UL >= 0)).sum(axis=1)
    told: Floats = np.log1p(np.stack([people.touched_U, burst_U], axis=1)).astype(
        np.float32
    )
    return told


def _content(
    at: Mapping[str, Floats],
    row_UL: Ints,
    weight_UL: Floats,
    *,
    sources: Sources,
    interest_UD: Floats,
    found: tuple[Ints, Floats] | None,
) -> None:
    """Likeness to what was touched just now, and to the long-term interest."""
    vector_ND, recent_UN, interest_UN = sources.vector_ND, at["content"], at["interest"]
    if len(vector_ND):
        held_UL = np.where(row_UL < len(vector_ND), weight_UL, 0)
        past_ULD = vector_ND[np.clip(row_UL, 0, len(vector_ND) - 1)]
        recent_UD = (held_UL[:, None, :] @ past_ULD)[:, 0]
        recent_UD /= np.maximum(np.linalg.norm(recent_UD, axis=1, keepdims=True), 1e-9)
        count = min(len(vector_ND), recent_UN.shape[1])
        recent_UN[:, :count] = recent_UD @ vector_ND[:count].T
        interest_UN[:, :count] = interest_UD @ vector_ND[:count].T
    elif found is not None:
        u_X, x_X = np.nonzero(found[0] >= 0)
        interest_UN[u_X, found[0][u_X, x_X]] = found[1][u_X, x_X]


def _category(out_UN: Floats, row_UL: Ints, weight_UL: Floats, category_NG: Floats) -> None:
    """How much of the newest touches' categories an item has: a cosine."""
    if not len(category_NG):
        return
    held_UL = np.where(row_UL >= 0, weight_UL, 0)
    held_UG = (category_NG[np.maximum(row_UL, 0)] * held_UL[..., None]).sum(axis=1)
    length_U1 = np.linalg.norm(held_UG, axis=1, keepdims=True)
    held_UG /= np.maximum(length_U1, 1e-9)
    out_UN[:, : len(category_NG)] = held_UG @ category_NG.T


def _like(out_UN: Floats, row_UL: Ints, weight_UL: Floats, place_N: Ints) -> None:
    """How much of the newest touches is about where an item is on a scale of `AGES` buckets
    (how old it is, how well known): a smoothed density, as a logarithm."""
    here_UL = (row_UL >= 0) & (row_UL < len(place_N))
    u_E, l_E = np.nonzero(here_UL)
    at_E = u_E * AGES + place_N[row_UL[u_E, l_E]]
    cells = len(row_UL) * AGES
    summed_C: NDArray[Any] = np.bincount(at_E, weight_UL[u_E, l_E], minlength=cells)
    held_UG = summed_C.reshape(-1, AGES).astype(np.float32)
    held_UG /= np.maximum(held_UG.sum(axis=1, keepdims=True), 1e-9)
    alike_UG = np.log(0.01 + held_UG @ ALIKE)
    np.take(alike_UG, place_N, axis=1, out=out_UN)


def _log(value: Floats, scale: float) -> Floats:
    logged: Floats = np.zeros(value.shape, np.float32)
    at = np.flatnonzero(value > 0)  # of many items, few have an edge
    logged.ravel()[at] = np.log1p(scale * value.ravel()[at])
    return logged


def _bucket(category: str) -> int:
    return hash64(category) % CATEGORIES
