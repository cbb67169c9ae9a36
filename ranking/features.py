"""What speaks for an item, for a person, as numbers: the features of ranking/feature_names.py.

Counts go through log(1 + c x): what is twice as strong is one step more, whatever the size of
the stream. Popularity of source and target is taken out where pairs are counted (an owner's
edges are divided by a power of their sum), and given beside them.

Shapes:  U = people,  N = rows of the catalogue,  F = paired features,  I = itemwise features,
         C = candidates,  L = newest touches,  G = hashed categories
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from encoders.law import hash64
from ranking.catalogue import Catalogue
from ranking.feature_names import FEATURES, ITEMWISE, LATE, PAIRED
from ranking.live import Live
from ranking.model import Fitted
from ranking.people import Floats, Ints, People, recency

READ = 30  # newest touches that co-visitation is read from
ENTRY = 20  # a person is new for so many touches
CATEGORIES = 64
FRESH_MS = 30 * 86_400_000.0


@dataclass(slots=True, eq=False)
class Sources:
    """What lists are made from. `category_NG`: unit rows of the items' categories, hashed."""

    catalogue: Catalogue
    live: Live
    model: Fitted
    mean_D: Floats | None = None  # of all item vectors: what every item has in common
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
    """Features of all pairs and of all items; late ones are looked up for candidates."""

    paired_FUN: Floats
    itemwise_IN: Floats

    def prior(self, weight_F: NDArray[np.float32]) -> Floats:
        """U x N: the first choice among all items."""
        paired, itemwise = len(PAIRED), len(ITEMWISE)
        out_UN = np.zeros(self.paired_FUN.shape[1:], np.float32)
        for f in range(paired):
            if weight_F[f]:
                out_UN += weight_F[f] * self.paired_FUN[f]
        out_UN += weight_F[paired : paired + itemwise] @ self.itemwise_IN
        return out_UN

    def of(self, row_UC: Ints, late_UCF: Floats) -> Floats:
        """U x C x features, of candidates."""
        users, places = row_UC.shape
        out = np.empty((users, places, len(FEATURES)), np.float32)
        for f in range(len(PAIRED)):
            out[..., f] = np.take_along_axis(self.paired_FUN[f], row_UC, axis=1)
        for i in range(len(ITEMWISE)):
            out[..., len(PAIRED) + i] = self.itemwise_IN[i][row_UC]
        out[..., -len(LATE) :] = late_UCF
        return out


def features(
    people: People, sources: Sources, *, memory_UW: Tensor | None = None
) -> Features:
    """The features of these people, and of all items as of the newest of their times."""
    rows, live = sources.catalogue.size, sources.live
    weight_UL = recency(people.age_ms_UL, people.row_UL)[:, :READ]
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
        read_UL = recency(people.age_ms_UL, people.row_UL)
        at["ease"][:] = model.ease.scatter(
            people.row_UL, read_UL, rows=rows, as_of_ms_U=as_of_U
        )
    score_UN = model.sequence(people, memory_UW)
    if score_UN is not None:
        at["sequence"][:, : score_UN.shape[1]] = score_UN
    _category(at["category"], row_UL, weight_UL, sources.category_NG[:rows])
    return Features(out, itemwise(sources, as_of_ms=int(as_of_U.max(initial=0))))


def itemwise(sources: Sources, *, as_of_ms: int) -> Floats:
    """I x N: what is popular and what is new, at a time."""
    catalogue, popular = sources.catalogue, list(sources.live.popular.values())
    rows = catalogue.size
    out = np.zeros((len(ITEMWISE), rows), np.float32)
    for i, table in enumerate(popular[: len(ITEMWISE) - 1]):
        out[i] = _log(table.read(rows, as_of_ms=as_of_ms), 4)
    age_N = np.maximum(0, as_of_ms - catalogue.published_at_ms[:rows]) / FRESH_MS
    out[-1] = np.where(catalogue.hash[:rows] != 0, np.exp2(-age_N), 0)
    return out


def late(
    people: People,
    row_UC: Ints,
    *,
    vector_UCD: Floats,
    recent_UD: Floats,
    interest_UD: Floats,
) -> Floats:
    """U x C x late: likeness to what the person touched just now and to their interest, how
    much they touched, whether the item has a vector."""
    users, places = row_UC.shape
    out = np.empty((users, places, len(LATE)), np.float32)
    out[..., 0] = (vector_UCD @ recent_UD[:, :, None])[..., 0]
    out[..., 1] = (vector_UCD @ interest_UD[:, :, None])[..., 0]
    out[..., 2] = np.log1p(people.touched_U)[:, None]
    burst_U = ((people.age_ms_UL <= 1_000) & (people.row_UL >= 0)).sum(axis=1)
    out[..., 3] = np.log1p(burst_U)[:, None]
    out[..., 4] = vector_UCD.any(axis=2)
    return out


def _category(out_UN: Floats, row_UL: Ints, weight_UL: Floats, category_NG: Floats) -> None:
    """How much of the newest touches' categories an item has: a cosine."""
    if not len(category_NG):
        return
    held_UL = np.where(row_UL >= 0, weight_UL, 0)
    held_UG = (category_NG[np.maximum(row_UL, 0)] * held_UL[..., None]).sum(axis=1)
    length_U1 = np.linalg.norm(held_UG, axis=1, keepdims=True)
    held_UG /= np.maximum(length_U1, 1e-9)
    out_UN[:, : len(category_NG)] = held_UG @ category_NG.T


def _log(value: Floats, scale: float) -> Floats:
    logged: Floats = np.log1p(scale * np.maximum(value, 0))
    return logged


def _bucket(category: str) -> int:
    return hash64(category) % CATEGORIES
