"""Sensor readings through the whole path of encode: items, uploads, and what is refused."""

import json

import numpy as np
import pytest

from encoders.config import EncoderConfig
from encoders.load import load_encoders
from schemas import Item, Media, MediaRef
from tests.support.clips import npy, readings
from tests.support.workshop import NOW, TOPICS, Workshop, vector

NONE = EncoderConfig(device="cpu", text="none", image="none", audio="none", video="none")


@pytest.fixture(scope="module")
def encoders():
    return load_encoders(NONE)


@pytest.fixture
def shop(encoders):
    return Workshop(encoders)


def sensor(data: bytes) -> MediaRef:
    return MediaRef(kind="sensor", data=data)


def put(shop: Workshop, data: bytes, item_id: str = "i1") -> None:
    item = Item(item_id=item_id, title="A thermostat", media=[sensor(data)])
    shop.send(TOPICS.items, item_id, item)


def as_json(pitch: float) -> bytes:
    wave = [[float(np.sin(t * pitch + c)) for t in range(300)] for c in range(2)]
    told = {"channels": dict(zip(("sensor_0", "sensor_1"), wave, strict=True))}
    return json.dumps(told | {"rate_hz": 50}).encode()


def test_an_items_readings_are_a_slot_of_its_own(shop):
    put(shop, readings())
    shop.drain()
    item = shop.items()["i1"]
    assert {n: s.encoder for n, s in item.slots.items()} == {"sensor": "sensor/windows@1"}
    assert len(item.slots["sensor"].vector) == 4 * 256
    assert float(vector(item.fused).norm()) == pytest.approx(1.0, abs=1e-5)
    assert not shop.dead_letters()


def test_the_same_readings_in_another_encoding_have_the_same_vector(shop):
    put(shop, readings(), "csv")
    put(shop, as_json(0.2), "json")
    put(shop, as_json(0.9), "other")
    shop.drain()
    slots = {name: vector(i.slots["sensor"].vector) for name, i in shop.items().items()}
    assert float(slots["csv"] @ slots["json"]) > 0.999
    assert float(slots["csv"] @ slots["other"]) < 0.95


def test_what_a_user_uploads_is_a_signal(shop):
    media = Media(
        media_id="m1",
        kind="sensor",
        at_ms=NOW,
        user_id="ann",
        item_id="i1",
        data=readings(),
    )
    shop.send(TOPICS.media, "ann", media)
    shop.drain()
    (signal,) = shop.signals().values()
    assert (signal.event_id, signal.modality) == ("m1#u", "sensor")


@pytest.mark.parametrize(
    ("data", "reason", "says"),
    [
        (b"time,a\n0,1\n1,warm\n", "undecodable", "line 3, column 'a' is 'warm'"),
        (readings(10_000, 2), "too_large", "10000 channels, 256 are allowed"),
        (b'[["a"]]', "undecodable", "'a' is no number"),
        (b"[[1, 2], [3]]", "undecodable", "differ in length"),
        (b"{", "undecodable", "send CSV with a header line, JSON or an .npy array"),
        (npy(np.array([{"a": 1}], dtype=object)), "undecodable", "an array of object"),
        (npy(np.ones((2, 5)))[:-8], "undecodable", "send CSV"),
        (b"1,2\n3,4\n", "undecodable", "must name the channels"),
        (b"a,b\n,\n", "empty", "send at least one"),
    ],
    ids=lambda value: str(value)[:24],
)
def test_readings_that_cannot_be_taken_are_a_dead_letter_with_the_remedy(
    shop, data, reason, says
):
    put(shop, data)
    shop.drain()
    (letter,) = shop.dead_letters()
    assert letter.header("__connect.errors.class.name") == reason
    message = letter.header("__connect.errors.exception.message") or ""
    assert "media[0]" in message
    assert says in message
    assert shop.items()["i1"].slots == {}
