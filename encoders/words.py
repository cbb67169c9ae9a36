"""A text into words, in any language, without a model.

Letters and digits with their marks are words; of scripts that put no spaces between words
(Han, Kana, Thai, Lao, Khmer, Burmese) each short run of characters is one.
"""

import hashlib
import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

_HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_OTHERS = "\u3040-\u30ff\u31f0-\u31ff\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
_LONGEST = 64  # characters of a word: what is longer is no word, but has a beginning
_RUNS = re.compile(f"[{_HAN}]+|[{_OTHERS}]+|[^{_HAN}{_OTHERS}]+")
_IS_HAN = re.compile(f"[{_HAN}]")
_IS_OTHER = re.compile(f"[{_OTHERS}]")


def words(text: str, *, limit: int) -> list[str]:
    """The first `limit` words of a text, in one case and one form (NFKC)."""
    found: list[str] = []
    # A word has a letter: what comes after so many of the longest is not read.
    read = unicodedata.normalize("NFKC", text[: limit * _LONGEST]).casefold()
    read = read.replace("’", "'")
    for match in _words().finditer(read):
        for run in _RUNS.findall(match[0]):
            found += _pieces(run)
        if len(found) >= limit:
            return found[:limit]
    return found


def _pieces(run: str) -> list[str]:
    """One and two characters of Han, two and three of the others; a word as it stands."""
    if _IS_HAN.match(run):
        return _grams(run, 1) + _grams(run, 2)
    if _IS_OTHER.match(run):
        return [run] if len(run) < 2 else _grams(run, 2) + _grams(run, 3)
    return [run[:_LONGEST]]


def _grams(run: str, size: int) -> list[str]:
    return [run[at : at + size] for at in range(len(run) - size + 1)]


def stand_in(said: Sequence[str], *, width: int) -> Tensor:
    """A unit vector for words (at least one) of which a model knows none: each points its own
    way, told by its hash, about at right angles to all else. So a text keeps to the law that
    every row has a direction, and is alike only to what says the same."""
    sum_W = torch.zeros(width)
    for word in said:
        digest = hashlib.shake_128(word.encode(errors="replace")).digest(-(-width // 8))
        bits = np.unpackbits(np.frombuffer(digest, np.uint8))[:width]
        sum_W += torch.from_numpy(bits.astype(np.float32)) * 2 - 1
    return normalize(sum_W, dim=0) if sum_W.any() else stand_in(said[:1], width=width)


@lru_cache(maxsize=1)
def _words() -> re.Pattern[str]:
    """Letters and digits, each with the marks on it (\\w leaves out vowel signs of Hindi);
    an apostrophe within a word is of it."""
    marks = "".join(
        chr(code)
        for code in range(0x300, 0x10000)
        if unicodedata.category(chr(code))[0] == "M"
    )
    letter = f"[^\\W_][{marks}]*"
    return re.compile(f"(?:{letter})+(?:'(?:{letter})+)*")
