"""Sentences into vectors: any BERT sentence encoder (MiniLM by default), in plain torch.

The same numbers as the library `sentence-transformers`, without its 16 s of import.

Shapes:  E = texts,  T = tokens of the longest,  W = hidden width
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from encoders.content import TextContent
from encoders.encoder import encode_by_cost
from encoders.specs import SpecError, Weights

_TOKENS_A_BATCH = 16_384


@dataclass(frozen=True, slots=True)
class TextEncoder:
    """Holds `Encoder[TextContent]`; build it by `load_text_encoder`."""

    name: str
    width: int
    tokenizer: Tokenizer
    model: "SentenceBert"
    device: torch.device
    modality: str = "text"

    def cost(self, content: TextContent) -> int:
        return len(self.tokenizer.encode(content.text).ids)

    def encode(self, batch: Sequence[TextContent]) -> Tensor:
        ids = [row.ids for row in self.tokenizer.encode_batch([c.text for c in batch])]

        def run(rows: list[int]) -> Tensor:
            tokens = [torch.tensor(ids[row]) for row in rows]
            token_ET = nn.utils.rnn.pad_sequence(tokens, batch_first=True)
            length_E = torch.tensor([len(row) for row in tokens])
            present_ET = torch.arange(token_ET.shape[1]) < length_E[:, None]
            with torch.inference_mode():
                vector_EW: Tensor = self.model(
                    token_ET.to(self.device), present_ET.to(self.device)
                )
            return vector_EW

        return encode_by_cost(
            [len(row) for row in ids], budget=_TOKENS_A_BATCH, width=self.width, run=run
        )


class SentenceBert(nn.Module):
    """BERT's encoder and a pooling. Post-norm, learned positions, one token type."""

    def __init__(self, config: Mapping[str, Any], *, pooling: str) -> None:
        super().__init__()
        width, eps = config["hidden_size"], config["layer_norm_eps"]
        self.pooling = pooling
        self.words = nn.Embedding(config["vocab_size"], width)
        self.positions = nn.Embedding(config["max_position_embeddings"], width)
        self.types = nn.Embedding(config["type_vocab_size"], width)
        self.norm = nn.LayerNorm(width, eps=eps)
        layer = nn.TransformerEncoderLayer(
            width,
            config["num_attention_heads"],
            config["intermediate_size"],
            dropout=0.0,
            activation="gelu",
            layer_norm_eps=eps,
            batch_first=True,
        )
        self.layers = nn.TransformerEncoder(
            layer, config["num_hidden_layers"], enable_nested_tensor=False
        )

    def forward(self, token_ET: Tensor, present_ET: Tensor) -> Tensor:
        position_T = torch.arange(token_ET.shape[1], device=token_ET.device)
        hidden_ETW = self.norm(
            self.words(token_ET) + self.positions(position_T) + self.types.weight[0]
        )
        hidden_ETW = self.layers(hidden_ETW, src_key_padding_mask=~present_ET)
        if self.pooling == "cls":
            first_EW: Tensor = hidden_ETW[:, 0]
            return first_EW
        mask_ET1 = present_ET[:, :, None].float()
        # in float32 whatever the model's precision: 256 terms of bfloat16 lose digits
        mean_EW: Tensor = (hidden_ETW * mask_ET1).sum(dim=1) / mask_ET1.sum(dim=1)
        return mean_EW


def load_text_encoder(
    weights: Weights,
    *,
    name: str,
    max_tokens: int,
    device: torch.device,
    precision: torch.dtype = torch.float32,
) -> TextEncoder:
    """The encoder of a folder in the layout of sentence-transformers. In bfloat16 the cosine to
    float32's vectors stays over 0.99."""
    config = _read_json(weights.folder / "config.json")
    if config.get("model_type") != "bert" or config.get("hidden_act") != "gelu":
        raise SpecError(
            f"text weights in {weights.folder}: model_type {config.get('model_type')!r} with "
            f"{config.get('hidden_act')!r} is not known; use a BERT sentence encoder"
        )
    model = SentenceBert(config, pooling=_pooling(weights.folder))
    model.load_state_dict(from_bert(weights.tensors(), layers=config["num_hidden_layers"]))
    tokenizer = Tokenizer.from_file(str(weights.folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(min(max_tokens, config["max_position_embeddings"]))
    return TextEncoder(
        name=name,
        width=config["hidden_size"],
        tokenizer=tokenizer,
        model=model.eval().requires_grad_(False).to(device, precision),
        device=device,
    )


def from_bert(bert: Mapping[str, Tensor], *, layers: int) -> dict[str, Tensor]:
    """A BERT checkpoint under the names of `SentenceBert`; its unused pooler is left out."""
    bert = {name.removeprefix("bert."): tensor for name, tensor in bert.items()}
    ours = {
        "words.weight": bert["embeddings.word_embeddings.weight"],
        "positions.weight": bert["embeddings.position_embeddings.weight"],
        "types.weight": bert["embeddings.token_type_embeddings.weight"],
        "norm.weight": bert["embeddings.LayerNorm.weight"],
        "norm.bias": bert["embeddings.LayerNorm.bias"],
    }
    modules = {
        "self_attn.out_proj": "attention.output.dense",
        "norm1": "attention.output.LayerNorm",
        "linear1": "intermediate.dense",
        "linear2": "output.dense",
        "norm2": "output.LayerNorm",
    }
    for layer in range(layers):
        new, old = f"layers.layers.{layer}", f"encoder.layer.{layer}"
        for kind in ("weight", "bias"):
            ours[f"{new}.self_attn.in_proj_{kind}"] = torch.cat(
                [
                    bert[f"{old}.attention.self.{part}.{kind}"]
                    for part in ("query", "key", "value")
                ]
            )
            for ours_name, bert_name in modules.items():
                ours[f"{new}.{ours_name}.{kind}"] = bert[f"{old}.{bert_name}.{kind}"]
    return ours


def _pooling(folder: Path) -> str:
    file = folder / "1_Pooling" / "config.json"
    told = _read_json(file) if file.exists() else {"pooling_mode_mean_tokens": True}
    for pooling, key in (
        ("mean", "pooling_mode_mean_tokens"),
        ("cls", "pooling_mode_cls_token"),
    ):
        if told.get(key):
            return pooling
    raise SpecError(f"text weights in {folder}: neither mean nor cls pooling")


def _read_json(file: Path) -> dict[str, Any]:
    if not file.exists():
        raise SpecError(f"text weights in {file.parent}: no {file.name}")
    told: dict[str, Any] = json.loads(file.read_text())
    return told
