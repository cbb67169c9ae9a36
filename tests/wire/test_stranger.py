"""A stranger's program: plain confluent-kafka, json and msgpack, and the AsyncAPI document.

Nothing of ours is imported to produce or to read: only what the document says is used.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest
import yaml
from confluent_kafka import Consumer, Producer, TopicPartition
from jsonschema import Draft202012Validator

from tests.support.spine import ROOT, Spine, spine
from workers.laptop_kafka import Broker

pytestmark = [pytest.mark.wire, pytest.mark.timeout(180)]
DOCUMENT = yaml.safe_load((ROOT / "docs/asyncapi.yaml").read_text())


@pytest.fixture
def house(broker: Broker, topic_prefix: str, tmp_path: Path) -> Iterator[Spine]:
    with spine(broker.bootstrap, topic_prefix, tmp_path) as made:
        made.catalogue([f"i{n}" for n in range(40)])
        made.start("recommend").wait_ready()
        yield made


class Stranger:
    """Knows the document, a broker and a topic prefix."""

    def __init__(self, bootstrap: str, prefix: str) -> None:
        self.prefix = prefix
        self.producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "partitioner": "murmur2_random",
                "linger.ms": 0,
            }
        )
        self.consumer = Consumer(
            {
                "bootstrap.servers": bootstrap, "group.id": f"stranger-{prefix}",
                "isolation.level": "read_committed", "enable.auto.commit": False,
            }
        )  # fmt: skip
        name = self.address("recommendations")
        parts = self.consumer.list_topics(name, timeout=30).topics[name].partitions
        self.consumer.assign([TopicPartition(name, n, 0) for n in parts])
        self.lists: list[tuple[str, dict[str, Any] | None]] = []

    def address(self, channel: str) -> str:
        address: str = DOCUMENT["channels"][channel]["address"]
        return address.replace("rec.", f"{self.prefix}.", 1)

    def event(self, wire: str = "json", **fields: Any) -> None:
        record = {"at_ms": int(time.time() * 1000), **fields}
        value = json.dumps(record).encode() if wire == "json" else msgpack.packb(record)
        self.raw(record["user_id"], value)

    def raw(self, key: str, value: bytes | None, channel: str = "events") -> None:
        self.producer.produce(self.address(channel), key=key.encode(), value=value)
        assert self.producer.flush(20) == 0

    def until_named(self, *events: str, limit_s: float = 30.0) -> dict[str, dict[str, Any]]:
        """Lists by the event that they name."""
        end = time.monotonic() + limit_s
        while True:
            named = {e: s for _, s in self.lists if s is not None for e in s["caused_by"]}
            if named.keys() >= set(events):
                return named
            assert time.monotonic() < end, f"not answered: {set(events) - named.keys()}"
            self.read()

    def read(self) -> None:
        for message in self.consumer.consume(100, 0.1):
            assert message.error() is None
            value, key = message.value(), message.key().decode()
            self.lists.append((key, None if value is None else readable(message)))


def readable(message: Any) -> dict[str, Any]:
    """By the header content-type, as the document says."""
    kind = dict(message.headers())["content-type"]
    if kind == b"application/json":
        found: dict[str, Any] = json.loads(message.value())
    else:
        assert kind == b"application/msgpack"
        found = msgpack.unpackb(message.value())
    return found


@pytest.fixture
def stranger(house: Spine) -> Iterator[Stranger]:
    made = Stranger(house.bootstrap, house.prefix)
    yield made
    made.consumer.close()


def click(event_id: str, user_id: str, item_id: str, **more: Any) -> dict[str, Any]:
    return {
        "type": "interaction", "event_id": event_id, "user_id": user_id, "item_id": item_id,
        "kind": "click", **more,
    }  # fmt: skip


def payload(message: str) -> dict[str, Any]:
    """The JSON Schema of a message, from the document alone."""
    part = DOCUMENT["components"]["messages"][message]
    schema = part["payload"]
    if "schema" in schema:
        schema = schema["schema"]
    return {**schema, "components": DOCUMENT["components"]}


def test_json_and_msgpack_producers_are_answered_alike_and_lists_fit_the_document(stranger):
    stranger.event("json", **click("e1", "ann", "i1"))
    stranger.event("msgpack", **click("e2", "bob", "i1"))
    stranger.event("json", **click("e3", "ann", "i2", surprise={"new": [1, 2]}))
    lists = stranger.until_named("e1", "e2", "e3")
    assert [i["item_id"] for i in lists["e2"]["items"]]
    validator = Draft202012Validator(payload("slate"))
    for _, slate in stranger.lists:
        validator.validate(slate)
    seen = {i["item_id"] for i in lists["e3"]["items"]}
    assert not seen & {"i1", "i2"}


def test_a_poison_record_is_set_aside_with_its_bytes_and_the_next_is_answered(
    stranger, house
):
    stranger.raw("ann", b"\xc1 this is no record")
    stranger.event(**click("e1", "ann", "i1"))
    stranger.until_named("e1")
    name = stranger.address("dead-letters")
    reader = Consumer({"bootstrap.servers": house.bootstrap, "group.id": f"dead-{name}"})
    parts = reader.list_topics(name, timeout=30).topics[name].partitions
    reader.assign([TopicPartition(name, n, 0) for n in parts])
    (dead,) = reader.consume(1, 20)
    reader.close()
    headers = dict(dead.headers())
    assert dead.value() == b"\xc1 this is no record"
    assert dead.key() == b"ann"
    assert headers["__connect.errors.topic"].decode() == stranger.address("events")
    assert b"send a map in msgpack or JSON" in headers["__connect.errors.exception.message"]


def test_undo_visit_and_erase_do_what_the_document_says(stranger):
    stranger.event(**click("e1", "ann", "i1"))
    before = stranger.until_named("e1")["e1"]
    stranger.event(**click("e2", "ann", "i9", kind="purchase"))
    stranger.until_named("e2")
    stranger.event(type="undo", event_id="e3", user_id="ann", undoes="e2")
    after = stranger.until_named("e3")["e3"]
    assert [i["item_id"] for i in after["items"]] == [i["item_id"] for i in before["items"]]
    stranger.event(type="visit", event_id="e4", user_id="ann")
    stranger.until_named("e4")
    stranger.event(type="erase", event_id="e5", user_id="ann")
    end = time.monotonic() + 20
    while ("ann", None) not in stranger.lists:
        assert time.monotonic() < end, "no null list"
        stranger.read()


def test_an_item_withdrawn_or_expired_is_in_no_list_from_then_on(stranger):
    now_ms = int(time.time() * 1000)
    stranger.event(**click("e1", "ann", "i1"))
    best = [i["item_id"] for i in stranger.until_named("e1")["e1"]["items"]]
    stranger.raw(best[0], None, channel="items")
    gone = {"type": "item", "item_id": best[1], "expires_at_ms": now_ms - 1}
    stranger.raw(best[1], json.dumps(gone).encode(), channel="items")
    sold = {"type": "item", "item_id": best[2], "available": False}
    stranger.raw(best[2], msgpack.packb(sold), channel="items")
    for n in range(200):  # until the tables have it, then for good
        stranger.event(type="visit", event_id=f"v{n}", user_id="ann")
        listed = {i["item_id"] for i in stranger.until_named(f"v{n}")[f"v{n}"]["items"]}
        if not listed & set(best[:3]):
            break
    assert not listed & set(best[:3])
    stranger.event(**click("e2", "bob", "i1"))
    listed = {i["item_id"] for i in stranger.until_named("e2")["e2"]["items"]}
    assert not listed & set(best[:3])


def test_vectors_travel_as_base64_in_json(stranger):
    text = base64.b64encode(b"\0" * 12).decode()
    stranger.event(
        type="signal", event_id="s", of="e", user_id="ann", vector=text, modality="text"
    )
    stranger.event(**click("e1", "ann", "i1"))
    assert stranger.until_named("e1")
    assert "s" not in stranger.until_named(
        "e1"
    )  # three numbers are no vector of this space
