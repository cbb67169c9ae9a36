"""A trained fusion as a value, and as ONE file: safetensors, with its settings as metadata.

Shapes:  E = rows,  D = fused width
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from encoders import model_file
from encoders.fusion import Fused, SlotColumn
from encoders.fusion_graph import Graph
from encoders.fusion_nets import (
    Adversarial,
    Cascade,
    Joint,
    NetSettings,
    Reduce,
    Rows,
    Sample,
    SlotSpec,
    Weighted,
    rows_of,
)

FORMAT = "streamrec-fusion-1"
_NETS = {
    "weighted": Weighted,
    "joint": Joint,
    "cascade": Cascade,
    "sample": Sample,
    "adversarial": Adversarial,
}


class FusionNet(nn.Module):
    """Slots reduced, then fused by the net of a kind. `nodes`: items of a graph's training."""

    def __init__(
        self, slots: tuple[SlotSpec, ...], settings: NetSettings, *, nodes: int = 0
    ) -> None:
        super().__init__()
        self.reduce = Reduce(slots, settings)
        reduced = [
            SlotSpec(slot.name, width, slot.encoder)
            for slot, width in zip(slots, self.reduce.widths, strict=True)
        ]
        self.net: nn.Module
        if settings.kind == "graph":
            self.net = Graph(reduced, settings, nodes=nodes)
        else:
            self.net = _NETS[settings.kind](reduced, settings)

    def forward(self, rows: Rows) -> Tensor:
        fused_ED: Tensor = self.net(self.reduce(rows))
        return fused_ED


@dataclass(frozen=True, slots=True, eq=False)
class FusionModel:
    """Holds `Fusion` of `encoders/fusion_load.py`. Build it by `train` or `load`."""

    module: FusionNet = field(repr=False)
    slots: tuple[SlotSpec, ...]
    net: NetSettings
    version: str
    """fusion-KIND-WIDTH@DIGEST: of kind, width, weights and the slots' encoders"""

    @classmethod
    def of(
        cls, module: FusionNet, *, slots: tuple[SlotSpec, ...], net: NetSettings
    ) -> "FusionModel":
        """A module that has learned, as a value."""
        module.eval().requires_grad_(False)
        digest = hashlib.sha256(_told(slots, net).encode())
        for name, tensor in sorted(module.state_dict().items()):
            digest.update(name.encode() + tensor.contiguous().numpy().tobytes())
        version = f"fusion-{net.kind}-{net.width}@{digest.hexdigest()[:8]}"
        return cls(module, slots, net, version)

    @property
    def width(self) -> int:
        return self.net.width

    def fuse(self, columns: Sequence[SlotColumn], *, rows: int) -> Fused:
        """Unit rows from what is present. A slot of a name, width or encoder that was not
        trained for is masked; a row of none that was is absent."""
        said = rows_of(columns, self.slots, rows=rows)
        with torch.inference_mode():
            vector_ED = normalize(self.module(said).float(), dim=-1)
        present_E = said.present_EM.any(dim=1) & (vector_ED != 0).any(dim=1)
        return Fused(torch.where(present_E[:, None], vector_ED, 0.0).clone(), present_E)

    def weights(self) -> dict[str, Tensor]:
        return dict(self.module.state_dict())

    def save(self, file: Path) -> str:
        """Write the model to this file; gives its sha256. Equal models give equal bytes."""
        told = _told(self.slots, self.net)
        return model_file.write(self.weights(), told, file, format_name=FORMAT)


def load(file: Path, sha256: str | None = None) -> FusionModel:
    """The model in this file. Nothing in it is executed. Raises SpecError where there is none,
    where it is not one of ours, or where its sha256 is another."""
    said, weights = model_file.read(file, what="fusion", format_name=FORMAT, sha256=sha256)
    slots, net = msgspec.json.decode(said, type=tuple[tuple[SlotSpec, ...], NetSettings])
    nodes = len(weights["net.node_ND"]) if "net.node_ND" in weights else 0
    module = FusionNet(slots, net, nodes=nodes)
    module.load_state_dict(weights)
    return FusionModel.of(module, slots=slots, net=net)


def _told(slots: tuple[SlotSpec, ...], net: NetSettings) -> str:
    return msgspec.json.encode((slots, net)).decode()
