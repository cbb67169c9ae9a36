"""A trained user tower as a value, and as ONE file: safetensors, with its settings as metadata
and the hashes of the items that it learned.

Shapes:  N = items learned,  X = items of a catalogue,  C = content width,  W = width
"""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from encoders import model_file
from encoders.tower import Tower, TowerSettings
from schemas import ModelCard

FORMAT = "streamrec-tower-2"
_HASHES = "item_hashes"


@dataclass(frozen=True, slots=True, eq=False)
class TowerModel:
    """Build it by `train`, `fine_tune` or `load`. `hash_N`: names of the items (hash64 of
    their ids), by row of what was learned of ids."""

    net: Tower = field(repr=False)
    hash_N: NDArray[np.uint64] = field(repr=False)
    version: str
    """tower-WIDTHxINTERESTS@DIGEST: of settings, items and weights"""

    @classmethod
    def of(cls, net: Tower, hash_N: NDArray[np.uint64]) -> "TowerModel":
        """A net that has learned, as a value."""
        net.eval().requires_grad_(False)
        digest = hashlib.sha256(msgspec.json.encode(net.settings) + hash_N.tobytes())
        for name, tensor in sorted(net.state_dict().items()):
            digest.update(name.encode() + tensor.contiguous().numpy().tobytes())
        said = net.settings
        version = f"tower-{said.width}x{said.interests}@{digest.hexdigest()[:8]}"
        return cls(net, hash_N, version)

    @property
    def settings(self) -> TowerSettings:
        return self.net.settings

    def rows(self, hash_X: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Where each of these items stands in what was learned; -1: it was not there."""
        if not len(self.hash_N):
            return np.full(len(hash_X), -1, np.int64)
        order_N = np.argsort(self.hash_N)
        at_X = np.searchsorted(self.hash_N, hash_X, sorter=order_N)
        row_X = order_N[at_X.clip(max=len(order_N) - 1)]
        return np.where(self.hash_N[row_X] == hash_X, row_X, -1).astype(np.int64)

    def items(
        self, hash_X: NDArray[np.uint64], content_XC: NDArray[np.float32] | None
    ) -> tuple[Tensor, Tensor]:
        """vector_XW, bias_X of a catalogue. Of an item that was not learned by its content
        alone (a zero row: nothing is known of it). Raises ValueError at another width."""
        content = checked(content_XC, items=len(hash_X), settings=self.settings)
        with torch.inference_mode():
            vector_XW, bias_X = self.net.items(torch.from_numpy(self.rows(hash_X)), content)
        return vector_XW.clone(), bias_X.clone()

    def save(self, file: Path) -> str:
        """Write the model to this file; gives its sha256. Equal models give equal bytes."""
        weights = dict(self.net.state_dict())
        weights[_HASHES] = torch.from_numpy(self.hash_N.view(np.int64).copy())
        told = msgspec.json.encode(self.settings).decode()
        return model_file.write(weights, told, file, format_name=FORMAT)


def load(file: Path, sha256: str | None = None) -> TowerModel:
    """The model in this file. Nothing in it is executed. Raises SpecError where there is none,
    where it is not one of ours, or where its sha256 is another."""
    told, weights = model_file.read(file, what="tower", format_name=FORMAT, sha256=sha256)
    settings = msgspec.json.decode(told, type=TowerSettings)
    hash_N = weights.pop(_HASHES).numpy().view(np.uint64)
    net = Tower(settings, items=len(hash_N))
    net.load_state_dict(weights)
    return TowerModel.of(net, hash_N)


def card(model: TowerModel, *, name: str, uri: str, sha256: str, at_ms: int) -> ModelCard:
    """What is published of the file that `save` wrote to `uri`."""
    said = model.settings
    return ModelCard(
        name=name,
        version=model.version,
        uri=uri,
        sha256=sha256,
        dims={
            "width": said.width,
            "interests": said.interests,
            "length": said.length,
            "content": said.content_width,
            "items": len(model.hash_N),
        },
        at_ms=at_ms,
    )


def checked(
    content_NC: NDArray[np.float32] | None, *, items: int, settings: TowerSettings
) -> Tensor | None:
    """Content vectors as the net takes them. Raises ValueError where they do not fit."""
    wanted = settings.content_width
    if not wanted:
        return None
    shape = None if content_NC is None else content_NC.shape
    if content_NC is None or shape != (items, wanted):
        raise ValueError(
            f"content_NC is {shape} and the tower reads {(items, wanted)}: give a row of that "
            "width for each item (zeros where there is none), or train with another "
            "content_width"
        )
    return torch.from_numpy(np.ascontiguousarray(content_NC, np.float32))
