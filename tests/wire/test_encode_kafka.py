"""The encode worker on a real Kafka: offsets, restoring, range assignment, acknowledgement."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import pytest
from msgspec.structs import replace

from encoders.config import EncoderConfig
from schemas import Interaction, Item, ItemVectors, Media, Query, Signal, decode, encode
from tests.support.kafka import Sent, consume_all, produce
from tests.support.workshop import NOW, picture, sound
from workers.config import Config, EncodeConfig, KafkaConfig
from workers.encode import run
from workers.encode_doors import assemble, topics_of
from workers.health import Health
from workers.laptop_kafka import Broker
from workers.topics import create_topics
from workers.underway import Worker

pytestmark = [pytest.mark.wire, pytest.mark.models, pytest.mark.timeout(180)]
ITEMS = 20


@pytest.fixture
def config(broker: Broker, topic_prefix: str) -> Config:
    kafka = KafkaConfig(bootstrap=broker.bootstrap, prefix=topic_prefix, partitions=3)
    create_topics(kafka, keep_events=True)
    return Config(
        kafka=replace(kafka, group=topic_prefix),
        encoders=EncoderConfig(device="cpu"),
        encode=EncodeConfig(batch=8),
    )


def send(config: Config, role: str, records: list[tuple[str, Any]]) -> None:
    sent = [Sent(None if r is None else encode(r), key=key) for key, r in records]
    produce(config.kafka.bootstrap, getattr(topics_of(config), role), sent)


def read(config: Config, role: str) -> dict[str, Any]:
    """The newest record of each key, of events each Signal."""
    name = getattr(topics_of(config), role)
    found = {}
    for message in consume_all(config.kafka.bootstrap, name):
        record = decode(role.replace("_", "-"), message.value())
        if isinstance(record, ItemVectors):
            found[record.item_id] = record
        elif isinstance(record, Signal):
            found[record.event_id] = record
    return found


def work(config: Config, *, until: Any) -> None:
    """One worker of this name, from its start until the condition holds."""
    with ExitStack() as stack:
        worker = assemble(config, health=Health(), stack=stack)
        turns = iter(range(100_000))
        run(worker, should_stop=lambda: next(turns) % 50 == 49 and until(worker))


def done(worker: Worker) -> bool:
    """Whether nothing is under way, nothing is left to read, and all is committed."""
    lag = worker.source.source.lag()  # type: ignore[attr-defined]  # behind its measure
    idle = not (worker.pending or worker.preparing or worker.encoding or worker.outdated)
    if not idle or len(lag) < 9 or any(lag.values()):
        return False
    ends = worker.source.bounds(list(lag))
    committed = worker.source.committed(list(lag))
    return all(committed.get(at, 0) == end for at, (_, end) in ends.items())


def test_content_becomes_vectors_and_signals_and_survives_a_restart(config):
    red, low = picture((200, 10, 10)), sound(0.05)
    items = [Item(item_id=f"i{n}", title=f"Film number {n}") for n in range(ITEMS)]
    send(config, "items", [(item.item_id, item) for item in items])
    like = Interaction(
        event_id="e1", user_id="ann", item_id="i1", kind="like", at_ms=NOW, text="lovely"
    )
    query = Query(event_id="q1", user_id="bob", at_ms=NOW, text="rainy noir")
    send(config, "events", [("ann", like), ("bob", query)])
    work(config, until=done)
    vectors = read(config, "item_vectors")
    assert {name: set(v.slots) for name, v in vectors.items()} == {
        f"i{n}": {"text"} for n in range(ITEMS)
    }
    assert set(read(config, "events")) == {"e1#m0", "q1#q"}

    uploads = [
        Media(media_id=f"m{n}", kind=kind, at_ms=NOW, item_id=f"i{n}", data=data)
        for n in range(ITEMS)
        for kind, data in (("image", red), ("audio", low))
    ]
    send(config, "media", [(media.item_id or "", media) for media in uploads])
    send(config, "items", [("i0", None), ("bad key", items[1])])
    work(config, until=done)
    vectors = read(config, "item_vectors")
    assert vectors["i0"].withdrawn
    for n in range(1, ITEMS):
        assert set(vectors[f"i{n}"].slots) == {"text", "image", "audio"}
        assert vectors[f"i{n}"].fused
    assert set(read(config, "events")) == {"e1#m0", "q1#q"}
    letters = consume_all(config.kafka.bootstrap, topics_of(config).dead_letters)
    assert [m.key() for m in letters] == [b"bad key"]
