"""TF-IDF of a catalogue's words (Spärck Jones 1972, "A statistical interpretation of term
specificity"; smoothed as scikit-learn does).

A text's vector has, for each word w of the vocabulary, count(w) x idf(w), with
idf(w) = 1 + ln((1 + N) / (1 + df(w))), N texts in the catalogue and df(w) of them with w; then
it is made of length one. A text without a word of the vocabulary gets hashes of its words
instead (bag_of_words.py): alike only to what says the same.

Shapes:  E = texts,  W = words of the vocabulary = width (at most 8,192: a slot's vector
travels in one record)
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from encoders.content import TextContent
from encoders.word_file import WordFile
from encoders.words import stand_in, words

KIND = "tf-idf@1"  # another number when words() or what is below change


@dataclass(frozen=True, slots=True)
class TfIdf:
    """Holds `Encoder[TextContent]`. Cost: words. One parameter a word."""

    name: str
    place_of: Mapping[str, int]
    idf_W: Tensor
    max_tokens: int
    modality: str = "text"

    @property
    def width(self) -> int:
        return len(self.idf_W)

    def cost(self, content: TextContent) -> int:
        return max(1, len(words(content.text, limit=self.max_tokens)))

    def encode(self, batch: Sequence[TextContent]) -> Tensor:
        vector_EW = torch.zeros(len(batch), self.width)
        for row, content in enumerate(batch):
            said = words(content.text, limit=self.max_tokens)
            counts = Counter(self.place_of[word] for word in said if word in self.place_of)
            for place, count in counts.items():
                vector_EW[row, place] = count * self.idf_W[place]
            if not counts:
                vector_EW[row] = stand_in(said or [content.text], width=self.width)
        return normalize(vector_EW, dim=-1)


def fit(texts: Iterable[str], *, width: int, max_tokens: int) -> WordFile:
    """The `width` words that most texts have (of equals, the first in the alphabet), and their
    idf. Raises ValueError where no text has a word."""
    within, total = Counter[str](), 0
    for text in texts:
        within.update(set(words(text, limit=max_tokens)))
        total += 1
    if not within:
        raise ValueError(f"{total} texts have no word; nothing can be fitted on them")
    chosen = sorted(within, key=lambda word: (-within[word], word))[:width]
    idf_W = torch.tensor(
        [1 + math.log((1 + total) / (1 + within[word])) for word in chosen]
    )
    return WordFile(kind=KIND, vocabulary=tuple(chosen), tensors={"idf_W": idf_W})


def tf_idf(told: WordFile, *, name: str, max_tokens: int) -> TfIdf:
    """The encoder of what was fitted."""
    place_of = {word: place for place, word in enumerate(told.vocabulary)}
    return TfIdf(name, place_of, told.tensor("idf_W", len(place_of)), max_tokens)
