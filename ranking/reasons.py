"""Why an item is in a list: which items of the user's past speak for it, and in what way.

Shapes:  U = lists,  K = places of a list,  M = a user's heaviest items,  D = vector width

The score of an item is a sum over the user's items of (mass x likeness), so each one's share
is exact. The modality of a pair is the one in which the two items' sketches are most alike.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from encoders.interest import Masses
from ranking.catalogue import Catalogue
from schemas import Reason


@dataclass(frozen=True, slots=True)
class Past:
    """Each user's heaviest items with a positive mass, padded: hash 0, weight 0."""

    hash_UM: NDArray[np.uint64]
    weight_UM: NDArray[np.float32]


def past(held: Masses, *, size: int) -> Past:
    """The `size` heaviest liked items of every user."""
    users = len(held.start_U) - 1
    hash_UM = np.zeros((users, size), np.uint64)
    weight_UM = np.zeros((users, size), np.float32)
    for u in range(users):
        rows = slice(held.start_U[u], held.start_U[u + 1])
        weight, item = held.weight_E[rows], held.item_E[rows]
        if len(weight) > size:
            kept = np.argpartition(weight, -size)[-size:]
            weight, item = weight[kept], item[kept]
        liked = weight > 0
        count = int(liked.sum())
        hash_UM[u, :count], weight_UM[u, :count] = item[liked], weight[liked]
    return Past(hash_UM, weight_UM)


def reasons(
    past: Past,
    *,
    past_UMD: NDArray[np.float32],
    listed_UK: NDArray[np.uint64],
    listed_UKD: NDArray[np.float32],
    catalogue: Catalogue,
    limit: int,
) -> list[list[list[Reason]]]:
    """For each place of each list at most `limit` reasons, the weightiest first. Weights are
    shares of all that speaks for the item."""
    share_UKM = np.einsum("ukd,umd->ukm", listed_UKD, past_UMD, optimize=True)
    share_UKM = np.maximum(share_UKM * past.weight_UM[:, None, :], 0.0)
    whole_UK = share_UKM.sum(axis=2, keepdims=True)
    np.divide(share_UKM, whole_UK, out=share_UKM, where=whole_UK > 0)
    best_UKR = np.argsort(-share_UKM, axis=2, kind="stable")[:, :, :limit]
    weight_UKR = np.take_along_axis(share_UKM, best_UKR, axis=2)
    because_UKR = past.hash_UM[np.arange(len(best_UKR))[:, None, None], best_UKR]
    alike_UKR = _modalities(catalogue, listed_UK, because_UKR)
    return [
        [
            [
                Reason(because=because, weight=weight, modality=modality)
                for name, weight, modality in zip(*place, strict=True)
                if weight > 0 and (because := catalogue.id_of(name)) is not None
            ]
            for place in zip(*row, strict=True)
        ]
        for row in zip(
            because_UKR.tolist(), weight_UKR.astype(np.float64).round(4).tolist(), alike_UKR, strict=True
        )
    ]


def _modalities(
    catalogue: Catalogue, listed_UK: NDArray[np.uint64], because_UKR: NDArray[np.uint64]
) -> list[list[list[str]]]:
    """The modality in which each pair is most alike; "" where no modality is shared."""
    names = ["", *catalogue.sketches]
    rows_UK = _rows(catalogue, listed_UK)
    rows_UKR = _rows(catalogue, because_UKR)
    best = np.full(because_UKR.shape, 1e-6, np.float32)
    which = np.zeros(because_UKR.shape, np.int64)
    for at, sketch_NS in enumerate(catalogue.sketches.values(), start=1):
        one = sketch_NS[rows_UK][:, :, None, :].astype(np.float32)
        other = sketch_NS[rows_UKR].astype(np.float32)
        alike = np.einsum("ukos,ukrs->ukr", one, other, optimize=True)
        which = np.where(alike > best, at, which)
        best = np.maximum(best, alike)
    which[(rows_UKR < 0) | (rows_UK < 0)[:, :, None]] = 0
    named_UKR: NDArray[np.str_] = np.array(names)[which]
    modalities: list[list[list[str]]] = named_UKR.tolist()
    return modalities


def _rows(catalogue: Catalogue, names: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Rows of hashes; -1 for those that are not in the catalogue."""
    row_of = catalogue.row_of
    flat = [row_of.get(name, -1) for name in names.ravel().tolist()]
    return np.array(flat, np.int64).reshape(names.shape)
