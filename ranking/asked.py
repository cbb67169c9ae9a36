"""What somebody asked for, in words, a picture or a sound: what fits it and the person.

    what was asked -> its nearest items -> fit to it, and the blend for the person -> the first k

The two experts speak in different units, and how far cosines lie apart depends on the space. So
each is standardised within the candidates before they are weighed (docs/learning.md).

Shapes:  U = lists,  X = candidates that a search found,  K = places,  F = features,
         D = width of the space
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ranking.blend import weighed
from ranking.blended import Candidates
from ranking.features import Sources, features
from ranking.people import Floats, Ints, People
from ranking.pool import wide

NEAREST = 200
"""Candidates: the items that fit best what was asked."""
MOST = 2.0
"""Standard deviations that the person's part is worth at most: however seldom an item is
touched, or however popular another is, who asks for a title finds it."""
KNOWN = 3.0
"""Items touched from which on a person's part counts wholly; of a newcomer it is nothing."""


def about(
    people: People,
    sources: Sources,
    *,
    row_UX: Ints,
    interest_UD: Floats,
    like_UX: Floats | None = None,
    memory_UV: Tensor | None = None,
) -> Candidates:
    """What a search found (rows, -1: none), with the features of each for the person. `like_UX`:
    likeness to the interest, where items are too many to compare it with all."""
    column_UX, row_UM = np.maximum(row_UX, 0), None
    if wide(sources.catalogue.size):  # no more is asked of than what was found
        column_UX = np.broadcast_to(np.arange(row_UX.shape[1]), row_UX.shape)
        row_UM = row_UX
    told = features(
        people, sources, interest_UD=interest_UD, memory_UV=memory_UV, row_UM=row_UM,
        found=None if like_UX is None else (np.where(row_UX >= 0, column_UX, -1), like_UX),
    )  # fmt: skip
    return Candidates(np.maximum(row_UX, 0), row_UX >= 0, told.of(column_UX))


def answered(
    found: Candidates,
    fit_UX: Floats,
    sources: Sources,
    *,
    touched_U: Ints,
    share: float,
    k: int,
    tired_UX: Floats | None = None,
) -> tuple[Ints, Floats]:
    """U x K rows (-1: no more) and how well each fits what was asked and the person. `fit_UX`:
    cosines to what was asked, which has this share. `touched_U`: items that each person touched
    ever; of who is new the blend knows only what is popular, and that was not asked for."""
    with torch.inference_mode():
        own_UX = weighed(sources.model.blend, torch.from_numpy(found.feature_UCF)).numpy()
    if tired_UX is not None:
        own_UX = own_UX + tired_UX
    known_U1 = np.minimum(1, touched_U / KNOWN)[:, None]
    both_UX = both(fit_UX, own_UX, found.there_UC, share=share, known=known_U1)
    at_UK = np.argsort(-both_UX, axis=1, kind="stable")[:, :k]
    row_UK = np.take_along_axis(found.row_UC, at_UK, axis=1)
    row_UK[~np.take_along_axis(found.there_UC, at_UK, axis=1)] = -1
    score_UK = np.take_along_axis(both_UX, at_UK, axis=1)
    return row_UK, np.where(row_UK >= 0, score_UK, 0).astype(np.float32)


def both(
    fit_UX: Floats,
    own_UX: Floats,
    there_UX: NDArray[np.bool_],
    *,
    share: float,
    known: float | NDArray[np.float64] = 1.0,
) -> NDArray[np.float64]:
    """U x X: fit to what was asked and what the blend says for the person (a logit), in standard
    deviations within the candidates; -inf where there is none. The person's part is bounded, and
    counts by how far the person is `known`, from 0 to 1."""
    bounded_UX = MOST * np.tanh(standard(own_UX, there_UX) / MOST)
    both_UX = share * standard(fit_UX, there_UX) + (1 - share) * known * bounded_UX
    # rounded, so that equals are equals whoever else is in the batch
    told: NDArray[np.float64] = np.where(there_UX, both_UX.round(5), -np.inf)
    return told


def standard(
    value_UX: NDArray[np.floating[Any]], there_UX: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Rows of mean 0 and deviation 1 over what is there; 0 where all are alike."""
    count_U1 = np.maximum(there_UX.sum(axis=1, keepdims=True), 1)
    told_UX = np.where(there_UX, value_UX, 0).astype(np.float64)
    off_UX = np.where(there_UX, told_UX - told_UX.sum(axis=1, keepdims=True) / count_U1, 0)
    spread_U1 = np.sqrt((off_UX**2).sum(axis=1, keepdims=True) / count_U1)
    made: NDArray[np.float64] = off_UX / np.where(spread_U1 > 1e-6, spread_U1, np.inf)
    return made
