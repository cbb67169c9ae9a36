"""What every client of Kafka is told, and what its errors mean for us.

Knows no client library: the settings are librdkafka's, an error is anything that has a name.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Protocol

import structlog

from workers.ports import FatalError, TransientError

if TYPE_CHECKING:
    from workers.config import KafkaConfig

MISSING = {"UNKNOWN_TOPIC_OR_PART", "_UNKNOWN_TOPIC", "_UNKNOWN_PARTITION"}
FENCED = {"FENCED_INSTANCE_ID", "_FENCED", "PRODUCER_FENCED"}
REFUSED = {
    "TOPIC_AUTHORIZATION_FAILED",
    "GROUP_AUTHORIZATION_FAILED",
    "CLUSTER_AUTHORIZATION_FAILED",
    "TRANSACTIONAL_ID_AUTHORIZATION_FAILED",
    "SASL_AUTHENTICATION_FAILED",
    "_AUTHENTICATION",
}
MOVED = {"ILLEGAL_GENERATION", "UNKNOWN_MEMBER_ID", "REBALANCE_IN_PROGRESS"}

LIBRDKAFKA = "streamrec.librdkafka"
log = structlog.get_logger("streamrec.kafka")


class ClientError(Protocol):
    """An error as the client library gives it."""

    def name(self) -> str: ...
    def str(self) -> str: ...
    def fatal(self) -> bool: ...


def client_options(config: KafkaConfig, **more: Any) -> dict[str, Any]:
    """librdkafka settings of every client; the configuration's own options have the last word."""
    if not config.bootstrap:
        raise FatalError(
            "no Kafka: run `rec dev kafka up`, or name a broker in STREAMREC_KAFKA__BOOTSTRAP"
        )
    ours = {
        "bootstrap.servers": config.bootstrap,
        "client.id": config.worker,
        "reconnect.backoff.max.ms": 1000,
        "socket.keepalive.enable": True,
        "error_cb": tell,
        "logger": logging.getLogger(LIBRDKAFKA),
    }
    return {**ours, **more, **config.options}


def reading(config: KafkaConfig, **more: Any) -> dict[str, Any]:
    """A consumer that hands over at once, reads what is committed, and holds little."""
    ours = {
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "error",
        "isolation.level": "read_committed",
        "allow.auto.create.topics": False,
        "fetch.min.bytes": 1,
        "fetch.wait.max.ms": 50,  # also how long a seek may wait for the fetch under way
        "fetch.error.backoff.ms": 100,
        "fetch.queue.backoff.ms": 10,  # the default of 1 s stalls a queue as short as ours
        "queued.max.messages.kbytes": 16 * 1024,
        "fetch.max.bytes": 16 * 1024 * 1024,
    }
    return client_options(config, **{**ours, **more})


def writing(config: KafkaConfig, **more: Any) -> dict[str, Any]:
    """A producer that places keys as Java does and loses nothing that it acknowledged."""
    ours = {
        "acks": "all",
        "enable.idempotence": True,
        "partitioner": "murmur2_random",
        "message.max.bytes": 9 * 1024 * 1024,
        "queue.buffering.max.kbytes": 64 * 1024,
        "compression.type": "lz4",
        "linger.ms": 1,
    }
    return client_options(config, **{**ours, **more})


def tell(error: ClientError, topic: str | None = None) -> None:
    """Logs an error that the client mends itself. A connection is tried many times a second,
    so of those only that no broker is left."""
    if error.name() != "_TRANSPORT":
        log.warning("kafka_client", error=error.name(), message=error.str(), topic=topic)


def _is_news(record: logging.LogRecord) -> bool:
    """Whether librdkafka says what its errors don't."""
    return not record.getMessage().startswith("FAIL ")


logging.getLogger(LIBRDKAFKA).addFilter(_is_news)


def fate(error: ClientError, config: KafkaConfig) -> FatalError | TransientError:
    """What an error of Kafka means for us, with the remedy where there is one."""
    said, name = f"Kafka: {error.str()} ({error.name()})", error.name()
    if name in FENCED:
        return FatalError(
            f"{said}: another worker runs under the name {config.worker!r}, or this one stood "
            "still beyond its transaction timeout; give each worker its own "
            "STREAMREC_KAFKA__WORKER, and start again"
        )
    if name in MISSING:
        return FatalError(f"{said}: run `rec topics create`")
    if name in REFUSED:
        return FatalError(
            f"{said}: grant worker {config.worker!r} its topics, group and transactional id, "
            "or correct the credentials in STREAMREC_KAFKA__OPTIONS"
        )
    if name == "MSG_SIZE_TOO_LARGE":
        return FatalError(f"{said}: raise max.message.bytes by `rec topics create --fix`")
    if name == "_AUTO_OFFSET_RESET":
        return FatalError(
            f"{said}: the log no longer has the records to go on from; "
            "raise its retention, then run `rec rebuild`"
        )
    return FatalError(said) if error.fatal() or name == "_FATAL" else TransientError(said)
