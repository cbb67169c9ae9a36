"""A real Kafka for a test session, and the two things that tests do with one."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from tests.support.programs import missing
from workers import laptop_kafka
from workers.laptop_kafka import Broker, KafkaUnavailableError


@dataclass(frozen=True)
class Sent:
    """A record to produce."""

    value: bytes | None
    key: bytes | str | None = None
    headers: Sequence[tuple[str, bytes]] = ()
    partition: int | None = None
    at_ms: int | None = None


def free_port() -> int:
    """A loopback port that nobody had a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running_kafka(folder: Path) -> Iterator[Broker]:
    """One node over this folder, ended by its process id; skips without Java or Maven."""
    try:
        laptop_kafka.check()
    except KafkaUnavailableError as error:
        missing(str(error))
    broker = laptop_kafka.start(folder=folder, attached=True)
    try:
        yield broker
    finally:
        laptop_kafka.stop(folder)


def create_topics(bootstrap: str, topics: dict[str, int], **config: str) -> None:
    """Topics with so many partitions each, there when it returns."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    wanted = [NewTopic(name, count, 1, config=config) for name, count in topics.items()]
    for created in admin.create_topics(wanted, operation_timeout=30).values():
        created.result(30)


def produce(
    bootstrap: str, topic: str, records: Iterable[Sent], *, limit_s: float = 30.0
) -> list[tuple[int, int]]:
    """Sends in order, waits for every acknowledgement; (partition, offset) of each."""
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "partitioner": "murmur2_random",
            "enable.idempotence": True,
            "linger.ms": 2,
            "message.max.bytes": 10_000_000,
        }
    )
    placed: dict[int, tuple[int, int]] = {}
    errors: list[KafkaError] = []

    def settle(index: int) -> Callable[[KafkaError | None, Message], None]:
        def on_delivery(error: KafkaError | None, message: Message) -> None:
            if error is not None:
                errors.append(error)
            else:
                placed[index] = (message.partition(), message.offset())

        return on_delivery

    count = 0
    for count, record in enumerate(records, start=1):
        optional = {"partition": record.partition, "timestamp": record.at_ms}
        producer.produce(
            topic,
            value=record.value,
            key=record.key,
            headers=list(record.headers),
            on_delivery=settle(count),
            **{name: value for name, value in optional.items() if value is not None},
        )
        producer.poll(0)
    producer.flush(limit_s)
    assert not errors, errors[:3]
    assert len(placed) == count, f"{len(placed)} of {count} records acknowledged"
    return [placed[index] for index in range(1, count + 1)]


def consume_all(
    bootstrap: str,
    topic: str,
    *,
    until: Callable[[list[Message]], bool] | None = None,
    limit_s: float = 30.0,
    isolation: str = "read_committed",
) -> list[Message]:
    """Everything in the topic from its start, in the order of each partition.

    Reads on until `until` is true of what was read; without it, up to the end that the topic
    has now. Past the limit an AssertionError says how much there was.
    """
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": f"test-{uuid4()}",
            "enable.auto.commit": False,
            "isolation.level": isolation,
            "enable.partition.eof": True,
            "fetch.message.max.bytes": 10_000_000,
        }
    )
    try:
        partitions = consumer.list_topics(topic, timeout=limit_s).topics[topic].partitions
        consumer.assign([TopicPartition(topic, number, 0) for number in partitions])
        return _read(consumer, ends=set(partitions), until=until, limit_s=limit_s)
    finally:
        consumer.close()


def _read(
    consumer: Consumer,
    *,
    ends: set[int],
    until: Callable[[list[Message]], bool] | None,
    limit_s: float,
) -> list[Message]:
    deadline, read = time.monotonic() + limit_s, list[Message]()
    while until is None or not until(read):
        for message in consumer.consume(num_messages=1_000, timeout=0.05):
            error = message.error()
            if error is None:
                read.append(message)
            elif error.code() == KafkaError._PARTITION_EOF:
                ends.discard(message.partition())
            else:
                raise AssertionError(error)
        if until is None and not ends:
            break
        assert time.monotonic() < deadline, f"read {len(read)} records in {limit_s:g} s"
    return read
