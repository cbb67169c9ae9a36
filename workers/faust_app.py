"""Faust behind one door: a group that owns partitions, tables with changelogs, and a producer.

The only file that knows faust. What has to be known of it (docs/adr/0013):

- what reaches its streams may have gaps: after each rebalance it seeks to what is committed while
  records already flow, and then empties its queues. So events are read here, by a consumer that
  is told where to begin, and faust's own stream of them stays paused;
- what reaches its tables would have the same gaps if a changelog were read before its start is
  sought: so all partitions are paused from the moment that they are taken away;
- its tables read from the partition of the event that is current: a stand-in of the partition
  that is asked is made current;
- a changelog record that failed is only logged, and each one takes as long as folding an event:
  so they are written here in batches, awaited, and only then put into the tables, as in a
  recovery;
- after a rebalance or a start everything is read again from what is committed: so all that is
  held here is dropped when partitions are taken away.
"""

import asyncio
import logging
import weakref
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import structlog

from ranking.trends import Changes
from workers.config import Config, topic
from workers.kafka import KafkaTable
from workers.ports import FatalError, Headers, Outbound, Record, TransientError

Written = tuple[bytes | None, bytes | None, Headers]
"""Key, value and headers of a record."""
log = structlog.get_logger(__name__)
LOUD = ("faust", "mode", "aiokafka", "kafka")
"""Loggers that tell at length of what is ours to tell."""
GATHER_S = 0.05
"""Where we keep up, events are gathered for so long: to turn for each alone costs more than it."""
MAX_REQUEST = 4 * 1024 * 1024
ROCKS = {  # of each partition and table; items are read at a start only
    "driver": "rocksdict",
    "write_buffer_size": 2 * 1024 * 1024,
    "block_cache_size": 2 * 1024 * 1024,
}


class TrendApp:
    """The app, its two tables (items and users) and the reader of events. All of it belongs to
    one event loop; only the reader waits in a thread."""

    def __init__(self, config: Config, *, partitions: int) -> None:
        """`partitions`: of rec.events; the changelogs have as many. Raises FatalError without
        the extra `trend`."""
        faust = _faust()
        from faust import streams

        kafka, trend = config.kafka, config.trend
        self._config, self._partitions = config, range(partitions)
        self._current, self._stand_ins = streams._current_event, dict[int, Any]()
        self._reader: KafkaTable | None = None
        self._stale: KafkaTable | None = None
        self._opened, self._next = -1, dict[int, int]()
        self._saved: dict[int, dict[str, bytes]] | None = None
        self._writes = set[asyncio.Future[None]]()
        self.epoch, self._assigned = 0, -1
        self._idle = False
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
            producer_compression_type="snappy",  # its lz4 packs at level 9: 12 times the work
            producer_max_batch_size=768 * 1024,
            producer_max_request_size=MAX_REQUEST,
            store="memory://" if trend.store == "memory" else "rocksdb://",
            datadir=Path(trend.path) / kafka.worker,
            topic_partitions=partitions,
            topic_replication_factor=kafka.replication,
            topic_disable_leader=True,
            table_standby_replicas=0,
            stream_wait_empty=False,
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
        self._app.agent(source, name="trend")(_pass_over)  # so that the group owns them
        self._lost = self._app.on_partitions_revoked.connect(self._on_revoked)
        self._gained = self._app.on_partitions_assigned.connect(self._on_assigned)

    async def start(self) -> None:
        """Joins the group; tables are recovered in the background."""
        Path(self._app.conf.datadir).mkdir(parents=True, exist_ok=True)
        await self._app.start()

    async def stop(self) -> None:
        """Leaves nothing running."""
        await self._app.stop()
        self._stale, self._reader = self._reader or self._stale, None
        await self._close_stale()

    def ready(self) -> bool:
        """Whether the tables are recovered."""
        return self._assigned == self.epoch and bool(self._app.tables.actives_ready)

    def check(self) -> None:
        """Raises TransientError once faust has given up: a restart begins at what is saved."""
        if self._app.should_stop:
            raise TransientError(f"faust stopped: {self._app.crash_reason!r}")

    async def poll(self, *, limit: int, timeout_s: float) -> list[Record]:
        """Events of the partitions that we own, from what is committed on, in order and without
        a gap; waits at most so long for the first. Nothing before the tables are recovered."""
        await self._close_stale()
        if self._idle:
            await asyncio.sleep(min(GATHER_S, timeout_s))
        if self.ready() and self._opened != self.epoch:
            await self._open()
        reader, epoch = self._reader, self.epoch
        if reader is None:
            await asyncio.sleep(timeout_s)
            return []
        records = await asyncio.to_thread(reader.refresh, limit=limit, timeout_s=timeout_s)
        if epoch != self.epoch:
            return []
        self._idle = len(records) < limit // 2
        self._next |= {record.partition: record.offset + 1 for record in records}
        return records

    def owned(self) -> Collection[int]:
        """The partitions that are being read."""
        return self._next.keys()

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
        """Write values to the changelogs, and to the local tables once those have them. Raises
        TransientError if they may not have."""
        items = {f"{partition}/{n}".encode(): value for n, value in changes.items.items()}
        users = {_user_key(partition, n): value for n, value in changes.users.items()}
        done = asyncio.get_running_loop().create_future()
        self._writes.add(done)
        try:
            for table, values in ((self._items, items), (self._users, users)):
                at = self._tp(partition, table.changelog_topic.get_topic_name())
                end = await self._append(at, [(*pair, ()) for pair in values.items()])
                table.apply_changelog_batch(
                    [_Event(at, end, key, value) for key, value in values.items()]
                )
        finally:
            self._writes.discard(done)
            done.set_result(None)

    async def commit(self, offsets: Mapping[int, int]) -> bool:
        """Commit all before these offsets, by partition; whether the group has taken them. A
        replay begins there or later from then on."""
        epoch = self.epoch
        at = {self._tp(partition): offset for partition, offset in offsets.items()}
        return bool(await self._app.consumer._commit(at)) and epoch == self.epoch

    async def publish(self, topic: str, records: Iterable[Outbound]) -> None:
        """To the one partition of a topic; returns when all replicas have them."""
        sent = [(r.key, r.value, r.headers) for r in records]
        await self._append(self._tp(0, topic), sent)

    def lag(self) -> dict[int, int]:
        """Records between what was last read and the end, by partition, as far as known."""
        ends = self._reader.ends() if self._reader else {}
        return {
            partition: max(0, end - self._next[partition])
            for (_, partition), end in ends.items()
            if partition in self._next
        }

    async def _append(self, at: Any, records: Sequence[Written]) -> int:
        """Records, in order, a batch at a time: one by one faust takes longer than we do to
        fold. The offset of the last, or -1. Raises TransientError if one may be missing."""
        client, end, n = self._app.producer._ensure_producer(), -1, 0
        while n < len(records):
            batch = client.create_batch()
            while n < len(records) and _add(batch, *records[n]):
                n += 1
            try:
                sent = await client.send_batch(batch, at.topic, partition=at.partition)
                end = (await sent).offset + batch.record_count() - 1
            except Exception as error:  # whatever it was, a restart begins at what is saved
                raise TransientError(f"{at.topic}: not written: {error!r}") from error
        return end

    async def _open(self) -> None:
        """Begin to read what we own. Faust has let its own stream of it flow by now."""
        epoch, consumer = self.epoch, self._app.consumer
        ours = {at for at in consumer.assignment() if at.topic == self._events}
        if not ours:
            return
        consumer.pause_partitions(ours)
        committed = await self._committed()
        starts = {at.partition: committed.get(at) or 0 for at in ours}
        reader = await asyncio.to_thread(
            KafkaTable, self._config.kafka, topics=[self._events], only=set(starts),
            starts={(self._events, number): at for number, at in starts.items()},
        )  # fmt: skip
        if epoch == self.epoch:
            self._reader, self._next, self._opened = reader, starts, epoch
            log.info("reading", topic=self._events, starts=starts)
        else:
            self._stale = reader
            await self._close_stale()

    async def _committed(self) -> Mapping[Any, int | None]:
        from aiokafka.errors import KafkaError  # type: ignore[import-untyped]  # has no types

        try:
            found: Mapping[Any, int | None] = await self._app.consumer.seek_to_committed()
        except KafkaError as error:
            raise TransientError(f"no committed offsets: {error!r}") from error
        return found

    async def _close_stale(self) -> None:
        """Only from where nobody waits for it."""
        stale, self._stale = self._stale, None
        if stale is not None:
            await asyncio.to_thread(stale.close)

    async def _on_revoked(self, *_: Any, **__: Any) -> None:
        """Who comes after us must find what we are writing. Paused partitions stay so when they
        are assigned again, until faust has sought where to read them from."""
        self.epoch += 1
        self._stale, self._reader = self._reader or self._stale, None
        self._next, self._saved = {}, None
        changelogs = [
            t.changelog_topic.get_topic_name() for t in (self._items, self._users)
        ]
        self._app.consumer.pause_partitions(
            {
                self._tp(number, name)
                for number in self._partitions
                for name in (self._events, *changelogs)
            }
        )
        if self._writes:
            await asyncio.wait(set(self._writes))

    async def _on_assigned(self, *_: Any, **__: Any) -> None:
        """A recovery that was under way may have called the tables ready since."""
        self._app.tables.actives_ready = False
        self._assigned = self.epoch

    def _table(self, name: str, partitions: int, config: Config) -> Any:
        return self._app.Table(
            name, partitions=partitions, key_type=bytes, value_type=bytes,
            options=dict(ROCKS) if config.trend.store == "rocksdb" else {},
            extra_topic_configs={"max.message.bytes": str(MAX_REQUEST)},
        )  # fmt: skip

    def _tp(self, partition: int, name: str | None = None) -> Any:
        from faust.types import TP

        return TP(name or self._events, partition)

    def _stand_in(self, partition: int) -> None:
        """Make an event of this partition the current one."""
        event = self._stand_ins.setdefault(partition, _Event(self._tp(partition)))
        self._current.set(weakref.ref(event))


class _Event:
    """All that a table asks of an event, and of its message."""

    def __init__(
        self, tp: Any, offset: int = -1, key: bytes = b"", value: bytes | None = None
    ) -> None:
        self.tp, self.topic, self.partition = tp, tp.topic, tp.partition
        self.offset, self.key, self.value = offset, key, value

    @property
    def message(self) -> "_Event":
        return self


async def _pass_over(stream: Any) -> None:
    async for _ in stream.noack():  # faust would commit what it acknowledges
        pass


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


def _add(batch: Any, key: bytes | None, value: bytes | None, headers: Headers) -> bool:
    """Whether a record found room."""
    added = batch.append(timestamp=None, key=key, value=value, headers=list(headers))
    return added is not None


def _user_key(partition: int, name: int) -> bytes:
    return f"{partition}/{name:016x}".encode()


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
