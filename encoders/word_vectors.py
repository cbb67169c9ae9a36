"""Texts as weighted means of their words' vectors: GloVe's from a file, or word2vec's.

The mean is that of Arora, Liang and Ma 2017, "A simple but tough-to-beat baseline for sentence
embeddings": weighted so that frequent words say less and, where the texts are known, without
their common direction. A word that is not known is left out; one with an apostrophe is looked
up in its parts, as these vectors have them. A text without a known word gets the stand-in of
words.py.

Shapes:  E = texts,  V = words known,  W = width of a word's vector
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from encoders.content import TextContent
from encoders.words import stand_in, words


@dataclass(frozen=True, slots=True)
class WordVectors:
    """Holds `Encoder[TextContent]`. Cost: words. V x W parameters."""

    name: str
    place_of: Mapping[str, int]
    vector_VW: Tensor
    weight_V: Tensor
    max_tokens: int
    common_W: Tensor | None = None  # of length one
    modality: str = "text"

    @property
    def width(self) -> int:
        return int(self.vector_VW.shape[1])

    def cost(self, content: TextContent) -> int:
        return max(1, len(words(content.text, limit=self.max_tokens)))

    def encode(self, batch: Sequence[TextContent]) -> Tensor:
        vector_EW = torch.zeros(len(batch), self.width)
        for row, content in enumerate(batch):
            said = words(content.text, limit=self.max_tokens)
            vector_EW[row] = self.mean(said)
            if not vector_EW[row].any():
                vector_EW[row] = stand_in(said or [content.text], width=self.width)
        return normalize(vector_EW, dim=-1)

    def mean(self, said: Sequence[str]) -> Tensor:
        """The weighted mean of the words that are known; zero where none is."""
        places = torch.tensor(
            [p for word in said for p in self._places(word)], dtype=torch.long
        )
        if not len(places):
            return torch.zeros(self.width)
        mean_W = (self.weight_V[places, None] * self.vector_VW[places]).mean(dim=0)
        if self.common_W is not None:
            mean_W = mean_W - (mean_W @ self.common_W) * self.common_W
        return mean_W

    def _places(self, word: str) -> Iterator[int]:
        if (place := self.place_of.get(word)) is not None:
            yield place
        elif "'" in word:
            first, *others = word.split("'")
            for part in (first, *(f"'{other}" for other in others)):
                if (place := self.place_of.get(part)) is not None:
                    yield place
