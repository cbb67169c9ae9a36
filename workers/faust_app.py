"""Faust behind one door: a group that reads events, tables with changelogs, and a producer.

The only file that knows faust. What has to be known of it (docs/adr/0013):

- its tables write to the partition of the event that is current, and `Stream.take` leaves the
  last one of any partition current: so events are gathered here by their partition, and an event
  of the partition that is written is made current;
- it commits once its producer is flushed, but a flush gives up after 0.1 s without progress, and
  a changelog record that failed is only logged: so each one is awaited, and only then are the
  events acknowledged;
- after a rebalance or a start everything is read again from what is committed: so all that is
  held here is dropped when partitions are taken away.
"""

import asyncio
import logging
import weakref
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ranking.trends import Changes
from workers.config import Config, topic
from workers.ports import FatalError, Outbound, Record, TransientError

LOUD = ("faust", "mode", "aiokafka", "kafka")
"""Loggers that tell at length of what is ours to tell."""
MAX_REQUEST = 4 * 1024 * 1024
ROCKS = {
    "driver": "rocksdict",
    "write_buffer_size": 8 * 1024 * 1024,
    "block_cache_size": 16 * 1024 * 1024,
}


class TrendApp:
    """The app, its two tables (items and users) and the events that wait or are not yet
    acknowledged. All of it belongs to one event loop."""

    def __init__(self, config: Config, *, partitions: int) -> None:
        """`partitions`: of rec.events; the changelogs have as many. Raises FatalError without
        the extra `trend`."""
        faust = _faust()
        from faust import streams

        kafka, trend = config.kafka, config.trend
        self._current, self._room = streams._current_event, 2 * trend.batch
        self._waiting: dict[int, list[Any]] = {}
        self._open: dict[int, list[Any]] = {}
        self._last: dict[int, Any] = {}
        self._saved: dict[int, dict[str, bytes]] | None = None
        self._arrived, self._taken = asyncio.Event(), asyncio.Event()
        self.epoch = 0
        for name in LOUD:
            logging.getLogger(name).setLevel(logging.ERROR)
        self._app = faust.App(
            app_id(config),
            broker=[f"kafka://{host}" for host in kafka.bootstrap.split(",")],
            broker_credentials=_credentials(faust, kafka.options),
            broker_client_id=kafka.worker,
            broker_session_timeout=kafka.session_timeout_ms / 1000,
            broker_heartbeat_interval=kafka.session_timeout_ms / 4000,
            consumer_group_instance_id=kafka.worker,
            consumer_auto_offset_reset="earliest",
            consumer_max_fetch_size=MAX_REQUEST,
            producer_acks=-1,
            producer_linger=0.005,
            producer_compression_type="lz4",
            producer_max_batch_size=256 * 1024,
            producer_max_request_size=MAX_REQUEST,
            store="memory://" if trend.store == "memory" else "rocksdb://",
            datadir=Path(trend.path) / kafka.worker,
            topic_partitions=partitions,
            topic_replication_factor=kafka.replication,
            topic_disable_leader=True,
            stream_wait_empty=False,  # what waits is read again; it is not waited for
            web_enabled=False,
            autodiscover=False,
        )
        self._events = topic(kafka, "events")
        self._items, self._users = (
            self._table(name, partitions, config) for name in TABLES
        )
        source = self._app.topic(
            self._events, key_type=bytes, value_type=bytes, key_serializer="raw",
            value_serializer="raw", allow_empty=True,
        )  # fmt: skip
        self._app.agent(source, name="trend")(self._listen)
        self._lost = self._app.on_partitions_revoked.connect(self._on_revoked)

    async def start(self) -> None:
        """Joins the group; tables are recovered in the background."""
        Path(self._app.conf.datadir).mkdir(parents=True, exist_ok=True)
        await self._app.start()

    async def stop(self) -> None:
        """Leaves nothing running."""
        await self._app.stop()

    def ready(self) -> bool:
        """Whether the tables are recovered and events flow."""
        return bool(self._app.tables.actives_ready)

    def check(self) -> None:
        """Raises TransientError once faust has given up: a restart begins at what is saved."""
        if self._app.should_stop:
            raise TransientError(f"faust stopped: {self._app.crash_reason!r}")

    async def arrival(self, *, timeout_s: float) -> None:
        """Returns when a batch waits, or after so long."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._arrived.wait(), timeout_s)

    def take(self) -> dict[int, list[Record]]:
        """What waits, by partition, in order. It stays unacknowledged until `commit`."""
        taken, self._waiting = self._waiting, {}
        self._arrived.clear()
        self._taken.set()
        for partition, events in taken.items():
            self._open.setdefault(partition, []).extend(events)
            self._last[partition] = events[-1]
        return {
            n: [_record(event.message) for event in events] for n, events in taken.items()
        }

    def items(self, partition: int) -> dict[str, bytes]:
        """All values of items of a partition, by item id."""
        if self._saved is None:
            self._saved = {}
            for key, value in self._items.data.items():
                number, _, name = key.decode().partition("/")
                self._saved.setdefault(int(number), {})[name] = value
        return self._saved.pop(partition, {})

    def user(self, partition: int, name: int) -> bytes | None:
        """A user's value."""
        self._stand_in(partition)
        value = self._users.data.get(_user_key(partition, name))
        return None if value is None else bytes(value)

    async def save(self, partition: int, changes: Changes) -> None:
        """Write values to their tables; returns when the changelog has them. Raises
        TransientError if it may not have."""
        self._stand_in(partition)
        sent = [
            _put(self._items, partition, f"{partition}/{name}".encode(), value)
            for name, value in changes.items.items()
        ]
        sent += [
            _put(self._users, partition, _user_key(partition, name), value)
            for name, value in changes.users.items()
        ]
        await _acknowledged(sent, "the changelog")

    async def commit(self, partition: int) -> int | None:
        """Acknowledge all that was taken of a partition and commit it: the offset that a
        replay begins at or after from now on, or None if the group has not taken it."""
        done = self._open.pop(partition, [])
        for event in done:
            event.ack()
        if not done or not await self._app.consumer.commit():
            return None
        return int(done[-1].message.offset) + 1

    async def publish(self, records: Iterable[Outbound]) -> None:
        """Returns when all are acknowledged by all replicas."""
        producer = self._app.producer
        sent = [
            await producer.send(r.topic, r.key, r.value, r.partition, None, dict(r.headers))
            for r in records
        ]
        await _acknowledged(sent, "the trends topic")

    def lag(self) -> dict[int, int]:
        """Records between what was last taken and the end, by partition, as far as known."""
        from faust.types import TP

        ends = {n: self._app.consumer.highwater(TP(self._events, n)) for n in self._last}
        return {
            n: max(0, end - self._last[n].message.offset - 1)
            for n, end in ends.items()
            if end
        }

    async def _listen(self, stream: Any) -> None:
        async for event in stream.noack().events():
            while sum(map(len, self._waiting.values())) >= self._room:
                self._taken.clear()
                self._arrived.set()
                await self._taken.wait()
            partition = event.message.partition
            self._waiting.setdefault(partition, []).append(event)
            if len(self._waiting[partition]) * 2 >= self._room:
                self._arrived.set()

    async def _on_revoked(self, *_: Any, **__: Any) -> None:
        self.epoch += 1
        self._waiting, self._open, self._last = {}, {}, {}
        self._saved = None
        self._taken.set()

    def _table(self, name: str, partitions: int, config: Config) -> Any:
        return self._app.Table(
            name, partitions=partitions, key_type=bytes, value_type=bytes,
            options=dict(ROCKS) if config.trend.store == "rocksdb" else {},
            extra_topic_configs={"max.message.bytes": str(MAX_REQUEST)},
        )  # fmt: skip

    def _stand_in(self, partition: int) -> None:
        """Make an event of this partition the current one."""
        self._current.set(weakref.ref(self._last[partition]))


TABLES = ("items", "users")


def app_id(config: Config) -> str:
    """Group, prefix of the changelogs. Another configuration makes another state, which is
    built from the log's start under another name."""
    kafka = config.kafka
    law = config.law.law().digest
    return f"{kafka.prefix}.{kafka.group}-trend-{config.trend.digest()}{law}"


def changelogs(config: Config) -> list[str]:
    """The topics that faust keeps the tables in."""
    return [f"{app_id(config)}-{name}-changelog" for name in TABLES]


def _put(table: Any, partition: int, key: bytes, value: bytes | None) -> Any:
    """To the changelog, and at once to the local store, which notes how far the changelog is
    only when that is acknowledged."""
    if value is None:
        sent = table.send_changelog(partition, key, None, value_serializer="raw")
        table.data.pop(key, None)
    else:
        sent = table.send_changelog(partition, key, value)
        table.data[key] = value
    return sent


async def _acknowledged(sent: Sequence[Any], what: str) -> None:
    for failure in await asyncio.gather(*sent, return_exceptions=True):
        if isinstance(failure, BaseException):
            raise TransientError(f"{what} did not take a record: {failure!r}") from failure


def _user_key(partition: int, name: int) -> bytes:
    return f"{partition}/{name:016x}".encode()


def _record(message: Any) -> Record:
    return Record(
        topic=message.topic,
        partition=message.partition,
        offset=message.offset,
        timestamp_ms=int(message.timestamp * 1000),
        key=message.key,
        value=message.value,
        headers=tuple((message.headers or {}).items()),
    )


def _faust() -> Any:
    try:
        import faust
    except ImportError as error:
        raise FatalError("no faust: install streamrec with its extra `trend`") from error
    return faust


def _credentials(faust: Any, options: Mapping[str, str]) -> Any:
    """librdkafka's security settings as faust's. Raises FatalError for what faust has not."""
    protocol = options.get("security.protocol", "plaintext").lower()
    if protocol == "plaintext":
        return None
    context = _tls(options) if protocol.endswith("ssl") else None
    if protocol == "ssl":
        return faust.SSLCredentials(context)
    mechanism = options.get("sasl.mechanism", options.get("sasl.mechanisms", "PLAIN"))
    if mechanism not in ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"):
        raise FatalError(
            f"STREAMREC_KAFKA__OPTIONS: the trend worker has no sasl.mechanism {mechanism}; "
            "use PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512"
        )
    return faust.SASLCredentials(
        username=options.get("sasl.username"),
        password=options.get("sasl.password"),
        ssl_context=context,
        mechanism=mechanism,
    )


def _tls(options: Mapping[str, str]) -> Any:
    import ssl

    context = ssl.create_default_context(cafile=options.get("ssl.ca.location"))
    if certificate := options.get("ssl.certificate.location"):
        key, password = options.get("ssl.key.location"), options.get("ssl.key.password")
        context.load_cert_chain(certificate, key, password)
    return context
