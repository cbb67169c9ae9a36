"""The fusion that configuration asks for: a projection that needs no training, or a model.

Shapes:  E = rows,  D = fused width
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from encoders.config import EncoderConfig
from encoders.fusion import Fused, SlotColumn, fuse, fusion_version
from encoders.fusion_model import load
from encoders.specs import SpecError


class Fusion(Protocol):
    """Slots into one vector of one space. A value: a worker may be given another between two
    batches, and fuses what it has again."""

    @property
    def version(self) -> str:
        """The name of the space; vectors of two names are never compared."""

    @property
    def width(self) -> int: ...

    def fuse(self, columns: Sequence[SlotColumn], *, rows: int) -> Fused:
        """E x D: unit rows of what is present. A row does not depend on the others."""


@dataclass(frozen=True, slots=True)
class Projected:
    """Holds `Fusion`: seeded projections, by concatenation or weights (ADR 7)."""

    config: EncoderConfig

    @property
    def version(self) -> str:
        return fusion_version(self.config)

    @property
    def width(self) -> int:
        return self.config.width

    def fuse(self, columns: Sequence[SlotColumn], *, rows: int) -> Fused:
        return fuse(columns, rows=rows, config=self.config)


def load_fusion(config: EncoderConfig) -> Fusion:
    """The fusion of `config.fusion`. Raises SpecError where its file cannot be had or has
    another width than the space that the workers keep."""
    kind, colon, where = config.fusion.partition(":")
    if not colon:
        return Projected(config)
    model = load(_file(Path(where).expanduser(), spec=f"{kind}:{where}"))
    if model.width != config.width:
        raise SpecError(
            f"fusion {config.fusion}: it is {model.width} wide, the space {config.width}; "
            f"set STREAMREC_ENCODERS__WIDTH={model.width} or train one of width {config.width}"
        )
    return model


def _file(path: Path, *, spec: str) -> Path:
    if path.is_file():
        return path
    found = sorted(path.glob("*.safetensors")) if path.is_dir() else []
    if len(found) != 1:
        raise SpecError(
            f"fusion {spec}: {len(found)} .safetensors files there; name the one by path:FILE"
        )
    return found[0]
