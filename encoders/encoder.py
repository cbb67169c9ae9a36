"""The door to a model, and how its work is cut into batches.

Shapes:  E = contents in the batch,  W = the encoder's width
"""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

import torch
from torch import Tensor

Content_contra = TypeVar("Content_contra", contravariant=True)


class Encoder(Protocol[Content_contra]):
    """Content of one modality into unit vectors.

    A row is a function of its own content: within 1e-4 it does not depend on its neighbours.
    """

    @property
    def name(self) -> str:
        """Versioned by its weights: vectors of two names are never compared."""

    @property
    def modality(self) -> str: ...

    @property
    def width(self) -> int: ...

    def cost(self, content: Content_contra) -> int:
        """What the model will work through: tokens, pixels, or milliseconds of audio."""

    def encode(self, batch: Sequence[Content_contra]) -> Tensor:
        """E x W, float32, on the CPU, rows of length one, in the order of the batch."""


def micro_batches(costs: Sequence[int], *, budget: int) -> list[list[int]]:
    """Rows grouped so that (rows x the longest of them) stays within the budget.

    Sorted by cost, so that like is padded to like. A row that alone is over the budget
    goes alone.
    """
    groups: list[list[int]] = []
    for row in sorted(range(len(costs)), key=costs.__getitem__):
        if groups and (len(groups[-1]) + 1) * costs[row] <= budget:
            groups[-1].append(row)
        else:
            groups.append([row])
    return groups


def encode_by_cost(
    costs: Sequence[int], *, budget: int, width: int, run: Callable[[list[int]], Tensor]
) -> Tensor:
    """Run the model over micro-batches of rows and put the results back in order."""
    vector_EW = torch.empty(len(costs), width, dtype=torch.float32)
    for rows in micro_batches(costs, budget=budget):
        vector_EW[rows] = run(rows).float().cpu()
    return torch.nn.functional.normalize(vector_EW, dim=-1)
