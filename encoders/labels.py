"""What an item is, told by its vectors: labels with a confidence, for items that have none.

Two sources. A `LabelHead` was trained on items whose categories are known (encoders/
label_fit.py): each label by itself, yes or no. `ZeroShot` compares a slot with sentences about
the labels (Radford 2021): one of the labels, however badly they all fit, so that its confidence
means something only where the labels cover what there is. Where both know a label the head
counts.

Shapes:  E = rows in the batch,  W = a slot's width,  L = labels
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from encoders.config import EncoderConfig
from encoders.content import TextContent
from encoders.encoder import Encoder
from encoders.hub import same_space
from encoders.specs import SpecError

FORMAT = "streamrec.label-head.1"


@dataclass(frozen=True, slots=True)
class LabelHead:
    """A linear multi-label head over one slot: `sigmoid((x W + b) / temperature)`, x of length
    one. `encoder` made the slots that it was trained on; others' it does not read."""

    labels: tuple[str, ...]
    slot: str
    encoder: str
    weight_WL: Tensor
    bias_L: Tensor
    temperature: float

    def confidence(self, vector_EW: Tensor) -> Tensor:
        """E x L: how likely each label is, calibrated on items that it was not fitted to."""
        logit_EL = normalize(vector_EW.float(), dim=-1) @ self.weight_WL + self.bias_L
        return torch.sigmoid(logit_EL / self.temperature)

    def save(self, file: Path) -> None:
        """One safetensors with the names in its metadata; equal heads give equal bytes."""
        from safetensors.torch import save

        told = {
            "format": FORMAT, "labels": self.labels, "slot": self.slot, "encoder": self.encoder,
            "temperature": self.temperature,
        }  # fmt: skip
        tensors = {"weight_WL": self.weight_WL.contiguous(), "bias_L": self.bias_L}
        metadata = {"head": json.dumps(told)}  # one entry: several come in any order
        file.write_bytes(save(tensors, metadata=metadata))


@dataclass(frozen=True, slots=True)
class ZeroShot:
    """Labels as vectors in the space of a slot: `softmax(cosine / temperature)`."""

    labels: tuple[str, ...]
    slot: str
    encoder: str
    prompt_LW: Tensor
    temperature: float

    def confidence(self, vector_EW: Tensor) -> Tensor:
        """E x L: how well each label fits, against the others; rows sum to 1."""
        cosine_EL = normalize(vector_EW.float(), dim=-1) @ self.prompt_LW.T
        return torch.softmax(cosine_EL / self.temperature, dim=-1)


Source = LabelHead | ZeroShot
Slots = Mapping[str, tuple[str, Tensor]]
"""By a slot's name: who encoded it, and its vector."""


@dataclass(frozen=True, slots=True)
class Labeller:
    """`heads` count before `zero_shots`. Of what a row's slots say the mean is taken, and the
    `most` labels of at least `threshold` are told. `version` moves with anything of it."""

    heads: tuple[Source, ...] = ()
    zero_shots: tuple[Source, ...] = ()
    threshold: float = 0.5
    most: int = 5
    version: str = ""

    def label(self, rows: Sequence[Slots]) -> list[dict[str, float]]:
        """Each row's labels with their confidence, the surest first. A row without a slot that
        a source reads has none."""
        by_zero_shot = _confidence(self.zero_shots, rows)
        by_head = _confidence(self.heads, rows)
        return [
            self._told(zero | head)
            for zero, head in zip(by_zero_shot, by_head, strict=True)
        ]

    def _told(self, confidence: Mapping[str, float]) -> dict[str, float]:
        ordered = sorted(confidence.items(), key=lambda pair: (-pair[1], pair[0]))
        sure = [(name, value) for name, value in ordered if value >= self.threshold]
        return {name: round(value, 4) for name, value in sure[: self.most]}


def open_labeller(config: EncoderConfig, encoders: Mapping[str, Encoder[Any]]) -> Labeller:
    """What configuration asks for; without any, one that tells nothing. Raises SpecError."""
    kind, _, folder = config.labels.partition(":")
    if config.labels != "none" and (kind != "path" or not folder):
        raise SpecError(f"labels {config.labels!r}: expected path:DIR or none")
    heads = load_heads(Path(folder).expanduser(), encoders) if folder else ()
    zero: tuple[ZeroShot, ...] = ()
    if config.zero_shot:
        zero = zero_shots(
            config.zero_shot,
            encoders,
            template=config.zero_shot_template,
            temperature=config.zero_shot_temperature,
        )
    return Labeller(
        heads=heads,
        zero_shots=zero,
        threshold=config.label_threshold,
        most=config.max_labels,
        version=version_of([*heads, *zero], config),
    )


def zero_shots(
    labels: Sequence[str],
    encoders: Mapping[str, Encoder[Any]],
    *,
    template: str,
    temperature: float,
) -> tuple[ZeroShot, ...]:
    """One for each slot whose encoder shares its space with the text encoder. SpecError where
    there is no text encoder to read the labels with, or no place for one in the template."""
    if "{}" not in template:
        raise SpecError(f"zero-shot template {template!r}: put {{}} where the label stands")
    text = encoders.get("text")
    if text is None:
        raise SpecError(
            "zero-shot labels: they are read by the text encoder, which is `none`"
        )
    prompt_LW = text.encode(
        [TextContent(template.replace("{}", label)) for label in labels]
    )
    return tuple(
        ZeroShot(tuple(labels), slot, encoder.name, prompt_LW, temperature)
        for slot, encoder in sorted(encoders.items())
        if same_space(text.name, encoder.name) and encoder.width == text.width
    )


def load_heads(folder: Path, encoders: Mapping[str, Encoder[Any]]) -> tuple[LabelHead, ...]:
    """The heads in this folder, one file a slot. Raises SpecError where there are none, or where
    one was trained on another encoder's vectors."""
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise SpecError(
            f"labels path:{folder}: no label heads there; `rec encoders fit labels` makes them"
        )
    heads = tuple(load_head(file) for file in files)
    for file, head in zip(files, heads, strict=True):
        here = encoders[head.slot].name if head.slot in encoders else "none"
        if here != head.encoder:
            raise SpecError(
                f"labels {file}: trained on {head.encoder}, the {head.slot} encoder here is "
                f"{here}; fit them anew or set that encoder"
            )
    return heads


def load_head(file: Path) -> LabelHead:
    """The head in this file. Nothing in it is executed. Raises SpecError."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt") as opened:
            told = json.loads((opened.metadata() or {}).get("head", "{}"))
            if told.get("format") != FORMAT:
                raise SpecError(
                    f"labels {file}: format {told.get('format')!r}, expected {FORMAT!r}; fit "
                    "them anew"
                )
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise SpecError(f"labels {file}: {error}; fit them anew") from error
    return LabelHead(
        labels=tuple(told["labels"]),
        slot=told["slot"],
        encoder=told["encoder"],
        weight_WL=tensors["weight_WL"],
        bias_L=tensors["bias_L"],
        temperature=told["temperature"],
    )


def version_of(sources: Sequence[Source], config: EncoderConfig) -> str:
    """8 hex of all that moves a label; "" where there is no source."""
    if not sources:
        return ""
    settings = (config.label_threshold, config.max_labels, config.zero_shot_template)
    digest = hashlib.sha256(repr(settings).encode())
    for source in sources:
        told = (source.labels, source.slot, source.encoder, source.temperature)
        digest.update(repr((type(source).__name__, told)).encode())
        if isinstance(source, LabelHead):
            digest.update(
                source.weight_WL.numpy().tobytes() + source.bias_L.numpy().tobytes()
            )
    return digest.hexdigest()[:8]


def _confidence(sources: Sequence[Source], rows: Sequence[Slots]) -> list[dict[str, float]]:
    """For each row the mean over the sources that read a slot of it."""
    said: list[dict[str, list[float]]] = [{} for _ in rows]
    for source in sources:
        at = [e for e, row in enumerate(rows) if _reads(source, row)]
        if not at:
            continue
        vector_EW = torch.stack([rows[e][source.slot][1] for e in at])
        for e, of_row in zip(at, source.confidence(vector_EW).tolist(), strict=True):
            for name, value in zip(source.labels, of_row, strict=True):
                said[e].setdefault(name, []).append(value)
    return [
        {name: sum(values) / len(values) for name, values in row.items()} for row in said
    ]


def _reads(source: Source, row: Slots) -> bool:
    return source.slot in row and row[source.slot][0] == source.encoder
