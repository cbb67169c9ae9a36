"""MovieLens-100k as items with slots and a log cut by time, and how a space is measured on it.

Shapes:  E = events,  N = items,  P = pairs,  C = clusters (users or items),  D = a space's width
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from encoders.config import EncoderConfig
from encoders.content import ImageContent, TextContent
from encoders.encoder import Encoder
from encoders.factors import factors
from encoders.fusion import SlotColumn
from encoders.fusion_train import co_visited
from encoders.load import load_encoders
from workers.movielens import Film, MovieLens

HISTORY, TUNED_ON = 80_000, 70_000
COLD = 5
LIST = 20


@dataclass(frozen=True, slots=True)
class Log:
    """Events in order of time: rows of users and items."""

    user_E: NDArray[np.int64]
    item_E: NDArray[np.int64]

    def cut(self, start: int, end: int) -> "Log":
        return Log(self.user_E[start:end], self.item_E[start:end])

    def without(self, gone_N: NDArray[np.bool_]) -> "Log":
        keep_E = ~gone_N[self.item_E]
        return Log(self.user_E[keep_E], self.item_E[keep_E])


@dataclass(frozen=True, slots=True)
class Space:
    """Item vectors, and which items have one."""

    vector_ND: Tensor
    here_N: Tensor


@dataclass(frozen=True, slots=True)
class Measured:
    """Outcomes one by one, and the cluster (user or item) that each is of."""

    value_P: NDArray[np.float64]
    cluster_P: NDArray[np.int64]
    slice_P: NDArray[np.bool_] | None = None

    def sliced(self, keep_P: NDArray[np.bool_]) -> "Measured":
        return Measured(self.value_P[keep_P], self.cluster_P[keep_P])

    @property
    def mean(self) -> float:
        return float(self.value_P.mean())


def log_of(data: MovieLens) -> Log:
    """Ratings as they came; what happened in one second in the order of the data set."""
    items = {name: n for n, name in enumerate(data.films)}
    users: dict[str, int] = {}
    user_E = [users.setdefault(r.user_id, len(users)) for r in data.ratings]
    return Log(np.array(user_E), np.array([items[r.item_id] for r in data.ratings]))


def content_columns(data: MovieLens, *, posters: Path, cache: Path) -> list[SlotColumn]:
    """Text (title and genres), image (the poster) and year: what is known of a film that
    nobody has seen. Encoded once and kept in `cache`."""
    films = list(data.films.values())
    encoders = load_encoders(EncoderConfig(audio="none", device="cpu"))
    text, image = encoders["text"], encoders["image"]
    told = [TextContent(f"{f.title}. {', '.join(f.genres)}") for f in films]
    text_NW = _kept(cache, f"{text.name}|{told}", lambda: text.encode(told))
    names = [f.number for f in films if (posters / f"{f.number}.jpg").is_file()]
    found_W = _kept(cache, f"{image.name}|{names}", lambda: _seen(image, posters, names))
    image_NW, here_N = torch.zeros(len(films), image.width), torch.zeros(len(films)).bool()
    at = [n for n, f in enumerate(films) if f.number in set(names)]
    image_NW[at], here_N[at] = found_W, True
    every_N = torch.ones(len(films), dtype=torch.bool)
    return [
        SlotColumn("text", text_NW, every_N, text.name),
        SlotColumn("image", image_NW, here_N, image.name),
        _year(films),
    ]


def cf_column(log: Log, *, items: int, rank: int = 64, least: int = 1) -> SlotColumn:
    """Factors of who touched what in this log; items with fewer than `least` have none."""
    weight_E = np.ones(len(log.item_E), np.float32)
    vector_NR = torch.from_numpy(
        factors(log.user_E, log.item_E, weight_E, items=items, rank=rank, least=least)
    )
    return SlotColumn("cf", vector_NR, (vector_NR != 0).any(dim=1), "factors")


def without(columns: Sequence[SlotColumn], *names: str) -> list[SlotColumn]:
    """The slots but for these: as if they had never come."""
    return [c for c in columns if c.name not in names]


def only(columns: Sequence[SlotColumn], name: str) -> Space:
    """One slot's own space."""
    column = next(c for c in columns if c.name == name)
    vector_ND = torch.where(column.present_E[:, None], column.vector_EW, 0.0)
    return Space(normalize(vector_ND - _mean(column), dim=1), column.present_E)


@dataclass(frozen=True, slots=True)
class NextItem:
    """Each event of a stretch as a target: what its user had before, newest counting most."""

    weight_EN: dict[float, Tensor]
    seen_EN: Tensor
    target_E: Tensor
    user_E: NDArray[np.int64]
    cold_E: NDArray[np.bool_]

    @classmethod
    def of(
        cls, log: Log, *, start: int, end: int, items: int, decays: Sequence[float]
    ) -> "NextItem":
        """Targets are events start..end; before each, all that came before is known."""
        seen_EN = torch.zeros(end - start, items, dtype=torch.bool)
        had: dict[int, list[int]] = {}
        entries: list[tuple[int, int, int]] = []  # event, item, how many came after it
        for e in range(end):
            user, item = int(log.user_E[e]), int(log.item_E[e])
            mine = had.setdefault(user, [])
            if e >= start:
                seen_EN[e - start, mine] = True
                recent = mine[-100:]
                entries += [
                    (e - start, i, len(recent) - 1 - k) for k, i in enumerate(recent)
                ]
            mine.append(item)
        at_3X = torch.tensor(entries).T
        often_N = np.bincount(log.item_E[:start], minlength=items)
        weights = {
            decay: torch.sparse_coo_tensor(
                at_3X[:2],
                decay ** at_3X[2].float(),
                (end - start, items),
                check_invariants=True,
            ).coalesce()
            for decay in decays
        }
        return cls(
            weights,
            seen_EN,
            torch.from_numpy(log.item_E[start:end]),
            log.user_E[start:end],
            often_N[log.item_E[start:end]] <= COLD,
        )

    def measure(self, space: Space, *, decay: float) -> tuple[Measured, float]:
        """Hits among the first LIST of all unseen items by cosine; and the share of items
        that some list has."""
        hits, listed = [], torch.zeros(len(space.here_N), dtype=torch.bool)
        profile_ED = torch.sparse.mm(self.weight_EN[decay], space.vector_ND)
        for part in torch.arange(len(self.target_E)).split(4_000):
            score_EN = profile_ED[part] @ space.vector_ND.T
            score_EN.masked_fill_(self.seen_EN[part] | ~space.here_N, -torch.inf)
            best = score_EN.topk(LIST, dim=1)
            hit_EL = (best.indices == self.target_E[part, None]) & best.values.isfinite()
            hits.append(hit_EL.any(dim=1))
            listed[best.indices[best.values.isfinite()]] = True
        value_E = torch.cat(hits).double().numpy()
        return Measured(value_E, self.user_E, self.cold_E), float(listed.float().mean())


@dataclass(frozen=True, slots=True)
class Together:
    """Pairs of items that were touched together: from each the other is to be found."""

    left_P: NDArray[np.int64]
    right_P: NDArray[np.int64]
    new_P: NDArray[np.bool_]
    """pairs with an item that the training has never seen"""

    @classmethod
    def of(cls, log: Log, *, reach: int, new_N: NDArray[np.bool_]) -> "Together":
        pairs = co_visited(log.user_E, log.item_E, reach=reach)
        new_P = new_N[pairs.left_P] | new_N[pairs.right_P]
        return cls(pairs.left_P, pairs.right_P, new_P)

    def measure(self, space: Space) -> tuple[Measured, Measured]:
        """Recall among the first LIST of all other items, and the reciprocal rank."""
        cosine_NN = space.vector_ND @ space.vector_ND.T
        cosine_NN.fill_diagonal_(-torch.inf)
        cosine_NN[:, ~space.here_N] = -torch.inf
        left_P, right_P = torch.from_numpy(self.left_P), torch.from_numpy(self.right_P)
        ordered_NN = cosine_NN.sort(dim=1).values
        target_P = cosine_NN[left_P, right_P]
        # of equals each is in the middle: who gives many items one vector gains nothing
        below_P, upto_P = (
            torch.searchsorted(ordered_NN, cosine_NN, right=right)[left_P, right_P]
            for right in (False, True)
        )
        rank_P = (cosine_NN.shape[1] - 0.5 * (below_P + upto_P + 1)).double().numpy()
        known_P = (target_P.isfinite() & space.here_N[left_P]).numpy()
        recall_P = (known_P & (rank_P < LIST)).astype(np.float64)
        reciprocal_P = np.where(known_P, 1 / (rank_P + 1), 0.0)
        return (
            Measured(recall_P, self.left_P, self.new_P),
            Measured(reciprocal_P, self.left_P, self.new_P),
        )


def interval(
    ours: Measured, theirs: Measured | None = None, *, times: int = 1_000, seed: int = 0
) -> tuple[float, float]:
    """95 % of resamples of the clusters: of the mean, or of ours minus theirs on the same
    resamples (paired)."""
    value_P = ours.value_P if theirs is None else ours.value_P - theirs.value_P
    _, row_P = np.unique(ours.cluster_P, return_inverse=True)
    sum_C, count_C = np.bincount(row_P, weights=value_P), np.bincount(row_P)
    drawn = np.random.default_rng(seed).multinomial(
        len(sum_C), np.full(len(sum_C), 1 / len(sum_C)), size=times
    )
    low, high = np.percentile((drawn @ sum_C) / (drawn @ count_C), [2.5, 97.5])
    return float(low), float(high)


def _year(films: Sequence[Film]) -> SlotColumn:
    """The year as a vector that a producer would bring: near years are alike."""
    year_N1 = torch.tensor([float(f.year) for f in films])[:, None]
    age_N1 = torch.log1p((1999 - year_N1).clamp_min(0))  # a year counts more, the newer
    centre_W = torch.linspace(0, 4.4, 12)
    vector_NW = torch.exp(-((age_N1 - centre_W) ** 2) / (2 * 0.4**2))
    return SlotColumn("year", vector_NW, year_N1[:, 0] > 0, "producer")


def _mean(column: SlotColumn) -> Tensor:
    return (
        column.vector_EW[column.present_E].mean(dim=0)
        if column.name != "cf"
        else torch.zeros(1)
    )


def _seen(encoder: Encoder[ImageContent], posters: Path, names: Sequence[str]) -> Tensor:
    from PIL import Image

    parts = []
    for start in range(0, len(names), 32):
        batch = []
        for name in names[start : start + 32]:
            with Image.open(posters / f"{name}.jpg") as picture:
                pixels = np.asarray(picture.convert("RGB").resize((224, 224)))
            batch.append(ImageContent(torch.from_numpy(pixels.copy()).permute(2, 0, 1)))
        parts.append(encoder.encode(batch))
    return torch.cat(parts)


def _kept(cache: Path, key: str, make: object) -> Tensor:
    file = cache / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.npy"
    if not file.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        np.save(file, make().numpy())
    return torch.from_numpy(np.load(file))
