"""Vectors that producers bring, and content that encode sets aside."""

import pytest

from schemas import Interaction, Item, Media, MediaRef, encode
from tests.support.producers import LOW, RED, inline, put, reasons, say, upload
from tests.support.workshop import NOW, TOPICS, Workshop, settled, vector
from workers.ports import Outbound

pytestmark = pytest.mark.models


def test_brought_vectors_are_slots_as_they_are_and_no_encoder_runs_for_them(shop):
    put(
        shop,
        vectors={"image": [3.0, 4.0], "clip": [1.0] * 512},
        media=[inline("image", RED)],
    )
    shop.drain()
    item = shop.items()["i1"]
    assert set(item.slots) == {"text", "image", "clip"}
    assert vector(item.slots["image"].vector).tolist() == [3.0, 4.0]
    assert shop.seen("image") == 0
    assert not shop.dead_letters()


def test_a_vector_of_another_width_than_its_space_is_refused_and_the_other_slots_stay(shop):
    put(shop, "a", vectors={"clip": [1.0, 2.0]})
    put(shop, "b", vectors={"clip": [1.0, 2.0, 3.0], "cf": [1.0]})
    shop.drain(batch=1)
    assert set(shop.items()["b"].slots) == {"text", "cf"}
    assert reasons(shop) == ["wrong_width"]
    assert "vectors.clip" in (
        shop.dead_letters()[0].header("__connect.errors.exception.message") or ""
    )


def test_the_width_of_a_space_is_remembered_over_a_restart(shop):
    put(shop, "a", vectors={"clip": [1.0, 2.0]})
    shop.drain()
    put(shop, "b", vectors={"clip": [1.0, 2.0, 3.0]})
    shop.drain()
    assert reasons(shop) == ["wrong_width"]


def test_after_a_restart_a_space_has_the_width_that_most_items_have(encoders):
    shop = Workshop(encoders)
    for n, width in enumerate([2, 3, 3]):  # of three workers, as it were
        put(shop, f"i{n}", vectors={"clip": [1.0] * width})
        with shop.worker() as worker:
            worker.shelf.spaces.clear()
            worker.shelf.declared = frozenset({"clip"})
            shop.turn(worker, until=lambda: settled(worker))
    put(shop, "late", vectors={"clip": [1.0, 2.0, 3.0]})
    worker = shop.drain()
    assert worker.shelf.spaces == {"clip": 3}
    assert set(shop.items()["late"].slots) == {"text", "clip"}
    assert not shop.dead_letters()


def test_a_bad_vector_leaves_its_modality_to_what_the_item_shows(shop):
    put(shop, vectors={"image": [0.0, 0.0]}, media=[inline("image", RED)])
    shop.drain()
    assert set(shop.items()["i1"].slots) == {"text", "image"}
    assert shop.seen("image") == 1
    assert reasons(shop) == ["empty"]


def test_vectors_are_taken_as_far_as_the_log_takes_them_back(shop):
    put(shop, vectors={f"s{n}": [1.0] * 8192 for n in range(40)})
    shop.drain()
    (written,) = shop.log.records(TOPICS.item_vectors)
    assert len(written.value or b"") < 2 * 1024 * 1024
    assert len(shop.items()["i1"].slots) == 17
    assert reasons(shop) == ["too_large"]


def test_a_broken_file_is_a_dead_letter_and_the_item_keeps_its_other_modalities(shop):
    put(
        shop,
        media=[inline("image", RED[:40]), inline("audio", LOW), inline("smell", b"x")],
    )
    shop.drain()
    assert set(shop.items()["i1"].slots) == {"text", "audio"}
    (letter,) = shop.dead_letters()
    (cause,) = shop.log.records(TOPICS.items)
    assert (letter.key, letter.value) == (cause.key, cause.value)
    told = letter.header("__connect.errors.exception.message") or ""
    assert letter.header("__connect.errors.class.name") == "undecodable"
    assert "media[0]" in told
    assert "media[2].kind" in told
    assert letter.header("__connect.errors.offset") == "0"
    assert letter.header("__connect.errors.stage") == "encode"


@pytest.mark.parametrize(
    ("ref", "reason"),
    [
        (MediaRef(kind="image", uri="file:///etc/passwd"), "not_allowed"),
        (MediaRef(kind="image", uri="https://nowhere.example/x.png"), "not_allowed"),
        (MediaRef(kind="image", data=RED, sha256="0" * 64), "hash_mismatch"),
        (MediaRef(kind="audio", data=RED), "undecodable"),
        (MediaRef(kind="image"), "empty"),
        (MediaRef(kind="image", data=b"x" * (2 * 1024 * 1024 + 1)), "too_large"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_content_that_is_not_taken_says_why(shop, ref, reason):
    put(shop, media=[ref])
    upload(shop, ref.kind, ref.data, uri=ref.uri, sha256=ref.sha256)
    shop.drain()
    assert set(shop.items()["i1"].slots) == {"text"}
    assert reasons(shop) == [reason, reason]


@pytest.mark.parametrize(
    ("topic", "key", "value", "reason"),
    [
        ("items", b"i1", b"\xc1", "unreadable"),
        ("items", b"other", encode(Item(item_id="i1")), "wrong_key"),
        ("items", None, encode(Item(item_id="i1")), "wrong_key"),
        ("items", b"\xff", None, "bad_id"),
        ("items", b"a\x07", None, "bad_id"),
        ("media", b"i1", None, "null_value"),
        (
            "media",
            b"i1",
            encode(Media(media_id="m", kind="image", at_ms=1)),
            "missing_field",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_record_that_cannot_be_used_is_set_aside_and_the_next_is_encoded(
    shop, topic, key, value, reason
):
    shop.log.append([Outbound(getattr(TOPICS, topic), key, value)])
    put(shop, "good")
    shop.drain()
    assert reasons(shop) == [reason]
    assert list(shop.items()) == ["good"]


def test_events_that_cannot_be_read_are_left_to_the_recommend_worker(shop):
    shop.log.append([Outbound(TOPICS.events, b"ann", b"\xc1 text")])
    say(shop, text="hello", user="bob")
    shop.drain()
    assert not shop.dead_letters()
    assert list(shop.signals()) == ["e1#m0"]


def test_what_is_said_with_an_event_that_is_refused_is_not_heard(shop):
    rating = Interaction(
        event_id="r1", user_id="ann", item_id="i1", kind="rating", at_ms=NOW, text="lovely"
    )
    shop.send(TOPICS.events, "ann", rating)
    say(shop, text="hello", user="bob")
    shop.drain()
    assert list(shop.signals()) == ["e1#m0"]
