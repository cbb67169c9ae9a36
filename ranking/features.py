"""What speaks for an item, for a person, as numbers: the features of ranking/feature_names.py.

Counts go through log(1 + c x): what is twice as strong is one step more, whatever the size of
the stream. Popularity of source and target is taken out where pairs are counted (an owner's
edges are divided by a power of their sum), and given beside them.

Shapes:  U = people,  N = rows of the catalogue,  F = paired features,  I = itemwise features,
         C = candidates,  L = newest touches,  G = hashed categories,  D = width of the space,
         M = columns: the rows of a person that features are asked of; all of them (M = N), or
         those of a pool (ranking/pool.py)
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from encoders.law import hash64
from ranking.ages import AGES, ALIKE, DAY_MS, ages, bucket
from ranking.catalogue import Catalogue
from ranking.feature_names import FEATURES, ITEMWISE, PAIRED, PERSONAL, SOURCE_OF
from ranking.follows import Past
from ranking.live import Live
from ranking.model import Fitted
from ranking.people import Floats, Ints, People, recency

READ = 30  # newest touches that co-visitation is read from
ENTRY = 20  # a person is new for so many touches
CATEGORIES = 64
DENSE = 100_000  # items up to which content is compared with all of them
FRESH_MS = 30 * DAY_MS
COMMON = 32
"""Of the most popular items by each half-life, and of the newest: so many concern everybody."""
_TOUCH = 4.0  # what one count is worth within the logarithm
_DOUBLINGS = 4  # of an age that make one
_CONTENT = PAIRED.index("content")  # beside it stands "interest"
_FIRST = [
    n
    for n, name in enumerate(ITEMWISE)
    if SOURCE_OF[name] in ("popular", "fresh")
    and name != "age"  # by it the oldest are first
]
_AGE, LONG = ITEMWISE.index("age"), ITEMWISE.index("popular_long")


@dataclass(slots=True, eq=False)
class OfItems:
    """What is known of items alone, as of a time: features, and where each stands by its age
    and by its fame."""

    itemwise_IN: Floats
    era_N: Ints
    fame_N: Ints
    _common_P: Ints | None = None

    def common(self) -> Ints:
        """P: the most popular rows by each half-life, and the newest."""
        if self._common_P is None:
            told_IN = self.itemwise_IN[_FIRST]
            self._common_P = np.flatnonzero((told_IN > 0).any(axis=0))
            if len(self._common_P) > COMMON:
                best_IP = np.argpartition(-told_IN, COMMON - 1, axis=1)[:, :COMMON]
                said_IP = np.take_along_axis(told_IN, best_IP, axis=1) > 0
                self._common_P = np.unique(best_IP[said_IP])
        return self._common_P


@dataclass(slots=True, eq=False)
class Sources:
    """What lists are made from. `category_NG`: unit rows of the items' categories, hashed.
    `vector_ND`: item vectors without what all items have in common (`mean_D`), unit rows, zero
    where there is none (`placed_N`, `shelved_N`: where there is one); of a catalogue beyond
    `DENSE` items it is empty, and content speaks for those that a search finds. `of_items`: kept from one batch to the next by who knows that
    nothing changed, else None."""

    catalogue: Catalogue
    live: Live
    model: Fitted
    mean_D: Floats | None = None
    vector_ND: Floats = field(default_factory=lambda: np.zeros((0, 1), np.float32))
    category_NG: Floats = field(
        default_factory=lambda: np.zeros((0, CATEGORIES), np.float32)
    )
    of_items: OfItems | None = None
    placed_N: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))
    shelved_N: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))

    def spaces(self, rows: int) -> list[tuple[Floats, NDArray[np.bool_]]]:
        """What so many items can be like in: unit rows, and which there are."""
        placed = min(rows, len(self.vector_ND))
        return [
            (self.category_NG[:rows], self.shelved_N[:rows]),
            (self.vector_ND[:placed], self.placed_N[:placed]),
        ]

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
            placed_N, self.placed_N = self.placed_N, np.zeros(len(self.vector_ND), np.bool_)
            if held.shape[1] == vector_XD.shape[1]:
                self.vector_ND[: len(held)] = held
                self.placed_N[: len(held)] = placed_N
        self.placed_N[rows] = known_X
        self.vector_ND[rows] = self.centred(vector_XD, known_X)

    def describe(self, rows: NDArray[np.int64]) -> None:
        """The categories of these rows changed."""
        if (more := len(self.catalogue.hash) - len(self.category_NG)) > 0:
            self.category_NG = np.pad(self.category_NG, ((0, more), (0, 0)))
            self.shelved_N = np.pad(self.shelved_N, (0, more))
        for row in rows.tolist():
            place = [_bucket(name) for name in self.catalogue.categories[row]]
            self.category_NG[row] = 0
            self.category_NG[row, place] = 1 / max(len(place), 1) ** 0.5
            self.shelved_N[row] = bool(place)


@dataclass(frozen=True, slots=True)
class Features:
    """Features of all pairs, of all items (of which U is 1 where everybody has the same) and of
    all people."""

    paired_FUM: Floats
    itemwise_IUM: Floats
    personal_UP: Floats

    def prior(self, weight_F: NDArray[np.float32]) -> Floats:
        """U x M: the first choice among all columns."""
        paired, itemwise = len(PAIRED), len(ITEMWISE)
        _, users, columns = self.paired_FUM.shape
        out_UM = np.empty((users, columns), np.float32)
        told_FX = self.paired_FUM.reshape(paired, users * columns)
        _product(weight_F[None, :paired], told_FX, out=out_UM.reshape(1, users * columns))
        own = self.itemwise_IUM.shape[1]  # people, or one for all
        told_IX = self.itemwise_IUM.reshape(itemwise, own * columns)
        out_UM += (weight_F[paired : paired + itemwise] @ told_IX).reshape(own, columns)
        return out_UM

    def of(self, column_UC: Ints) -> Floats:
        """U x C x features, of candidates: a view of columns, each feature by itself."""
        _, users, columns = self.paired_FUM.shape
        out_FUC = np.empty((len(FEATURES), *column_UC.shape), np.float32)
        at_UC = column_UC + np.arange(users)[:, None] * columns
        own_UC = at_UC if self.itemwise_IUM.shape[1] == users else column_UC
        for f, plane_UM in enumerate(self.paired_FUM):
            np.take(plane_UM.ravel(), at_UC, out=out_FUC[f], mode="clip")
        for i, told_UM in enumerate(self.itemwise_IUM, start=len(PAIRED)):
            np.take(told_UM.ravel(), own_UC, out=out_FUC[i], mode="clip")
        out_FUC[-len(PERSONAL) :] = self.personal_UP.T[:, :, None]
        return out_FUC.transpose(1, 2, 0)


def features(
    people: People,
    sources: Sources,
    *,
    interest_UD: Floats,
    memory_UV: Tensor | None = None,
    found: tuple[Ints, Floats] | None = None,
    row_UM: Ints | None = None,
) -> Features:
    """The features of these people, and of items as of the newest trends: of all of them, or of
    each person's `row_UM` (-1: none). `found`: columns (-1: none) and likeness to the interest
    that a search gave, where content is searched."""
    rows, live, model = sources.catalogue.size, sources.live, sources.model
    past = Past.of(people.row_UL, recency(people.age_ms_UL, people.row_UL))
    columns = rows if row_UM is None else row_UM.shape[1]
    out = np.zeros((len(PAIRED), len(people), columns), np.float32)
    at = {name: out[f] for f, name in enumerate(PAIRED)}
    if model.ease is not None:
        at["ease"][:] = model.ease.scatter(
            past, rows=rows, as_of_ms_U=people.as_of_ms_U, row_UM=row_UM
        )
    past = past.newest(READ).below(rows)
    _followed(at, people, past, live, rows=rows, row_UM=row_UM)
    score_UM = model.sequence(people, memory_UV, row_UM=row_UM)
    if score_UM is not None:
        at["sequence"][:, : score_UM.shape[1]] = score_UM
    of_items = items_as_of(sources, people)
    safe_UM = None if row_UM is None else np.maximum(row_UM, 0)
    _category(at["category"], past, sources.category_NG[:rows], safe_UM)
    _like(at["era"], past, of_items.era_N, safe_UM)
    _like(at["fame"], past, of_items.fame_N, safe_UM)
    told = out[_CONTENT : _CONTENT + 2]
    _content(
        told, past, sources=sources, interest_UD=interest_UD, found=found, row_UM=safe_UM
    )
    itemwise_IUM = of_items.itemwise_IN[:, None]
    if safe_UM is not None:
        itemwise_IUM = of_items.itemwise_IN[:, safe_UM]
    return Features(out, itemwise_IUM, personal(people))


def items_as_of(sources: Sources, people: People) -> "OfItems":
    """What is known of items alone, of the trends' own time: a list must not depend on who else
    is in its batch."""
    of_items, live = sources.of_items, sources.live
    if of_items is not None and of_items.itemwise_IN.shape[1] == sources.catalogue.size:
        return of_items
    newest_ms = live.newest_ms if live.ready else int(people.as_of_ms_U.max(initial=0))
    return items_of(sources, as_of_ms=newest_ms)


def _followed(
    at: Mapping[str, Floats],
    people: People,
    past: Past,
    live: Live,
    *,
    rows: int,
    row_UM: Ints | None,
) -> None:
    """What people touched after what these people touched."""
    as_of_U = people.as_of_ms_U
    newest = Past.of(people.row_UL[:, :1], np.ones((len(people), 1), np.float32))
    for name, variant, touched in (
        ("together", "session", past),
        ("last", "session", newest),
        ("recent", "recent", past),
    ):
        if follows := live.follows.get(variant):
            told_UM = follows.scatter(
                touched, rows=rows, as_of_ms_U=as_of_U, share=True, row_UM=row_UM
            )
            _log(told_UM, 20, out=at[name])
    if entry := live.follows.get("entry"):
        places = _places(people.touched_U)
        told_UM = entry.scatter(places, rows=rows, as_of_ms_U=as_of_U, row_UM=row_UM)
        _log(told_UM, 4, out=at["entry"])


def _places(touched_U: Ints) -> Past:
    """How far people are who touched little so far, as rows of what people begin with."""
    place_UL = touched_U[:, None] + np.arange(-2, 3)
    new_UL = (touched_U < ENTRY)[:, None] & (place_UL < ENTRY)
    near_L = np.exp(-np.abs(np.arange(-2, 3)) / 2.0).astype(np.float32)
    return Past.of(place_UL, np.where(new_UL, near_L, np.float32(0)))


def items_of(sources: Sources, *, as_of_ms: int) -> OfItems:
    """What is known of items alone, at a time."""
    itemwise_IN = itemwise(sources, as_of_ms=as_of_ms)
    age_N = _DOUBLINGS * itemwise_IN[_AGE]
    touches_N = np.expm1(itemwise_IN[LONG]) / _TOUCH
    return OfItems(itemwise_IN, bucket(age_N), bucket(np.log2(1 + 2 * touches_N)))


def itemwise(sources: Sources, *, as_of_ms: int) -> Floats:
    """I x N: what is popular and what is new, at a time."""
    catalogue, popular = sources.catalogue, list(sources.live.popular.values())
    rows = catalogue.size
    out = np.zeros((len(ITEMWISE), rows), np.float32)
    for i, table in enumerate(popular[: len(ITEMWISE) - 3]):
        _log(table.read(rows, as_of_ms=as_of_ms), _TOUCH, out=out[i])
    published_N = catalogue.published_at_ms[:rows]
    age_N = np.maximum(0, as_of_ms - published_N) / FRESH_MS
    out[-3] = np.where(catalogue.hash[:rows] != 0, np.exp2(-age_N), 0)
    out[-2] = ages(published_N, as_of_ms=as_of_ms) / _DOUBLINGS
    placed = min(rows, len(sources.vector_ND))
    out[-1, :placed] = sources.placed_N[:placed]
    return out


def personal(people: People) -> Floats:
    """U x personal: how much each person touched, ever and within the newest second."""
    burst_U = ((people.age_ms_UL <= 1_000) & (people.row_UL >= 0)).sum(axis=1)
    told: Floats = np.log1p(np.stack([people.touched_U, burst_U], axis=1)).astype(
        np.float32
    )
    return told


def _content(
    out_2UM: Floats,
    past: Past,
    *,
    sources: Sources,
    interest_UD: Floats,
    found: tuple[Ints, Floats] | None,
    row_UM: Ints | None,
) -> None:
    """Likeness to what was touched just now, and to the long-term interest."""
    vector_ND, users, columns = sources.vector_ND, *out_2UM.shape[1:]
    if len(vector_ND):
        recent_UD = past.summed(vector_ND)
        recent_UD /= np.maximum(np.linalg.norm(recent_UD, axis=1, keepdims=True), 1e-9)
        if row_UM is not None:
            both_UD2 = np.stack([recent_UD, interest_UD], axis=2)
            out_2UM[:] = _products(vector_ND, row_UM, both_UD2).transpose(2, 0, 1)
            return
        both_XD = np.concatenate([recent_UD, interest_UD])
        out_XN = out_2UM.reshape(2 * users, columns)[:, : len(vector_ND)]
        _product(both_XD, vector_ND[:columns].T, out=out_XN)
    elif found is not None:
        u_X, x_X = np.nonzero(found[0] >= 0)
        out_2UM[1][u_X, found[0][u_X, x_X]] = found[1][u_X, x_X]


def _category(out_UM: Floats, past: Past, category_NG: Floats, row_UM: Ints | None) -> None:
    """How much of the newest touches' categories an item has: a cosine."""
    if not len(category_NG):
        return
    held_UG = past.summed(category_NG)
    if not held_UG.any():
        return
    held_UG /= np.maximum(np.linalg.norm(held_UG, axis=1, keepdims=True), 1e-9)
    if row_UM is not None:
        out_UM[:] = _products(category_NG, row_UM, held_UG[:, :, None])[:, :, 0]
    else:
        _product(held_UG, category_NG.T, out=out_UM[:, : len(category_NG)])


def _like(out_UM: Floats, past: Past, place_N: Ints, row_UM: Ints | None) -> None:
    """How much of the newest touches is about where an item is on a scale of `AGES` buckets
    (how old it is, how well known): a smoothed density, as a logarithm."""
    at_E = past.user_X * AGES + place_N[past.row_X]
    summed_C: NDArray[Any] = np.bincount(at_E, past.weight_X, minlength=past.users * AGES)
    held_UG = summed_C.reshape(-1, AGES).astype(np.float32)
    held_UG /= np.maximum(held_UG.sum(axis=1, keepdims=True), 1e-9)
    alike_UG = np.log(0.01 + held_UG @ ALIKE)
    if row_UM is None:
        np.take(alike_UG, place_N, axis=1, out=out_UM, mode="clip")
    else:
        out_UM[:] = np.take_along_axis(alike_UG, place_N[row_UM], axis=1)


def _products(vector_NX: Floats, row_UM: Ints, other_UXK: Floats) -> Floats:
    """U x M x K: of each person's rows with each person's vectors."""
    held_UMX = torch.from_numpy(vector_NX)[torch.from_numpy(row_UM)]
    made: Floats = torch.bmm(held_UMX, torch.from_numpy(other_UXK)).numpy()
    return made


def _product(one: Floats, other: Floats, *, out: Floats) -> None:
    """A matrix product into its place, by torch: numpy's would start threads of its own."""
    torch.mm(torch.from_numpy(one), torch.from_numpy(other), out=torch.from_numpy(out))


def _log(value: Floats, scale: float, *, out: Floats) -> None:
    """log(1 + scale x value) where it is more than 0. The values are written over."""
    torch.log1p(
        torch.from_numpy(value).clamp_min_(0).mul_(scale), out=torch.from_numpy(out)
    )


def _bucket(category: str) -> int:
    return hash64(category) % CATEGORIES
