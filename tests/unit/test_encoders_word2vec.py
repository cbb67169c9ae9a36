"""Word vectors learned from a catalogue: seeded, and worth something on real films."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch

from encoders import word_file
from encoders.content import TextContent
from encoders.specs import SpecError, Weights
from encoders.word2vec import KIND, Word2VecSettings, fit, word2vec
from encoders.word_file import WordFile
from workers.demo import CACHE
from workers.movielens import Film, fetch, read

SMALL = Word2VecSettings(width=8, epochs=3, min_count=1)
TEXTS = ["red green blue", "green blue red", "one two three", "three one two", ""] * 4


def learned(texts=TEXTS, seed: int = 0, **change: object) -> WordFile:
    generator = torch.Generator().manual_seed(seed)
    return fit(texts, settings=replace(SMALL, **change), generator=generator)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path):
    files = [tmp_path / f"{n}.safetensors" for n in range(3)]
    for file, seed in zip(files, (0, 0, 1), strict=True):
        word_file.write(learned(seed=seed), file)
    first, again, other = (file.read_bytes() for file in files)
    assert first == again
    assert first != other


def test_words_that_stand_together_come_near_each_other():
    told = learned(epochs=200, width=16)
    encoder = word2vec(told, name="x", max_tokens=9)
    vector_EW = torch.nn.functional.normalize(
        encoder.vector_VW[[encoder.place_of[w] for w in ("red", "blue", "one", "two")]],
        dim=-1,
    )
    near = vector_EW @ vector_EW.T
    assert float(near[0, 1]) > float(near[0, 2:].max()) + 0.2
    assert float(near[2, 3]) > float(near[2, :2].max()) + 0.2


def test_progress_goes_from_nothing_to_all():
    told: list[float] = []
    fit(
        TEXTS, settings=SMALL, generator=torch.Generator().manual_seed(0),
        on_progress=told.append,
    )  # fmt: skip
    assert told == sorted(told)
    assert (len(told), told[-1]) == (3, 1.0)


def test_rare_words_are_left_out_and_a_catalogue_of_them_is_refused():
    assert "rare" not in learned(["a b rare", "a b"], min_count=2).vocabulary
    with pytest.raises(ValueError, match="larger catalogue"):
        learned(["one", "two"], min_count=1)


def test_a_text_is_its_words_mean_by_idf_without_the_common_direction():
    told = WordFile(
        KIND,
        ("a", "b"),
        {
            "vector_VW": torch.tensor([[1.0, 2.0, 0.0], [0.0, 1.0, 4.0]]),
            "weight_V": torch.tensor([3.0, 1.0]),
            "common_1W": torch.tensor([[0.0, 1.0, 0.0]]),
        },
    )
    encoder = word2vec(told, name="x", max_tokens=9)
    vector_W = encoder.encode([TextContent("a b b unknown")])[0]
    # (3 x a + b + b) / 3, its middle taken out
    expected = torch.tensor([3.0, 0.0, 8.0]) / 73**0.5
    torch.testing.assert_close(vector_W, expected)


@pytest.mark.parametrize(
    "tensors",
    [
        {},
        {"vector_VW": torch.ones(3, 2)},
        {"vector_VW": torch.full((2, 2), torch.nan)},
        {"common_1W": torch.ones(1, 5)},
    ],
    ids=["missing", "rows", "nan", "widths"],
)
def test_weights_that_do_not_fit_are_refused(tensors):
    whole = {"weight_V": torch.ones(2), "common_1W": torch.ones(1, 2)}
    if tensors:
        whole |= {"vector_VW": torch.ones(2, 2), **tensors}
    with pytest.raises(SpecError, match="rec encoders fit"):
        word2vec(WordFile(KIND, ("a", "b"), whole), name="x", max_tokens=9)


def test_what_was_learned_is_loaded_as_it_was(tmp_path):
    told, file = learned(), tmp_path / "m.safetensors"
    word_file.write(told, file)
    back = word_file.read(Weights(tmp_path, file, ""))
    assert back is not None
    a, b = (
        word2vec(t, name="x", max_tokens=9).encode([TextContent("red")])
        for t in (told, back)
    )
    torch.testing.assert_close(a, b)


# --- real films, a fifth of them held out ----------------------------------------------------


@pytest.fixture(scope="module")
def films() -> tuple[list[Film], list[Film]]:
    """Those that are learned from, and those that are not."""
    if not list(CACHE.glob("recbole-*.whl")):
        pytest.skip("MovieLens-100k is not here; `rec demo` fetches it")
    found = sorted(
        read(fetch(cache=CACHE)).films.values(), key=lambda film: int(film.number)
    )
    return [f for n, f in enumerate(found) if n % 5], found[::5]


def test_films_of_one_genre_are_nearer_than_others_even_where_it_is_not_said(films):
    known, held = films
    told = fit(
        [f"{film.title}\n{', '.join(film.genres)}" for film in known],
        settings=Word2VecSettings(),
        generator=torch.Generator().manual_seed(0),
    )
    encoder = word2vec(told, name="x", max_tokens=256)
    same, apart = _near(encoder, held, genres=9, same=lambda a, b: a == b)
    assert same > apart + 0.25
    # titles and the first genre alone; is a shared second genre felt?
    several = [film for film in held if len(film.genres) > 1]
    same, apart = _near(
        encoder, several, genres=1, same=lambda a, b: a[0] != b[0] and {*a[1:]} & {*b[1:]}
    )
    assert same > apart + 0.03


def _near(encoder, films, *, genres, same) -> tuple[float, float]:
    """The mean cosine of pairs that are the same in this sense, and of pairs without a genre
    in common; of each film so many genres are told."""
    vector_EW = encoder.encode(
        [TextContent(f"{film.title}\n{', '.join(film.genres[:genres])}") for film in films]
    )
    cosine, near, far = vector_EW @ vector_EW.T, [], []
    for a, b in itertools.combinations(range(len(films)), 2):
        if same(films[a].genres, films[b].genres):
            near.append(float(cosine[a, b]))
        elif not {*films[a].genres} & {*films[b].genres}:
            far.append(float(cosine[a, b]))
    return sum(near) / len(near), sum(far) / len(far)
