"""TF-IDF fitted on a catalogue: its formula, and the files that words are kept in."""

from __future__ import annotations

import json
import math
from collections import Counter

import pytest
import torch
from safetensors.torch import save_file

from encoders import tf_idf, word_file
from encoders.specs import SpecError, Weights
from encoders.word_file import ENTRY, WordFile
from encoders.words import words
from tests.support.texts import CATALOGUE, encoded, fitted, loaded


def plain_tf_idf(texts: list[str], text: str) -> dict[str, float]:
    """scikit-learn's TfidfVectorizer with its defaults (smooth_idf, norm l2), from its manual."""
    documents = [words(t, limit=256) for t in texts]
    weight = {}
    for word, count in Counter(words(text, limit=256)).items():
        df = sum(word in document for document in documents)
        if df:
            weight[word] = count * (math.log((1 + len(texts)) / (1 + df)) + 1)
    length = math.sqrt(sum(value**2 for value in weight.values()))
    return {word: value / length for word, value in weight.items()}


@pytest.mark.parametrize("text", [*CATALOGUE, "the the unheard-of dog"])
def test_tf_idf_has_the_numbers_of_its_formula(tmp_path, text):
    encoder = loaded(fitted(CATALOGUE, tmp_path))
    vector_W = encoded(encoder, text)[0]
    expected = plain_tf_idf(CATALOGUE, text)
    found = {
        word: float(vector_W[place])
        for word, place in encoder.place_of.items()
        if vector_W[place]
    }
    assert found == pytest.approx(expected, abs=1e-6)


def test_the_vocabulary_is_what_most_texts_have():
    told = tf_idf.fit(CATALOGUE, width=3, max_tokens=256)
    assert told.vocabulary == ("cat", "hat", "the")  # each in two; dog in one


def test_the_same_fit_is_the_same_bytes(tmp_path):
    names = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
        names.append(loaded(fitted(CATALOGUE, folder)).name.partition("@")[2])
    assert names[0] == names[1]
    assert not list(tmp_path.glob("*/*.part"))


def test_texts_without_a_known_word_are_alike_only_to_themselves(tmp_path):
    encoder = loaded(fitted(CATALOGUE * 30 + [f"word{n}" for n in range(60)], tmp_path))
    a, b, c, d = encoded(encoder, "unheard", "unheard", "unsaid", "cat")
    assert float(a @ b) == pytest.approx(1)
    assert abs(float(a @ c)) < 0.5
    assert abs(float(a @ d)) < 0.5


def test_nothing_is_fitted_on_nothing():
    with pytest.raises(ValueError, match="2 texts have no word"):
        tf_idf.fit(["", "?"], width=3, max_tokens=9)


def test_a_file_says_what_it_is_whatever_its_folder_is_called(tmp_path):
    folder = tmp_path / "word2vec-bert-glove"
    folder.mkdir()
    spec = fitted(CATALOGUE, folder)
    assert isinstance(loaded(spec), tf_idf.TfIdf)
    assert isinstance(loaded(f"{spec}/model.safetensors"), tf_idf.TfIdf)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (
            json.dumps({"kind": "tf-idf@99", "vocabulary": ["a"]}),
            "'tf-idf@99' is not known",
        ),
        (json.dumps({"kind": "tf-idf@1", "vocabulary": ["a", "b"]}), "idf_W .* not 2 rows"),
        ("{", "no kind and vocabulary"),
    ],
)
def test_a_file_that_is_broken_or_of_another_day_is_refused(tmp_path, entry, said):
    save_file({"idf_W": torch.ones(1)}, tmp_path / "m.safetensors", metadata={ENTRY: entry})
    with pytest.raises(SpecError, match=f"{said}.*rec encoders fit|{said}"):
        loaded(f"path:{tmp_path}")


def test_what_was_written_is_read_back(tmp_path):
    file = tmp_path / "m.safetensors"
    told = WordFile("x@1", ("a", "森"), {"t": torch.arange(2.0)})
    word_file.write(told, file)
    back = word_file.read(Weights(tmp_path, file, ""))
    assert back is not None
    assert (back.kind, back.vocabulary) == ("x@1", ("a", "森"))
    torch.testing.assert_close(back.tensor("t", 2), torch.arange(2.0))
