"""A trained ranking model as lists use it, lined up with the rows of the catalogue.

The file (docs/models.md) holds: `items` (hashes), `ease.*` (what speaks for what, an item's
heaviest neighbours), `tower.*` (the user tower), `blend.*` (what weighs them). A part that is
missing is left out of lists: its features are 0, as they were when the blend was trained.

Shapes:  N = rows of the catalogue,  M = items of the model,  W = width of the tower,
         U = people,  L = their newest touches
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from encoders.tower import Entries, Tower, TowerSettings, scores
from encoders.tower_model import TowerModel
from ranking.ages import ages, soft
from ranking.blend import Blend, blend_of
from ranking.catalogue import Catalogue
from ranking.follows import Follows
from ranking.people import People

Floats = NDArray[np.float32]
TOGETHER = 64  # people whom the tower reads at once
Vectors = Callable[[NDArray[np.uint64]], tuple[Floats, NDArray[np.bool_]]]


@dataclass(slots=True, eq=False)
class Fitted:
    """A model in force. `ease` has edges between catalogue rows; `vector_NW`, `bias_N` are the
    tower's items."""

    version: str
    ease: Follows | None
    tower: TowerModel | None
    blend: Blend
    vector_NW: Tensor = field(default_factory=lambda: torch.zeros(0, 1))
    bias_N: Tensor = field(default_factory=lambda: torch.zeros(0))

    def align(
        self, catalogue: Catalogue, vectors: Vectors, changed: NDArray[np.int64]
    ) -> None:
        """Bring the tower's items up to the catalogue: new rows, and those that changed."""
        if self.tower is None:
            return
        held, rows = len(self.vector_NW), catalogue.size
        at = np.unique(np.concatenate([np.arange(held, rows), changed[changed < rows]]))
        if not len(at):
            return
        name_X = catalogue.name[at]
        content = None
        if self.tower.settings.content_width:
            content = tower_content(
                vectors(name_X)[0], catalogue.published_at_ms[at], self.tower.settings
            )
        vector_XW, bias_X = self.tower.items(name_X, content)
        if rows > held:
            more = torch.zeros(rows - held, vector_XW.shape[1])
            self.vector_NW = (
                torch.cat([self.vector_NW.reshape(held, -1), more]) if held else more
            )
            self.bias_N = torch.cat([self.bias_N, torch.zeros(rows - held)])
        self.vector_NW[at], self.bias_N[at] = vector_XW, bias_X

    def sequence(self, people: People, memory_UW: Tensor | None) -> Floats | None:
        """U x N: how likely the tower thinks each item to follow, as a logarithm. None without
        a tower."""
        if self.tower is None or not len(self.vector_NW):
            return None
        if memory_UW is None:
            memory_UW = torch.zeros(len(people), self.tower.settings.width)
        user_UKW = torch.empty(
            len(people), self.tower.settings.interests, memory_UW.shape[1]
        )
        with torch.inference_mode():
            # those of about as many touches at once: what is filled up is worked for, too
            order_U = np.argsort((people.row_UL >= 0).cumsum(axis=1).argmax(axis=1))
            for begin in range(0, len(people), TOGETHER):
                at_T = order_U[begin : begin + TOGETHER]
                user_UKW[at_T] = self._users(people, at_T, memory_UW[at_T])
            logit_UN = scores(user_UKW, self.vector_NW, self.bias_N)
            score_UN: Floats = torch.log_softmax(logit_UN, dim=1).numpy()
        return score_UN

    def _users(self, people: People, at_T: NDArray[np.int64], memory_TW: Tensor) -> Tensor:
        """T x K x W: vectors of these people by the tower."""
        assert self.tower is not None
        row_TL = people.row_UL[at_T, : self.tower.settings.length]
        row_TL[row_TL >= len(self.vector_NW)] = -1
        length = 1 + int(np.flatnonzero((row_TL >= 0).any(axis=0)).max(initial=0))
        there = at_T, slice(length - 1, None, -1)  # newest last
        at_ms_TL = people.as_of_ms_U[at_T, None] - people.age_ms_UL[there].astype(np.int64)
        entries = Entries(
            torch.from_numpy(row_TL[:, length - 1 :: -1].copy()),
            torch.from_numpy(at_ms_TL),
            torch.from_numpy(people.kind_UL[there].astype(np.int64)),
            torch.from_numpy(people.value_UL[there]),
        )
        return self.tower.net.users(self.vector_NW, entries, memory_TW)


def tower_content(
    vector_XD: Floats, published_at_ms_X: NDArray[np.int64], settings: TowerSettings
) -> Floats:
    """What a tower is told of items besides their ids: vectors, and when they were published."""
    if not settings.aged_at_ms:
        return vector_XD
    age_X = ages(published_at_ms_X, as_of_ms=settings.aged_at_ms)
    return np.concatenate([vector_XD, soft(age_X)], axis=1)


def fitted(tensors: Mapping[str, Tensor], catalogue: Catalogue, *, version: str) -> Fitted:
    """The model of these tensors, lined up with the catalogue. Raises ValueError, KeyError
    where they are not what `ranking.learn` makes."""
    hash_M = tensors["items"].numpy().view(np.uint64)
    row_M = catalogue.place(hash_M)
    ease = None
    if "ease.to" in tensors:
        to_MK, weight_MK = (
            tensors["ease.to"].numpy(),
            tensors["ease.weight"].float().numpy(),
        )
        ease = Follows.fixed(row_M, np.where(to_MK >= 0, row_M[to_MK], -1), weight_MK)
    tower = None
    if "tower.settings" in tensors:
        tower = TowerModel.of(_net(tensors, items=len(hash_M)), hash_M)
    return Fitted(version, ease, tower, blend_of(tensors))


def tower_tensors(model: TowerModel) -> dict[str, Tensor]:
    """A tower as part of a model's file."""
    told = msgspec.json.encode(model.settings)
    state = {f"tower.{name}": t.contiguous() for name, t in model.net.state_dict().items()}
    return {**state, "tower.settings": torch.frombuffer(bytearray(told), dtype=torch.uint8)}


def tower_of(tensors: Mapping[str, Tensor]) -> TowerModel | None:
    """The tower in a model's file, if it has one."""
    if "tower.settings" not in tensors:
        return None
    hash_M = tensors["items"].numpy().view(np.uint64)
    return TowerModel.of(_net(tensors, items=len(hash_M)), hash_M)


def _net(tensors: Mapping[str, Tensor], *, items: int) -> Tower:
    settings = msgspec.json.decode(
        tensors["tower.settings"].numpy().tobytes(), type=TowerSettings
    )
    net = Tower(settings, items=items)
    net.load_state_dict(
        {
            name.removeprefix("tower."): tensor
            for name, tensor in tensors.items()
            if name.startswith("tower.") and name != "tower.settings"
        }
    )
    return net
