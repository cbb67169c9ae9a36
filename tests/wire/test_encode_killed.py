"""The encode worker killed in mid-batch: clicks go on unhindered, and nothing is missing after."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from encoders.fusion import fusion_version
from schemas import Interaction, Item, ItemVectors, MediaRef, Query, decode, encode
from tests.support.kafka import consume_all
from tests.support.spine import Spine, reading, spine
from workers.laptop_kafka import Broker

pytestmark = [
    pytest.mark.wire, pytest.mark.fault, pytest.mark.models, pytest.mark.timeout(300),
]  # fmt: skip
PICTURES, AT_MS = 96, 1_764_000_000_000


@pytest.fixture
def house(broker: Broker, topic_prefix: str, tmp_path: Path) -> Iterator[Spine]:
    with spine(
        broker.bootstrap, topic_prefix, tmp_path, STREAMREC_ENCODE__BATCH="8"
    ) as made:
        made.catalogue([f"known{n}" for n in range(20)])
        yield made


def picture(number: int) -> bytes:
    """A picture that is no other's, and takes its time."""
    dots = np.random.default_rng(number).integers(0, 255, (12, 12, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(dots).resize((800, 800)).save(stream, "JPEG")
    return stream.getvalue()


def put_pictures(house: Spine) -> dict[str, str]:
    """Many items with a picture each; the sha256 of it by item."""
    hashes = {}
    for number in range(PICTURES):
        name, data = f"new{number}", picture(number)
        shown = [MediaRef(kind="image", data=data)]
        item = Item(item_id=name, title=f"Picture number {number}", media=shown)
        house.put("items", name, encode(item))
        hashes[name] = hashlib.sha256(data).hexdigest()
    house.flush()
    return hashes


def names(messages: list[Any]) -> set[str]:
    return {name for m in messages if (name := m.key().decode()).startswith("new")}


def encoded(house: Spine, *, at_least: int = 0) -> dict[str, ItemVectors]:
    """The newest vectors of each new item, once there are so many of them."""
    messages = consume_all(
        house.bootstrap, house.topic("item-vectors"),
        until=(lambda read: len(names(read)) >= at_least) if at_least else None,
        limit_s=120,
    )  # fmt: skip
    found = {m.key().decode(): decode("item-vectors", m.value()) for m in messages}
    return {name: vectors for name, vectors in found.items() if name.startswith("new")}


def clicks(house: Spine, of: str, count: int = 60) -> list[str]:
    """Sent at once; their ids."""
    events = [
        Interaction(
            event_id=f"{of}-{n}", user_id=f"u{n % 12}", item_id=f"known{n % 20}",
            kind="click", at_ms=AT_MS + n,
        )
        for n in range(count)
    ]  # fmt: skip
    house.send(*events)
    house.flush()
    return [event.event_id for event in events]


def test_an_encode_worker_killed_in_mid_batch_hinders_no_click_and_loses_no_item(house):
    house.start("recommend").wait_ready()
    worker = house.start("encode")
    worker.wait_ready()
    hashes = put_pictures(house)
    answered: list[str] = []
    with reading(house) as reader:
        for many in (8, 40):
            encoded(house, at_least=many)
            worker.kill()
            then = encoded(house)
            assert many <= len(then) < PICTURES, "it was to be killed in the middle"
            asked = Query(
                event_id=f"q{many}", user_id="asker", at_ms=AT_MS + many, text="a picture"
            )
            house.send(asked)
            answered += clicks(house, f"dead{many}")
            reader.until(answered, limit_s=20)
            assert worker.child.poll() is not None  # nobody encodes, and all are answered
            assert encoded(house).keys() == then.keys()
            assert asked.event_id not in reader.named
            worker = house.start("encode")
        answered += clicks(house, "alive")
        reader.until([*answered, "q8", "q40"], limit_s=120)
        vectors = encoded(house, at_least=PICTURES)
        reader.settle()
        assert all(reader.named[event] == 1 for event in [*answered, "q8", "q40"])
    assert vectors.keys() == hashes.keys()
    space = fusion_version(house.config.encoders)
    for name, item in vectors.items():
        assert set(item.slots) == {"text", "image"}, name
        assert item.slots["image"].content == hashes[name]
        assert item.fused
        assert item.encoder == space
    assert worker.stop() == 0
    assert not consume_all(house.bootstrap, house.topic("dead-letters"))
