"""Word vectors learned from a catalogue: skip-gram with negative sampling (Mikolov, Sutskever,
Chen, Corrado and Dean 2013, "Distributed representations of words and phrases and their
compositionality").

A word is to tell its neighbours (within a window of 1 to `window` words, drawn anew each time)
from words drawn by frequency ** 0.75; frequent words are thinned out. In place of plain SGD
word by word: Adam over batches of pairs, with the paper's linear decay of the rate. A text is
the mean of its words' vectors weighted by idf: a catalogue is small, its frequent words are its
genres, and the weights of Arora et al. 2017, made for large corpora, would silence them. Their
common direction (the first principal one of the catalogue's texts) is taken out as they do.

Shapes:  V = words, at most `max_words`,  W = width (default 64),  N = words in the texts in
order,  P = pairs,  B = pairs a batch,  K = negatives a pair
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, normalize

from encoders.specs import SpecError
from encoders.word_file import WordFile
from encoders.word_vectors import WordVectors
from encoders.words import words

KIND = "word2vec@1"
_CHUNK = 100_000  # words whose pairs are made at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Word2VecSettings:
    """How word vectors are learned; the paper's numbers where a catalogue allows them."""

    width: int = 64
    window: int = 5
    negatives: int = 5
    epochs: int = 40
    min_count: int = 2
    thinning: float = 1e-2  # a word more frequent than this share is thinned out
    rate: float = 0.02
    batch: int = 4096
    max_words: int = 200_000
    max_tokens: int = 256  # words of a text that are read


def fit(
    texts: Iterable[str],
    *,
    settings: Word2VecSettings,
    generator: torch.Generator,
    on_progress: Callable[[float], None] = lambda _: None,
) -> WordFile:
    """Vectors of the words that come `min_count` times. `on_progress` is told the share done,
    0 to 1. The same texts, settings and seed give the same numbers on one machine. Raises
    ValueError where no two such words stand in one text."""
    said = [words(text, limit=settings.max_tokens) for text in texts]
    counts = Counter(word for line in said for word in line)
    kept = [w for w, n in counts.items() if n >= settings.min_count]
    vocabulary = sorted(kept, key=lambda word: (-counts[word], word))[: settings.max_words]
    place_of = {word: place for place, word in enumerate(vocabulary)}
    lines = [[place_of[word] for word in line if word in place_of] for line in said]
    if not any(len(line) > 1 for line in lines):
        raise ValueError(
            f"{len(said)} texts have no two words in one text that come {settings.min_count} "
            "times; word2vec needs a larger catalogue"
        )
    count_V = torch.tensor([float(counts[word]) for word in vocabulary])
    vector_VW = _learn(
        lines, count_V, settings=settings, generator=generator, on_progress=on_progress
    )
    within = Counter(word for line in said for word in set(line))
    within_V = torch.tensor([float(within[word]) for word in vocabulary])
    weight_V = 1 + ((1 + len(said)) / (1 + within_V)).log()
    tensors = {"vector_VW": vector_VW, "weight_V": weight_V}
    tensors["common_1W"] = _common(lines, vector_VW, weight_V)[None]
    return WordFile(kind=KIND, vocabulary=tuple(vocabulary), tensors=tensors)


def word2vec(told: WordFile, *, name: str, max_tokens: int) -> WordVectors:
    """The encoder of what was fitted."""
    size = len(told.vocabulary)
    vector_VW, weight_V = told.tensor("vector_VW", size), told.tensor("weight_V", size)
    common_W = told.tensor("common_1W", 1)[0]
    if vector_VW.ndim != 2 or weight_V.ndim != 1 or common_W.shape != vector_VW.shape[1:]:
        raise SpecError(
            f"weights of kind {told.kind!r}: their shapes do not fit each other; fit them again "
            "with `rec encoders fit word2vec`"
        )
    return WordVectors(
        name=name,
        place_of={word: place for place, word in enumerate(told.vocabulary)},
        vector_VW=vector_VW,
        weight_V=weight_V,
        max_tokens=max_tokens,
        common_W=common_W,
    )


def _learn(
    lines: Sequence[Sequence[int]],
    count_V: Tensor,
    *,
    settings: Word2VecSettings,
    generator: torch.Generator,
    on_progress: Callable[[float], None],
) -> Tensor:
    size, width = len(count_V), settings.width
    vector_VW = (
        (torch.rand(size, width, generator=generator) - 0.5) / width
    ).requires_grad_()
    context_VW = torch.zeros(size, width, requires_grad=True)
    optimizer = torch.optim.SparseAdam([vector_VW, context_VW], lr=settings.rate)
    drawn_V = (count_V**0.75).cumsum(0) / (count_V**0.75).sum()
    share_V = count_V / count_V.sum()
    keep_V = (settings.thinning / share_V).sqrt() + settings.thinning / share_V
    chunks = list(_chunks(lines))
    steps = settings.epochs * len(chunks)
    for step in range(steps):
        chunk = chunks[step % len(chunks)]
        optimizer.param_groups[0]["lr"] = settings.rate * (1 - step / steps)
        pair_2P = _pairs(chunk, keep_V, window=settings.window, generator=generator)
        for pair_2B in pair_2P.split(settings.batch, dim=1):
            shape = (pair_2B.shape[1], settings.negatives)
            other_BK = torch.searchsorted(drawn_V, torch.rand(shape, generator=generator))
            other_BK = other_BK.clamp(max=size - 1)
            optimizer.zero_grad()
            _loss(vector_VW, context_VW, pair_2B, other_BK).backward()
            optimizer.step()
        on_progress((step + 1) / steps)
    return vector_VW.detach()


def _loss(
    vector_VW: Tensor, context_VW: Tensor, pair_2B: Tensor, other_BK: Tensor
) -> Tensor:
    """The paper's equation 4, negated, mean over the batch."""
    look_up = torch.nn.functional.embedding
    word_BW = look_up(pair_2B[0], vector_VW, sparse=True)
    near_BW = look_up(pair_2B[1], context_VW, sparse=True)
    other_BKW = look_up(other_BK, context_VW, sparse=True)
    near_B = (word_BW * near_BW).sum(-1)
    other_BK_score = (other_BKW @ word_BW[:, :, None])[:, :, 0]
    return -(logsigmoid(near_B) + logsigmoid(-other_BK_score).sum(-1)).mean()


def _chunks(lines: Sequence[Sequence[int]]) -> Iterator[list[Sequence[int]]]:
    chunk: list[Sequence[int]] = []
    held = 0
    for line in lines:
        chunk.append(line)
        held += len(line)
        if held >= _CHUNK:
            yield chunk
            chunk, held = [], 0
    if chunk:
        yield chunk


def _pairs(
    lines: Sequence[Sequence[int]],
    keep_V: Tensor,
    *,
    window: int,
    generator: torch.Generator,
) -> Tensor:
    """2 x P: words and their neighbours, in an order of chance."""
    place_N = torch.tensor([place for line in lines for place in line], dtype=torch.long)
    line_N = torch.tensor([at for at, line in enumerate(lines) for _ in line])
    kept_N = torch.rand(len(place_N), generator=generator) < keep_V[place_N]
    place_N, line_N = place_N[kept_N], line_N[kept_N]
    reach_N = torch.randint(1, window + 1, place_N.shape, generator=generator)
    found = []
    for apart in range(1, min(window + 1, len(place_N))):
        left_N, right_N = place_N[:-apart], place_N[apart:]
        same_N = line_N[:-apart] == line_N[apart:]
        for word_N, near_N, reached_N in (
            (left_N, right_N, reach_N[:-apart]),
            (right_N, left_N, reach_N[apart:]),
        ):
            held_N = same_N & (reached_N >= apart)
            found.append(torch.stack([word_N[held_N], near_N[held_N]]))
    if not found:
        return torch.empty(2, 0, dtype=torch.long)
    pair_2P = torch.cat(found, dim=1)
    return pair_2P[:, torch.randperm(pair_2P.shape[1], generator=generator)]


def _common(lines: Sequence[Sequence[int]], vector_VW: Tensor, weight_V: Tensor) -> Tensor:
    """The first right singular vector of the texts' means: W, of length one."""
    square_WW = torch.zeros(vector_VW.shape[1], vector_VW.shape[1], dtype=torch.float64)
    for line in lines:
        if line:
            mean_W = (weight_V[line, None] * vector_VW[line]).mean(dim=0).double()
            square_WW += torch.outer(mean_W, mean_W)
    direction_W = torch.linalg.eigh(square_WW).eigenvectors[:, -1]
    return normalize(direction_W * direction_W.sum().sign(), dim=0).float()
