"""Texts into vectors by any text model of a hub: sentence encoders, LLMs, text towers.

| model | how the tokens become one vector | paper |
| --- | --- | --- |
| encoders (BERT, XLM-R, MPNet, T5, ...) | mean over the tokens there are | Reimers and Gurevych 2019, "Sentence-BERT" |
| decoders (`...ForCausalLM`) | the last token: it alone has seen all | Wang et al. 2023, "Improving text embeddings with large language models" |
| CLIP, SigLIP, CLAP | as the tower does | Radford et al. 2021; Zhai et al. 2023; Wu et al. 2022 |

A folder made by sentence-transformers says by `1_Pooling/config.json` what it was trained with;
that counts first. Width: the model's.

Shapes:  E = texts,  T = tokens,  W = width
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from encoders.content import TextContent
from encoders.encoder import encode_by_cost
from encoders.hub import (
    TOWERS,
    Opened,
    Precision,
    config_of,
    model_type,
    open_model,
    open_part,
)
from encoders.specs import Weights

Pooling = Literal["mean", "last", "first", "tower"]
_TOKENS_A_BATCH = {"cpu": 2_048, "cuda": 32_768}
_OFFSET_POSITIONS = ("roberta", "xlm-roberta", "camembert", "mpnet", "clap_text_model")
"""Position embeddings of these begin after the padding's number: two fewer tokens fit."""


@dataclass(frozen=True, slots=True)
class HubTextEncoder:
    """Holds `Encoder[TextContent]`; build it by `load_hub_text`. Costs tokens."""

    name: str
    width: int
    model: Opened
    tokenizer: Any
    max_tokens: int
    pad: int
    pooling: Pooling
    fixed: bool
    device: torch.device
    modality: str = "text"

    def cost(self, content: TextContent) -> int:
        return self.max_tokens if self.fixed else len(self._tokens(content.text))

    def encode(self, batch: Sequence[TextContent]) -> Tensor:
        tokens = [self._tokens(content.text) for content in batch]

        def run(rows: list[int]) -> Tensor:
            return self.features([tokens[row] for row in rows])

        costs = [self.max_tokens if self.fixed else len(ids) for ids in tokens]
        budget = _TOKENS_A_BATCH[self.device.type]
        return encode_by_cost(costs, budget=budget, width=self.width, run=run)

    def _tokens(self, text: str) -> list[int]:
        told = self.tokenizer(text, truncation=True, max_length=self.max_tokens)
        return list(told["input_ids"]) or [self.pad]

    def features(self, tokens: Sequence[Sequence[int]]) -> Tensor:
        """E x W as the model gives them, of tokens that fit."""
        longest = self.max_tokens if self.fixed else max(map(len, tokens))
        id_ET = torch.full((len(tokens), longest), self.pad)
        mask_ET = torch.zeros(len(tokens), longest, dtype=torch.long)
        for e, ids in enumerate(tokens):
            id_ET[e, : len(ids)] = torch.tensor(ids)
            mask_ET[e, : len(ids)] = 1
        id_ET, mask_ET = id_ET.to(self.device), mask_ET.to(self.device)
        asked = {} if self.fixed else {"attention_mask": mask_ET}
        return pooled(self.model(input_ids=id_ET, **asked), mask_ET, self.pooling)


def pooled(hidden: Tensor, mask_ET: Tensor, pooling: Pooling) -> Tensor:
    """E x W of E x T x W; what a tower gives is that already."""
    if pooling == "tower":
        return hidden
    if pooling == "first":
        return hidden[:, 0]
    if pooling == "last":
        last_E = mask_ET.sum(dim=1) - 1
        return hidden[torch.arange(len(hidden), device=hidden.device), last_E]
    weight_ET1 = mask_ET[:, :, None].to(hidden)
    return (hidden * weight_ET1).sum(dim=1) / weight_ET1.sum(dim=1)


def load_hub_text(
    weights: Weights,
    *,
    name: str,
    max_tokens: int,
    device: torch.device,
    precision: Precision = "float32",
) -> HubTextEncoder:
    """The text encoder of a folder of transformers. Raises SpecError."""
    kind = model_type(weights.folder)
    opened = open_model(weights, "text", device=device, precision=precision)
    tokenizer = open_part(weights, "AutoTokenizer")
    config = getattr(opened.model.config, "text_config", opened.model.config)
    fits = min(_positions(config), tokenizer.model_max_length)
    fixed = kind == "siglip"  # it was trained on texts filled up, and has no mask
    pad = tokenizer.pad_token_id
    encoder = HubTextEncoder(
        name=name,
        width=0,
        model=opened,
        tokenizer=tokenizer,
        max_tokens=_positions(config) if fixed else min(max_tokens, int(fits)),
        pad=0 if pad is None else int(pad),
        pooling="tower" if (kind, "text") in TOWERS else pooling_of(weights.folder),
        fixed=fixed,
        device=device,
    )
    return replace(encoder, width=encoder.features([[encoder.pad]]).shape[1])


def pooling_of(folder: Path) -> Pooling:
    """By what sentence-transformers wrote, else by the architecture."""
    file = folder / "1_Pooling" / "config.json"
    if file.is_file():
        told = json.loads(file.read_text(encoding="utf-8"))
        if told.get("pooling_mode_cls_token"):
            return "first"
        return "last" if told.get("pooling_mode_lasttoken") else "mean"
    architectures = config_of(folder).get("architectures") or [""]
    decodes = any(str(a).endswith(("ForCausalLM", "LMHeadModel")) for a in architectures)
    return "last" if decodes else "mean"


def _positions(config: Any) -> int:
    positions = int(getattr(config, "max_position_embeddings", 0) or 1_000_000)
    return positions - 2 if config.model_type in _OFFSET_POSITIONS else positions
