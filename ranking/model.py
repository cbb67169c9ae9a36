"""A trained ranking model as lists use it, lined up with the rows of the catalogue.

The file (docs/models.md) holds: `items` (hashes), `ease.*` (what speaks for what, an item's
heaviest neighbours), `tower.*`, `tower1.*`, ... (user towers), `blend.*` (what weighs them). A
part that is missing is left out of lists: its features are 0, as they were when the blend was
trained. Several towers that began by other seeds speak as one, by the mean of their logits:
what one of them took from chance, the others did not (deep ensembles: Lakshminarayanan 2017).

Shapes:  N = rows of the catalogue,  M = items of the model,  W = width of a tower,  T = towers,
         V = T x W: their vectors side by side,  U = people,  L = their newest touches
"""

from collections.abc import Callable, Mapping, Sequence
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
    """A model in force. `ease` has edges between catalogue rows; `vector_NV`, `bias_NT` are the
    items of the towers, which are of equal settings."""

    version: str
    ease: Follows | None
    towers: Sequence[TowerModel]
    blend: Blend
    vector_NV: Tensor = field(default_factory=lambda: torch.zeros(0, 1))
    bias_NT: Tensor = field(default_factory=lambda: torch.zeros(0, 1))

    def align(
        self, catalogue: Catalogue, vectors: Vectors, changed: NDArray[np.int64]
    ) -> None:
        """Bring the towers' items up to the catalogue: new rows, and those that changed."""
        if not self.towers:
            return
        held, rows = len(self.vector_NV), catalogue.size
        at = np.unique(np.concatenate([np.arange(held, rows), changed[changed < rows]]))
        if not len(at):
            return
        name_X = catalogue.name[at]
        vector_XD, _ = vectors(name_X)
        told = [
            tower.items(
                name_X,
                tower_content(vector_XD, catalogue.published_at_ms[at], tower.settings),
            )
            for tower in self.towers
        ]
        vector_XV = torch.cat([vector_XW for vector_XW, _ in told], dim=1)
        bias_XT = torch.stack([bias_X for _, bias_X in told], dim=1)
        if rows > held:
            self.vector_NV = _longer(self.vector_NV, rows, vector_XV.shape[1])
            self.bias_NT = _longer(self.bias_NT, rows, len(told))
        self.vector_NV[at], self.bias_NT[at] = vector_XV, bias_XT

    def sequence(
        self,
        people: People,
        memory_UV: Tensor | None,
        *,
        row_UM: NDArray[np.int64] | None = None,
    ) -> Floats | None:
        """U x N: how likely the towers think each item to follow, as a logarithm. None without
        a tower. `memory_UV`: the mean of `vector_NV` of all that was touched, by its worth.
        With `row_UM` U x M: of these rows, and among them."""
        if not self.towers or not len(self.vector_NV):
            return None
        count, width = len(self.towers), self.towers[0].settings.width
        if memory_UV is None:
            memory_UV = torch.zeros(len(people), count * width)
        user_TUKW = torch.empty(
            count, len(people), self.towers[0].settings.interests, width
        )
        with torch.inference_mode():
            # those of about as many touches at once: what is filled up is worked for, too
            order_U = np.argsort((people.row_UL >= 0).cumsum(axis=1).argmax(axis=1))
            for begin in range(0, len(people), TOGETHER):
                at_P = order_U[begin : begin + TOGETHER]
                entries = self._entries(people, at_P)
                memory_PTW = memory_UV[at_P].unflatten(1, (count, width))
                for t, tower in enumerate(self.towers):
                    user_TUKW[t, at_P] = tower.net.users(
                        self._vectors(t), entries, memory_PTW[:, t]
                    )
            logit_UM = (
                self._logits(user_TUKW)
                if row_UM is None
                else self._narrow(user_TUKW, torch.from_numpy(row_UM))
            )
            score_UM: Floats = torch.log_softmax(logit_UM, dim=1).numpy()
        return score_UM

    def _logits(self, user_TUKW: Tensor) -> Tensor:
        """U x N: the mean over towers."""
        each = [
            scores(user_UKW, self._vectors(t), self.bias_NT[:, t])
            for t, user_UKW in enumerate(user_TUKW)
        ]
        return torch.stack(each).mean(dim=0)

    def _narrow(self, user_TUKW: Tensor, row_UM: Tensor) -> Tensor:
        """U x M: the same of some rows of each person."""
        safe_UM = row_UM.clamp(0, len(self.vector_NV) - 1)
        vector_UMV, bias_UMT = self.vector_NV[safe_UM], self.bias_NT[safe_UM]
        each = [
            torch.bmm(part_UMW, user_UKW.transpose(1, 2)).amax(dim=2)
            for user_UKW, part_UMW in zip(
                user_TUKW, vector_UMV.chunk(len(user_TUKW), dim=2), strict=True
            )
        ]
        logit_UM = torch.stack(each).mean(dim=0) + bias_UMT.mean(dim=2)
        there_UM = (row_UM >= 0) & (row_UM < len(self.vector_NV))
        return torch.where(there_UM, logit_UM, -30.0)

    def _vectors(self, t: int) -> Tensor:
        """N x W: a tower's own."""
        width = self.towers[t].settings.width
        return self.vector_NV[:, t * width : (t + 1) * width]

    def _entries(self, people: People, at_P: NDArray[np.int64]) -> Entries:
        """The newest touches of these people."""
        row_PL = people.row_UL[at_P, : self.towers[0].settings.length]
        row_PL[row_PL >= len(self.vector_NV)] = -1
        length = 1 + int(np.flatnonzero((row_PL >= 0).any(axis=0)).max(initial=0))
        there = at_P, slice(length - 1, None, -1)  # newest last
        at_ms_PL = people.as_of_ms_U[at_P, None] - people.age_ms_UL[there].astype(np.int64)
        return Entries(
            torch.from_numpy(row_PL[:, length - 1 :: -1].copy()),
            torch.from_numpy(at_ms_PL),
            torch.from_numpy(people.kind_UL[there].astype(np.int64)),
            torch.from_numpy(people.value_UL[there]),
        )


def _longer(held_NX: Tensor, rows: int, width: int) -> Tensor:
    """So many rows, of which the first are these."""
    made_NX = torch.zeros(rows, width)
    made_NX[: len(held_NX)] = held_NX
    return made_NX


def tower_content(
    vector_XD: Floats, published_at_ms_X: NDArray[np.int64], settings: TowerSettings
) -> Floats | None:
    """What a tower is told of items besides their ids: vectors, and when they were published.
    None where it is told nothing."""
    if not settings.content_width:
        return None
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
    return Fitted(version, ease, towers_of(tensors), blend_of(tensors))


def tower_tensors(models: Sequence[TowerModel]) -> dict[str, Tensor]:
    """Towers as part of a model's file."""
    made: dict[str, Tensor] = {}
    for t, model in enumerate(models):
        told = msgspec.json.encode(model.settings)
        made[f"{_prefix(t)}settings"] = torch.frombuffer(bytearray(told), dtype=torch.uint8)
        for name, tensor in model.net.state_dict().items():
            made[_prefix(t) + name] = tensor.contiguous()
    return made


def towers_of(tensors: Mapping[str, Tensor]) -> list[TowerModel]:
    """The towers in a model's file. Raises ValueError where they are not of equal settings."""
    made: list[TowerModel] = []
    while f"{_prefix(len(made))}settings" in tensors:
        hash_M = tensors["items"].numpy().view(np.uint64)
        net = _net(tensors, _prefix(len(made)), items=len(hash_M))
        made.append(TowerModel.of(net, hash_M))
        if net.settings != made[0].settings:
            raise ValueError(
                f"tower {len(made) - 1} has other settings than the first: "
                f"{net.settings}; train them together"
            )
    return made


def _prefix(t: int) -> str:
    return f"tower{t or ''}."


def _net(tensors: Mapping[str, Tensor], prefix: str, *, items: int) -> Tower:
    settings = msgspec.json.decode(
        tensors[f"{prefix}settings"].numpy().tobytes(), type=TowerSettings
    )
    net = Tower(settings, items=items)
    net.load_state_dict(
        {
            name.removeprefix(prefix): tensor
            for name, tensor in tensors.items()
            if name.startswith(prefix) and name != f"{prefix}settings"
        }
    )
    return net
