"""People into places: every source speaks, a prior chooses candidates, the blend orders them.

    features of all pairs -> prior -> candidates -> blend -> the first k

Of a large catalogue not all pairs are looked at, but those of each person's pool
(ranking/pool.py).

Shapes:  U = lists,  N = rows of the catalogue,  M = columns: rows that are looked at, all or a
         pool,  C = candidates,  K = places,  F = features
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ranking.blend import weighed
from ranking.feature_names import FEATURES, SOURCE_OF
from ranking.features import Sources, features
from ranking.people import Floats, Ints, People
from ranking.pool import pooled, wide

CANDIDATES = 200
PAIRS = 2_000_000  # people x items whose features are at hand at once
AT_ONCE = 32  # people whose pools are at hand at once
SOURCES = np.array(
    ["together", "sequence", "category", "popular", "fresh", "interest"], object
)

_SPEAKS_FS = np.array(
    [[SOURCE_OF[name] == source for source in SOURCES] for name in FEATURES], np.float32
)


@dataclass(frozen=True, slots=True)
class Candidates:
    """C candidates a list, with their features; where `there_UC` is false, there is none."""

    row_UC: Ints
    there_UC: NDArray[np.bool_]
    feature_UCF: Floats


def candidates(
    people: People,
    sources: Sources,
    *,
    listed_UN: NDArray[np.bool_],
    interest_UD: Floats,
    found: tuple[Ints, Floats] | None = None,
    others_UX: Ints | None = None,
    wanted_U: Ints | None = None,
    memory_UV: Tensor | None = None,
    size: int = CANDIDATES,
) -> Candidates:
    """The prior's best of what may be listed; what a search by content found (rows, likeness)
    and `others_UX` (rows, -1: none) stand beside them. With `wanted_U` that item stands first in
    every row, so that it can be learned from."""
    more = [] if wanted_U is None else [wanted_U[:, None]]
    more += [row_UX for row_UX in (found and found[0], others_UX) if row_UX is not None]
    row_UM, listed_UM = None, listed_UN
    if wide(sources.catalogue.size):
        must_UX = np.concatenate([*more, np.zeros((len(people), 0), np.int64)], axis=1)
        row_UM = pooled(people, sources, listed_UN=listed_UN, must_UX=must_UX)
        listed_UM = np.take_along_axis(listed_UN, np.maximum(row_UM, 0), axis=1)
        listed_UM &= row_UM >= 0
        more = _last(row_UM, [row_UX.shape[1] for row_UX in more])
    if found is not None:
        found = more[0 if wanted_U is None else 1], found[1]
    told = features(
        people, sources, interest_UD=interest_UD, memory_UV=memory_UV, found=found,
        row_UM=row_UM,
    )  # fmt: skip
    weight_F = sources.model.blend.prior_now().detach().numpy()
    below_UM = told.prior(-weight_F)
    np.copyto(below_UM, np.inf, where=~listed_UM)
    if wanted_U is not None:
        wanted_U = more.pop(0)[:, 0]
        below_UM[np.arange(len(people)), wanted_U] = -np.inf
    columns = below_UM.shape[1]
    size = min(size, columns)
    column_UC = (
        np.argpartition(below_UM, size - 1, axis=1)[:, :size]
        if size < columns
        else (np.broadcast_to(np.arange(columns), below_UM.shape).copy())
    )
    if wanted_U is not None:
        column_UC = _first(column_UC, wanted_U)
    there_UC = np.take_along_axis(below_UM, column_UC, axis=1) < np.inf
    for more_UX in more:
        column_UC, there_UC = _joined(column_UC, there_UC, more_UX, listed_UM)
    row_UC = column_UC
    if row_UM is not None:
        row_UC = np.maximum(np.take_along_axis(row_UM, column_UC, axis=1), 0)
    return Candidates(row_UC, there_UC, told.of(column_UC))


def _last(row_UM: Ints, widths: Sequence[int]) -> list[Ints]:
    """The last columns, in parts of these widths; -1 where no row is."""
    column_UM = np.where(row_UM >= 0, np.arange(row_UM.shape[1]), -1)
    begin = row_UM.shape[1] - sum(widths)
    ends = (begin + np.cumsum(widths)).tolist()
    return np.split(column_UM, [begin, *ends], axis=1)[1:-1]


def ordered(
    found: Candidates, sources: Sources, *, k: int, tired_UC: Floats | None = None
) -> tuple[Ints, Floats, NDArray[np.object_]]:
    """U x K rows (-1: no more), their scores (how likely each is the next, among the
    candidates) and the source that speaks loudest for each."""
    blend = sources.model.blend
    with torch.inference_mode():
        logit_UC = weighed(blend, torch.from_numpy(found.feature_UCF))
        if tired_UC is not None:
            logit_UC += torch.from_numpy(tired_UC)
        logit_UC[~torch.from_numpy(found.there_UC)] = -torch.inf
        top_UK = logit_UC.topk(min(k, logit_UC.shape[1])).indices
        score_UC = torch.softmax(logit_UC, dim=1).nan_to_num_()
        at_UK, score_UK = top_UK.numpy(), score_UC.gather(1, top_UK).numpy()
    row_UK = np.take_along_axis(found.row_UC, at_UK, axis=1)
    row_UK[~np.take_along_axis(found.there_UC, at_UK, axis=1)] = -1
    feature_UKF = np.take_along_axis(found.feature_UCF, at_UK[..., None], axis=1)
    return row_UK, score_UK, loudest(feature_UKF, sources)


def loudest(feature_UKF: Floats, sources: Sources) -> NDArray[np.object_]:
    """U x K: the source whose features lift the item most above an average one."""
    blend = sources.model.blend
    weight_F = (blend.linear.weight[0].detach() * blend.scale_F).numpy()  # type: ignore[operator]
    share_UKF = (feature_UKF - blend.mean_F.numpy()) * weight_F  # type: ignore[operator]
    share_UKS = share_UKF @ _SPEAKS_FS
    best: NDArray[np.object_] = SOURCES[share_UKS.argmax(axis=-1)]
    return best


def _first(column_UC: Ints, wanted_U: Ints) -> Ints:
    """Each person's wanted item in the first place."""
    at_U = (column_UC == wanted_U[:, None]).argmax(axis=1)
    column_UC[np.arange(len(column_UC)), at_U] = column_UC[:, 0]
    column_UC[:, 0] = wanted_U
    return column_UC


def _joined(
    column_UC: Ints,
    there_UC: NDArray[np.bool_],
    more_UX: Ints,
    listed_UM: NDArray[np.bool_],
) -> tuple[Ints, NDArray[np.bool_]]:
    """Candidates and what a search found, none twice."""
    safe_UX = np.maximum(more_UX, 0)
    listed_UX = (more_UX >= 0) & np.take_along_axis(listed_UM, safe_UX, axis=1)
    known_UX = (more_UX[:, :, None] == column_UC[:, None, :]).any(axis=2)
    return (
        np.concatenate([column_UC, safe_UX], axis=1),
        np.concatenate([there_UC, listed_UX & ~known_UX], axis=1),
    )


def unit(vector_UD: Floats) -> Floats:
    """Rows of length one; zero rows stay zero."""
    length_U1 = np.linalg.norm(vector_UD, axis=1, keepdims=True)
    made: Floats = (vector_UD / np.maximum(length_U1, 1e-12)).astype(np.float32)
    return made


def chunks(count: int, *, rows: int) -> Sequence[slice]:
    """People in parts whose features fit in memory."""
    size = AT_ONCE if wide(rows) else max(1, PAIRS // max(rows, 1))
    return [slice(at, at + size) for at in range(0, count, size)]
