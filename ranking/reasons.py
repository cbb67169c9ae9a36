"""Why an item is in a list: which items of the user's past speak for it, and in what way.

Shapes:  U = lists,  K = places of a list,  M = a user's heaviest items,  R = reasons a place,
         D = vector width,  S = sketch width

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
    """The `size` heaviest liked items of every user, the heaviest first."""
    users = len(held.start_U) - 1
    hash_UM = np.zeros((users, size), np.uint64)
    weight_UM = np.zeros((users, size), np.float32)
    row_E = np.repeat(np.arange(users), np.diff(held.start_U))
    order_E = np.lexsort((-held.weight_E, row_E))
    rank_E = np.arange(len(row_E)) - held.start_U[row_E]
    chosen_E = (rank_E < size) & (held.weight_E[order_E] > 0)
    at = row_E[chosen_E], rank_E[chosen_E]
    hash_UM[at] = held.item_E[order_E[chosen_E]]
    weight_UM[at] = held.weight_E[order_E[chosen_E]]
    return Past(hash_UM, weight_UM)


def reasons(
    past: Past,
    *,
    past_UMD: NDArray[np.float32],
    listed_UK: NDArray[np.uint64],
    listed_UKD: NDArray[np.float32],
    catalogue: Catalogue,
    limit: int,
) -> list[list[Reason]]:
    """For each place, list after list, at most `limit` reasons, the weightiest first. Weights
    are shares of all that speaks for the item."""
    rows_UM = catalogue.find(past.hash_UM)
    weight_UM = np.where(rows_UM >= 0, past.weight_UM, 0.0)  # the withdrawn speak no more
    share_UKM = np.maximum(
        listed_UKD @ past_UMD.swapaxes(1, 2) * weight_UM[:, None, :], 0.0
    )
    whole_UK1 = share_UKM.sum(axis=2, keepdims=True)
    np.divide(share_UKM, whole_UK1, out=share_UKM, where=whole_UK1 > 0)
    best_UKR = np.argsort(-share_UKM, axis=2, kind="stable")[:, :, :limit]
    weight_UKR = np.take_along_axis(share_UKM, best_UKR, axis=2).astype(np.float64).round(4)
    rows_UKR = rows_UM[np.arange(len(best_UKR))[:, None, None], best_UKR]
    made = list(
        map(
            Reason,
            catalogue.item_id[rows_UKR].ravel().tolist(),
            weight_UKR.ravel().tolist(),
            _modalities(catalogue, catalogue.find(listed_UK), rows_UKR),
        )
    )
    width = best_UKR.shape[2]
    speak = (weight_UKR > 0).sum(axis=2).ravel().tolist()
    return [made[at * width : at * width + count] for at, count in enumerate(speak)]


def _modalities(
    catalogue: Catalogue, rows_UK: NDArray[np.int64], rows_UKR: NDArray[np.int64]
) -> list[str]:
    """The modality in which each pair is most alike; "" where no modality is shared."""
    names = np.array(["", *catalogue.sketches], object)
    best_UKR = np.full(rows_UKR.shape, 1e-6, np.float32)
    which_UKR = np.zeros(rows_UKR.shape, np.int64)
    for at, sketch_NS in enumerate(catalogue.sketches.values(), start=1):
        one_UKS = sketch_NS[rows_UK].astype(np.float32)
        other_UKRS = sketch_NS[rows_UKR].astype(np.float32)
        alike_UKR = (other_UKRS @ one_UKS[..., None])[..., 0]
        which_UKR = np.where(alike_UKR > best_UKR, at, which_UKR)
        best_UKR = np.maximum(best_UKR, alike_UKR)
    which_UKR[(rows_UKR < 0) | (rows_UK < 0)[:, :, None]] = 0
    modalities: list[str] = names[which_UKR].ravel().tolist()
    return modalities
