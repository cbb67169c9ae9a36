"""Named slots into one vector: a fixed, seeded projection; no training.

A slot is one modality of an item ("text", "image", "audio") or a vector that its producer
brought under a name of their own ("clip"). What is absent is masked: it takes no part in
the result and does not pull it towards zero.

Shapes:  E = rows in the batch,  W = a slot's width,  D = the fused width,  S = a sketch's
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import normalize

from encoders.config import EncoderConfig

SKETCH_WIDTH = 32


@dataclass(frozen=True, slots=True)
class SlotColumn:
    """One slot of every row; rows where `present_E` is false hold nothing to be read.
    `encoder`: whose vectors they are, where that is known; "producer": they were brought."""

    name: str
    vector_EW: Tensor
    present_E: Tensor
    encoder: str = ""


@dataclass(frozen=True, slots=True)
class Fused:
    """Unit rows; a row of no slot is absent, and zero only because something must stand there."""

    vector_ED: Tensor
    present_E: Tensor


def fuse(columns: Sequence[SlotColumn], *, rows: int, config: EncoderConfig) -> Fused:
    """Fuse each row's present slots. The order of slots and the other rows change nothing.

    "weighted": the mean of the slots' unit projections, by weight over what is present.
    "concatenation": the present slots, each of length one, side by side, then projected. The
    projection of a concatenation is the sum of its blocks' projections, and is taken so.
    """
    total_ED = torch.zeros(rows, config.width)
    weight_E = torch.zeros(rows)
    for column in columns:
        unit_EW = normalize(column.vector_EW.float(), dim=-1)
        part_ED = unit_EW @ projection(
            column.name, unit_EW.shape[1], width=config.width, seed=config.seed
        )
        part_weight = 1.0
        if config.fusion == "weighted":
            part_ED = normalize(part_ED, dim=-1)
            part_weight = config.weights.get(column.name, 1.0)
        present_E = column.present_E & (column.vector_EW != 0).any(dim=-1)
        total_ED += torch.where(present_E[:, None], part_ED * part_weight, 0.0)
        weight_E += torch.where(present_E, part_weight, 0.0)
    present_E = (weight_E > 0) & (total_ED != 0).any(dim=-1)
    return Fused(vector_ED=normalize(total_ED, dim=-1), present_E=present_E)


def columns_of(
    rows: Sequence[Mapping[str, Tensor]],
    encoders: Sequence[Mapping[str, str]] | None = None,
) -> list[SlotColumn]:
    """Rows of named vectors into columns with masks, in one order whatever the rows'. A name
    that comes in two widths, or of two encoders, is two columns: they share nothing but the
    name. `encoders`: for each row, whose vectors its slots are; unknown where not said."""
    said = encoders or [{}] * len(rows)
    columns = []
    kinds = {
        (name, len(vector), told.get(name, ""))
        for row, told in zip(rows, said, strict=True)
        for name, vector in row.items()
    }
    for name, width, encoder in sorted(kinds):
        vector_EW = torch.zeros(len(rows), width)
        present_E = torch.zeros(len(rows), dtype=torch.bool)
        for e, (row, told) in enumerate(zip(rows, said, strict=True)):
            here = name in row and len(row[name]) == width
            if here and told.get(name, "") == encoder:
                vector_EW[e], present_E[e] = row[name], True
        columns.append(SlotColumn(name, vector_EW, present_E, encoder))
    return columns


def sketch(
    name: str, vector_EW: Tensor, *, width: int = SKETCH_WIDTH, seed: int = 0
) -> Tensor:
    """E x S, float16: enough of a slot to tell which modality made two items alike.

    The dot product of two sketches of one slot name is about the cosine of the slots.
    """
    matrix_WS = projection(f"sketch/{name}", vector_EW.shape[1], width=width, seed=seed)
    return normalize(normalize(vector_EW.float(), dim=-1) @ matrix_WS, dim=-1).half()


def fusion_version(config: EncoderConfig) -> str:
    """The name of the fused space. Vectors of two names are never compared.

    Short enough for every record; all that moves a fused vector is in it: kind, width, seed,
    weights and the specs of the encoders. Of a trained fusion it is the model's own version.
    Raises SpecError where there is no such model.
    """
    if config.fusion.startswith("path:"):
        from encoders.fusion_load import load_fusion

        return load_fusion(config).version
    weights = config.weights if config.fusion == "weighted" else {}
    specs = [config.text, config.image, config.audio, config.video, config.sensor]
    specs += [config.video_pooling, config.precision, str(config.max_tokens)]
    told = json.dumps([sorted(weights.items()), specs])
    digest = hashlib.sha256(told.encode()).hexdigest()[:8]
    return f"{config.fusion}-{config.width}-s{config.seed}@{digest}"


@lru_cache(maxsize=128)
def projection(name: str, in_width: int, *, width: int, seed: int) -> Tensor:
    """W x D, the same on every machine: an isometry where it can be one (W <= D), else
    orthonormal columns scaled to keep lengths on average.
    """
    key = json.dumps([seed, name, in_width, width]).encode()
    number = int.from_bytes(hashlib.sha256(key).digest()[:8], "little") >> 1
    generator = torch.Generator().manual_seed(number)
    # float64: torch draws it by one scalar algorithm everywhere; QR is unique once R's
    # diagonal is positive.
    gaussian = torch.randn(
        max(in_width, width), min(in_width, width), generator=generator, dtype=torch.float64
    )
    q, r = torch.linalg.qr(gaussian)
    q = q * torch.sign(torch.diagonal(r))
    matrix_WD: Tensor = q.T if in_width <= width else q * (in_width / width) ** 0.5
    return matrix_WD.float().contiguous()
