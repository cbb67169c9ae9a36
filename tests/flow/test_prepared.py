"""Preparation on the whole path of encode: what is refused, what counts once, what is labelled."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from encoders.config import EncoderConfig
from encoders.content import TextContent
from encoders.label_fit import FitSettings, Rows, fit_labels
from encoders.labels import open_labeller
from encoders.load import load_encoders
from encoders.preparation import PrepareConfig
from encoders.specs import SpecError
from schemas import Interaction, Item, MediaRef, Query
from tests.support.workshop import NOW, TOPICS, Workshop, picture, sound, vector

pytestmark = pytest.mark.models
FILMS = {
    "comedy": ["A very funny film", "Laughing all night", "The clown and his jokes",
               "A hilarious wedding", "Funny people", "The silly joke"],
    "horror": ["The haunted house", "Night of the bloody murders", "Ghosts in the cellar",
               "The vampire rises", "Zombies at dawn", "The evil dead house"],
}  # fmt: skip


@pytest.fixture(scope="module")
def encoders():
    return load_encoders(EncoderConfig(device="cpu", video="none", sensor="none"))


def inline(kind: str, data: bytes) -> MediaRef:
    return MediaRef(kind=kind, data=data)


def put(shop: Workshop, item_id: str = "i1", **fields) -> None:
    shop.send(TOPICS.items, item_id, Item(item_id=item_id, **fields))


def blank() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (40, 40), (0, 0, 0)).save(stream, "PNG")
    return stream.getvalue()


def refusals(shop: Workshop) -> list[str]:
    return [
        str(letter.header("__connect.errors.exception.message"))
        for letter in shop.dead_letters()
    ]


def test_a_black_picture_and_a_silent_sound_are_set_aside_and_the_item_has_the_rest(
    encoders,
):
    shop = Workshop(encoders)
    silent = sound(0.0)  # the sine of nothing
    put(shop, title="A film", media=[inline("image", blank()), inline("audio", silent)])
    shop.drain()
    assert set(shop.items()["i1"].slots) == {"text"}
    (told,) = refusals(shop)
    assert "media[0]" in told
    assert "STREAMREC_PREPARE__IMAGE_BLANK=false" in told
    assert "media[1]" in told


def test_switched_off_a_black_picture_is_encoded(encoders):
    shop = Workshop(encoders, prepare=PrepareConfig(image_blank=False))
    put(shop, title="A film", media=[inline("image", blank())])
    shop.drain()
    assert set(shop.items()["i1"].slots) == {"text", "image"}


def test_the_vector_of_a_text_is_that_of_its_words(encoders):
    shop = Workshop(encoders)
    put(
        shop,
        title="<b>Caf&eacute;</b> Noir",
        description="Cafe noir. Caf\u00c3\u00a9 Noir.",
    )
    shop.drain()
    expected = encoders["text"].encode([TextContent("Café Noir\nCafe noir.")])[0]
    found = vector(shop.items()["i1"].slots["text"].vector)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_the_same_picture_twice_counts_once(encoders):
    shop = Workshop(encoders)
    red = (200, 10, 10)
    put(shop, "one", media=[inline("image", picture(red))])
    put(
        shop,
        "twice",
        media=[inline("image", picture(red)), inline("image", picture(red, "BMP"))],
    )
    shop.drain()
    one, twice = (shop.items()[name].slots["image"] for name in ("one", "twice"))
    assert np.allclose(vector(one.vector), vector(twice.vector), atol=1e-5)
    assert one.content == twice.content


def test_a_comment_of_which_nothing_is_left_is_set_aside_and_a_question_still_answered(
    encoders,
):
    shop = Workshop(encoders)
    said = Interaction(
        event_id="e1", user_id="ann", item_id="i1", kind="like", at_ms=NOW, text="<br>"
    )
    shop.send(TOPICS.events, "ann", said)
    asked = Query(event_id="q1", user_id="ann", at_ms=NOW, text="<p>\u200b</p>")
    shop.send(TOPICS.events, "ann", asked)
    shop.drain()
    assert [letter.header("__connect.errors.class.name") for letter in shop.dead_letters()] == [
        "empty", "empty",
    ]  # fmt: skip
    (answer,) = shop.signals().values()
    assert (answer.of, answer.vector) == ("q1", None)


def test_content_that_is_unchanged_is_encoded_again_once_it_is_cleaned_otherwise(encoders):
    shop = Workshop(encoders)
    put(shop, title="A <b>film</b>")
    shop.drain()
    put(shop, title="A <b>film</b>")
    shop.drain()
    assert shop.seen("text") == 1
    before = shop.items()["i1"].slots["text"]
    shop.prepare = PrepareConfig(text_markup=False)
    shop.drain()
    assert shop.items()["i1"].slots["text"] == before, "nothing is made anew by itself"
    put(shop, title="A <b>film</b>")
    shop.drain()
    assert shop.seen("text") == 2
    after = shop.items()["i1"].slots["text"]
    assert after.content == before.content
    assert after.prepared != before.prepared
    assert after.vector != before.vector


# --- labels --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def heads(encoders, tmp_path_factory):
    """A folder with a head of the text slot, fitted on a dozen titles."""
    folder = tmp_path_factory.mktemp("labels")
    texts = [text for titles in FILMS.values() for text in titles]
    rows = Rows(
        encoders["text"].encode([TextContent(text) for text in texts]),
        [[name] for name, titles in FILMS.items() for _ in titles],
        torch.arange(len(texts)),
    )
    fit_labels(
        {"text": rows}, encoders={"text": encoders["text"].name}, out=folder,
        generator=torch.Generator().manual_seed(0), settings=FitSettings(least=3),
    )  # fmt: skip
    return folder


def test_an_item_without_categories_is_labelled_by_a_head(encoders, heads):
    shop = Workshop(encoders, config=EncoderConfig(labels=f"path:{heads}"))
    put(shop, "i1", title="A ghost in the haunted cellar")
    put(shop, "i2", title="The funny clown tells jokes")
    shop.drain()
    items = shop.items()
    assert next(iter(items["i1"].labels)) == "horror"
    assert next(iter(items["i2"].labels)) == "comedy"
    assert all(0.5 <= c <= 1 for item in items.values() for c in item.labels.values())


def test_labels_that_are_switched_on_later_reach_items_without_encoding_them(
    encoders, heads
):
    shop = Workshop(encoders)
    put(shop, title="A ghost in the haunted cellar")
    shop.drain()
    assert not shop.items()["i1"].labels
    shop.config = EncoderConfig(labels=f"path:{heads}")
    shop.drain()
    assert "horror" in shop.items()["i1"].labels
    assert shop.seen("text") == 1
    written = len(shop.log.records(TOPICS.item_vectors))
    shop.drain()
    assert len(shop.log.records(TOPICS.item_vectors)) == written, "and only once"


def test_a_withdrawn_item_has_no_labels(encoders, heads):
    shop = Workshop(encoders, config=EncoderConfig(labels=f"path:{heads}"))
    put(shop, title="A ghost in the haunted cellar")
    shop.send(TOPICS.items, "i1", None)
    shop.drain()
    assert shop.items()["i1"].withdrawn
    assert shop.items()["i1"].labels == {}


def test_zero_shot_labels_need_no_training(encoders):
    config = EncoderConfig(zero_shot=["cooking", "football"], zero_shot_template="{}")
    shop = Workshop(encoders, config=config)
    put(shop, title="How to bake bread and make soup")
    shop.drain()
    assert list(shop.items()["i1"].labels) == ["cooking"]


def test_a_head_of_another_encoder_stops_the_start(encoders, heads):
    other = {"text": encoders["image"]}
    with pytest.raises(SpecError, match="fit them anew"):
        open_labeller(EncoderConfig(labels=f"path:{heads}"), other)
