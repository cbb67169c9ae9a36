"""GloVe: the weighted mean of its file, and that file read without a library."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch

from encoders.parquet_words import unsnapped, words_of
from encoders.specs import SpecError, find_place
from tests.support.texts import GLOVE, encoded, loaded


@pytest.mark.models
def test_glove_is_the_weighted_mean_of_the_vectors_in_its_file(glove):
    folder = find_place(GLOVE) / "data"
    matrix = np.load(folder / "glove_6B_50d_emb.npy", mmap_mode="r")
    vocabulary = words_of((folder / "glove_6B_index.parquet").read_bytes())
    total = sum(1 / (rank + 3.7) for rank in range(len(vocabulary)))
    expected = np.zeros(50)
    for word in ("a", "rainy", "night", "of", "crooks"):
        rank = vocabulary.index(word)
        p = 1 / (rank + 3.7) / total
        expected += 1e-3 / (1e-3 + p) * matrix[rank]
    expected /= np.linalg.norm(expected)
    vector_W = encoded(glove, "A rainy night of crooks. Xyzzyqwert!")[0]
    np.testing.assert_allclose(vector_W.numpy(), expected, atol=1e-5)


@pytest.mark.models
def test_the_words_of_glove_are_those_that_a_parquet_library_reads():
    file = find_place(GLOVE) / "data" / "glove_6B_index.parquet"
    found = words_of(file.read_bytes())
    assert (len(found), found[:3], found[-1]) == (400_000, ["the", ",", "."], "sandberger")
    # of the list that pyarrow 21 reads, joined by newlines
    assert hashlib.sha256("\n".join(found).encode()).hexdigest() == (
        "029a7168ebc71f71e23e1f6ae94967234a13dcd64717754746c171be20d31a77"
    )


@pytest.mark.models
def test_glove_knows_what_is_near(glove):
    a, b, c, whose = encoded(glove, "king", "queen", "cabbage", "king's")
    assert float(a @ b) > float(a @ c) + 0.2
    assert float(a @ whose) > 0.8


def test_a_text_file_of_vectors_is_read_as_it_stands(tmp_path):
    file = tmp_path / "vectors.txt"
    file.write_text("3 2\nCat 1 0\ndog 0 1\nnew york 0.6 0.8\n", encoding="utf-8")
    encoder = loaded(f"path:{file}")
    assert (encoder.width, encoder.name[:18]) == (2, "text/vectors.txt@" + encoder.name[17])
    expected = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    torch.testing.assert_close(encoded(encoder, "cat", "DOG"), expected)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("cat 1 2\ndog 1\n", "line 2"),
        ("cat 1 2\ndog 1 x\n", "line 2"),
        ("\n", "line 1|no line"),
    ],
)
def test_a_broken_file_of_vectors_is_refused_by_its_line(tmp_path, text, said):
    file = tmp_path / "v.txt"
    file.write_text(text)
    with pytest.raises(SpecError, match=said):
        loaded(f"path:{file}")


@pytest.mark.parametrize(
    "data", [b"", b"PAR1", b"PAR1" * 9, b"PAR1" + b"\x19" * 40 + b"PAR1"]
)
def test_what_is_no_parquet_is_refused(data):
    with pytest.raises(ValueError, match="parquet"):
        words_of(data)


def test_snappy_is_undone_as_its_description_says():
    # length 11; literal "ab"; copy of 8 from 2 back (it overlaps); literal "c"
    assert (
        unsnapped(bytes([11, 1 << 2]) + b"ab" + bytes([4 << 2 | 1, 2, 0]) + b"c")
        == b"ababababab" + b"c"
    )
    assert unsnapped(bytes([70, 60 << 2, 69]) + b"x" * 70) == b"x" * 70
    with pytest.raises(ValueError, match="before the beginning"):
        unsnapped(bytes([4, 1, 9]))
    with pytest.raises(ValueError, match="it says 9"):
        unsnapped(bytes([9, 0]) + b"x")
