"""Words into vectors by their hashes: no training, no vocabulary, any language.

Signed feature hashing (Weinberger, Dasgupta, Langford, Smola and Attenberg 2009, "Feature
hashing for large scale multitask learning"): a word adds +1 or -1 at one of W places, both
told by its hash, so that on average two texts are as alike as their counts of words are. A
word that comes n times counts 1 + ln n.

Shapes:  E = texts,  W = 1024
"""

import hashlib
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import normalize

from encoders.content import TextContent
from encoders.words import words

WIDTH = 1024


@dataclass(frozen=True, slots=True)
class BagOfWords:
    """Holds `Encoder[TextContent]`. Cost: words. No parameters."""

    max_tokens: int
    width: int = WIDTH
    name: str = "text/bag-of-words@1"  # another number when words() or hashed() change
    modality: str = "text"

    def cost(self, content: TextContent) -> int:
        return max(1, len(words(content.text, limit=self.max_tokens)))

    def encode(self, batch: Sequence[TextContent]) -> Tensor:
        vector_EW = torch.zeros(len(batch), self.width)
        for row, content in enumerate(batch):
            said = words(content.text, limit=self.max_tokens)
            vector_EW[row] = hashed(said or [content.text], width=self.width)
        return vector_EW


def hashed(said: Sequence[str], *, width: int) -> Tensor:
    """The unit vector of some words (at least one), the same on every machine. Where words
    cancel each other out, the first stands for all."""
    vector_W = torch.zeros(width)
    for word, count in Counter(said).items():
        place, sign = _place(word, width)
        vector_W[place] += sign * (1 + math.log(count))
    if not vector_W.any():
        place, sign = _place(said[0], width)
        vector_W[place] = sign
    return normalize(vector_W, dim=0)


@lru_cache(maxsize=65_536)
def _place(word: str, width: int) -> tuple[int, int]:
    digest = hashlib.blake2b(word.encode(errors="replace"), digest_size=8).digest()
    number = int.from_bytes(digest, "little")
    return (number >> 1) % width, 1 if number & 1 else -1
