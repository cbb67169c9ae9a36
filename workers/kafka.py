"""The doors to Kafka: a group's member, two ways to write, tables read whole.

With topics.py the only file that knows confluent_kafka. Traps that shaped it: consume(n)
waits for all n, so the first record is waited for alone; (un)assign outside a rebalance
callback is taken for the answer to a rebalance that waits, so going back is a seek; a
pause outlives the loss of its partition, and its end wakes nobody for a second, so `begin`
resumes and then seeks; sending offsets before a flush costs 100 ms.
"""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import structlog
from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)

from workers.kafka_options import MISSING, MOVED, fate, reading, writing
from workers.ports import (
    FatalError,
    Outbound,
    Partition,
    Polled,
    Record,
    Restarted,
    TransientError,
)

if TYPE_CHECKING:
    from workers.config import KafkaConfig

Assignor = Literal["cooperative-sticky", "range"]
BeforeRevoke = Callable[[frozenset[Partition]], None]

REQUEST_S = 30.0  # limit of one question to the broker
SLICE_S = 0.05  # a wait for records is cut into these, so that a rebalance shows at once
SETTLE_S = 3.0  # limit for a new topic to be known and led, an assigned one to be fetched
NEVER = 1 << 63

log = structlog.get_logger("streamrec.kafka")


class KafkaSource:
    """A static member of a consumer group, under the worker's name.

    Closing or killing it does not leave the group: under the same name it has its partitions
    back at once, and without it they move when the session times out.
    """

    def __init__(
        self,
        config: KafkaConfig,
        *,
        topics: Sequence[str],
        group: str,
        assignor: Assignor,
        before_revoke: BeforeRevoke | None = None,
    ) -> None:
        """Joins `group`; FatalError if a topic is missing. `before_revoke` is called, inside
        `poll`, with partitions that are about to be handed over and can still be committed;
        what it raises, `poll` raises."""
        self.group, self.worker = group, config.worker
        self.errors: Counter[str] = Counter()
        self._config = config
        self._cooperative = assignor == "cooperative-sticky"
        self._before_revoke = before_revoke
        self._owned: set[Partition] = set()
        self._next: dict[Partition, int] = {}
        self._gained: set[Partition] = set()
        self._lost: set[Partition] = set()
        self._raised: Exception | None = None
        self._paused = False
        self._consumer = Consumer(
            reading(
                config,
                **{
                    "group.id": group,
                    "group.instance.id": config.worker,
                    "partition.assignment.strategy": assignor,
                    "session.timeout.ms": config.session_timeout_ms,
                    # how soon members hear of a rebalance
                    "heartbeat.interval.ms": min(500, config.session_timeout_ms // 3),
                    "max.poll.interval.ms": max(300_000, config.session_timeout_ms),
                    "error_cb": lambda error: self._note(error, None),
                },
            )
        )
        for topic in topics:
            _numbers(self._consumer, topic, config)
        self._consumer.subscribe(
            list(topics),
            on_assign=self._on_assign,
            on_revoke=self._on_revoke,
            on_lost=self._on_lost,
        )

    def poll(self, *, timeout_s: float, limit: int) -> Polled:
        """As Source promises. What was lost, was lost before the gained was gained."""
        self._pause(limit == 0)
        messages = self._await(timeout_s, limit)
        records = self._records(messages)
        if self._raised is not None:
            self._raise(read=bool(records))
        gained, lost = frozenset(self._gained), frozenset(self._lost)
        self._gained, self._lost = set(), set()
        return Polled(records, gained, lost)

    def begin(self, offsets: Mapping[Partition, int]) -> None:
        """As Source promises; partitions that are not ours any more are passed over."""
        ours = [
            TopicPartition(*partition, offset)
            for partition, offset in offsets.items()
            if partition in self._owned
        ]
        if not self._paused:
            self._consumer.resume(ours)
        for at in ours:
            self._seek(at)
            self._next[(at.topic, at.partition)] = at.offset

    def committed(self, partitions: Sequence[Partition]) -> dict[Partition, int]:
        """As Source promises. Waits for open transactions on these offsets."""
        if not partitions:
            return {}
        asked = [TopicPartition(*partition) for partition in partitions]
        try:
            answers = self._consumer.committed(asked, timeout=REQUEST_S)
        except KafkaException as error:
            raise fate(error.args[0], self._config) from error
        for answer in answers:
            if answer.error is not None:
                raise fate(answer.error, self._config)
        return {(at.topic, at.partition): at.offset for at in answers if at.offset >= 0}

    def bounds(self, partitions: Sequence[Partition]) -> dict[Partition, tuple[int, int]]:
        """As Source promises; the end is that of what is committed."""
        return _bounds(self._consumer, partitions, self._config)

    def lag(self) -> dict[Partition, int]:
        """Records between us and the end of each partition that we read; asks nobody."""
        behind: dict[Partition, int] = {}
        for partition, offset in self._next.items():
            at = TopicPartition(*partition)
            _, end = self._consumer.get_watermark_offsets(at, cached=True)
            behind[partition] = max(0, end - offset)
        return behind

    def holds(self, partitions: Collection[Partition]) -> bool:
        """Whether all of these are ours and have begun."""
        return self._next.keys() >= set(partitions)

    def group_metadata(self) -> object:
        """Our membership, for a transaction to be refused once it is over."""
        return self._consumer.consumer_group_metadata()

    def commit(self, next_offsets: Mapping[Partition, int]) -> None:
        """Commits; a refusal because the partitions move is none: the new owner replays."""
        offsets = _positions(next_offsets)
        try:
            committed = self._consumer.commit(offsets=offsets, asynchronous=False)
            refusals = [at.error for at in committed if at.error is not None]
        except KafkaException as error:
            refusals = [error.args[0]]
        for refusal in refusals:
            if refusal.name() not in MOVED:
                raise fate(refusal, self._config)
            log.info("commit_refused", group=self.group, error=refusal.name())

    def close(self) -> None:
        """Stops reading; calls no `before_revoke`, and the membership stays until it times
        out."""
        self._before_revoke = None
        self._consumer.close()

    def _await(self, timeout_s: float, limit: int) -> list[Message]:
        deadline = time.monotonic() + timeout_s
        while True:
            left_s = deadline - time.monotonic()
            messages = _take(
                self._consumer, limit, timeout_s=max(0.0, min(left_s, SLICE_S))
            )
            changed = self._gained or self._lost or self._raised
            if messages or changed or left_s <= SLICE_S:
                return messages

    def _records(self, messages: list[Message]) -> list[Record]:
        """Those of partitions that have begun, from where they began."""
        records, expected = list[Record](), self._next
        for message in messages:
            if (error := message.error()) is not None:
                self._note(error, message.topic())
                continue
            record = _record(message)
            partition = (record.topic, record.partition)
            if record.offset >= expected.get(partition, NEVER):
                expected[partition] = record.offset + 1
                records.append(record)
        return records

    def _note(self, error: KafkaError, topic: str | None) -> None:
        """Stops us by `poll` where nothing will get better; else the client mends itself."""
        self.errors[error.name()] += 1
        log.warning("kafka_read", error=error.name(), message=error.str(), topic=topic)
        if self._raised is not None:
            return
        try:
            if error.name() in MISSING and topic is not None:
                _numbers(self._consumer, topic, self._config)  # one broker may lag behind
            elif isinstance(ends := fate(_named(error), self._config), FatalError):
                raise ends
        except (FatalError, TransientError) as error_that_ends:
            self._raised = error_that_ends

    def _raise(self, *, read: bool) -> NoReturn:
        """What this poll has read is read again by the next."""
        raised, self._raised = self._raised, None
        assert raised is not None
        if read and not isinstance(raised, FatalError):
            self.begin(dict(self._next))
        raise raised

    def _pause(self, pause: bool) -> None:
        if pause == self._paused:
            return
        self._paused = pause
        if pause:
            self._consumer.pause([TopicPartition(*partition) for partition in self._next])
        else:
            self.begin(dict(self._next))

    def _seek(self, at: TopicPartition) -> None:
        """A partition takes an offset only once its fetcher runs, just after the assignment."""
        deadline = time.monotonic() + SETTLE_S
        while True:
            try:
                return self._consumer.seek(at)
            except KafkaException as error:
                reason = error.args[0]
            if time.monotonic() > deadline:
                raise fate(reason, self._config)
            time.sleep(0.001)

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        at_rest = [TopicPartition(at.topic, at.partition, OFFSET_END) for at in partitions]
        (consumer.incremental_assign if self._cooperative else consumer.assign)(at_rest)
        if at_rest:
            consumer.pause(at_rest)
        gained = {(at.topic, at.partition) for at in partitions}
        self._owned |= gained
        self._gained |= gained

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        known = frozenset((at.topic, at.partition) for at in partitions) - self._gained
        if self._before_revoke is not None and known:
            try:
                self._before_revoke(known)
            except Exception as error:  # noqa: BLE001  # poll raises it, out of the callback
                self._raised = error
        self._on_lost(consumer, partitions)

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        lost = {(at.topic, at.partition) for at in partitions}
        self._owned -= lost
        self._lost |= lost - self._gained
        self._gained -= lost
        for partition in lost:
            self._next.pop(partition, None)
        if self._cooperative:
            consumer.incremental_unassign(partitions)
        else:
            consumer.unassign()


def _take(consumer: Consumer, limit: int, *, timeout_s: float) -> list[Message]:
    """Waits for one, then takes what is there: consume(n) alone waits for all n."""
    messages: list[Message] = consumer.consume(1, timeout_s)
    if messages and limit > 1:
        messages += consumer.consume(min(limit - 1, 1_000_000), 0)
    return messages


def _record(message: Any) -> Record:  # its parts are optional to the types alone
    return Record(
        message.topic(),
        message.partition(),
        message.offset(),
        message.timestamp()[1],
        message.key(),
        message.value(),
        tuple(message.headers() or ()),
    )


def _end(message: Any) -> tuple[Partition, int]:
    return (message.topic(), message.partition()), message.offset()


def _named(error: KafkaError) -> KafkaError:
    """A consumer wraps the one thing that ends it in an error without a name of its own."""
    fenced = KafkaError(KafkaError.FENCED_INSTANCE_ID)
    return fenced if error.name() == "_FATAL" and fenced.str() in error.str() else error


def _positions(offsets: Mapping[Partition, int]) -> list[TopicPartition]:
    return [TopicPartition(*partition, offset) for partition, offset in offsets.items()]


def _bounds(
    consumer: Consumer, partitions: Iterable[Partition], config: KafkaConfig
) -> dict[Partition, tuple[int, int]]:
    return {at: _bound(consumer, at, config) for at in partitions}


def _bound(consumer: Consumer, at: Partition, config: KafkaConfig) -> tuple[int, int]:
    """Asked again for a while: just after a topic is made, its partitions have no leader."""
    deadline = time.monotonic() + SETTLE_S
    while True:
        try:
            return consumer.get_watermark_offsets(TopicPartition(*at), REQUEST_S)
        except KafkaException as error:
            reason = fate(error.args[0], config)
        if isinstance(reason, FatalError) or time.monotonic() > deadline:
            raise reason
        time.sleep(SLICE_S)


def _numbers(consumer: Consumer, topic: str, config: KafkaConfig) -> list[int]:
    """The numbers of a topic's partitions. Asked again for a while: a broker may answer
    before it has heard of a topic just made."""
    deadline = time.monotonic() + SETTLE_S
    while True:
        try:
            found = consumer.list_topics(topic, timeout=REQUEST_S).topics[topic]
        except KafkaException as error:
            raise fate(error.args[0], config) from error
        if found.error is None:
            return sorted(found.partitions)
        if time.monotonic() > deadline:
            raise fate(found.error, config)
        time.sleep(SLICE_S)


def _producer(config: KafkaConfig, **more: Any) -> Producer:
    """Connected: the first record of an idempotent producer that is not waits for 500 ms."""
    producer = Producer(writing(config, **more))
    try:
        producer.list_topics(timeout=REQUEST_S)
    except KafkaException as error:
        raise fate(error.args[0], config) from error
    return producer


class TransactionalSink:
    """Records and the group's offsets in one transaction a call."""

    def __init__(self, config: KafkaConfig, source: KafkaSource) -> None:
        """Ends what an earlier process of this name left open, and fences it."""
        self._config, self._source = config, source
        self._limit_s = config.transaction_timeout_ms / 1000 * 0.6
        self._producer = _producer(
            config,
            **{
                "transactional.id": f"{source.group}-{config.worker}",
                "transaction.timeout.ms": config.transaction_timeout_ms,
                "message.timeout.ms": int(self._limit_s * 1000),
            },
        )
        try:
            _retried(self._producer.init_transactions, limit_s=2 * REQUEST_S)
        except KafkaException as error:
            raise fate(error.args[0], config) from error

    def publish(
        self, outbound: Sequence[Outbound], next_offsets: Mapping[Partition, int]
    ) -> None:
        """As Sink promises. FatalError also where the outcome can't be known: a restart
        settles it, and the committed offsets tell it."""
        if not outbound and not next_offsets:
            return
        if not self._source.holds(next_offsets):  # a broker asks only for membership
            raise Restarted("the partitions are no longer ours", frozenset(next_offsets))
        deadline = time.monotonic() + self._limit_s
        try:
            self._producer.begin_transaction()
            _send(self._producer, outbound, deadline=deadline)
            if next_offsets:
                self._send_offsets(_positions(next_offsets), deadline=deadline)
        except KafkaException as error:
            self._roll_back(error.args[0], next_offsets)
        self._commit(next_offsets)

    def close(self) -> None:
        """Every call to `publish` is over by its return: there is nothing to wait for."""
        self._producer.close()

    def _send_offsets(self, offsets: list[TopicPartition], *, deadline: float) -> None:
        metadata = self._source.group_metadata()
        _retried(
            lambda left_s: self._producer.send_offsets_to_transaction(
                offsets, metadata, left_s
            ),
            limit_s=deadline - time.monotonic(),
        )

    def _commit(self, next_offsets: Mapping[Partition, int]) -> None:
        """Once asked for, a commit can't be taken back: its answer is waited for beyond the
        broker's own limit."""
        try:
            _retried(
                self._producer.commit_transaction,
                limit_s=REQUEST_S + self._config.transaction_timeout_ms / 1000,
            )
        except KafkaException as error:
            if not error.args[0].txn_requires_abort():
                raise self._ends(error.args[0]) from error
            self._roll_back(error.args[0], next_offsets)

    def _roll_back(
        self, reason: KafkaError, next_offsets: Mapping[Partition, int]
    ) -> NoReturn:
        if reason.fatal():
            raise self._ends(reason)
        try:
            _retried(self._producer.abort_transaction, limit_s=REQUEST_S)
        except KafkaException as error:
            raise self._ends(error.args[0]) from error
        meant = fate(reason, self._config)
        if isinstance(meant, FatalError) and reason.code() != KafkaError.FENCED_INSTANCE_ID:
            raise meant
        log.warning("transaction_aborted", error=reason.name(), message=reason.str())
        raise Restarted(str(meant), frozenset(next_offsets))

    def _ends(self, reason: KafkaError) -> FatalError:
        meant = fate(reason, self._config)
        return (
            meant if isinstance(meant, FatalError) else FatalError(f"{meant}: start again")
        )


class AcknowledgedSink:
    """Records first, then the group's offsets: nothing is lost, and a crash between the two
    writes again. For records whose ids tell their repetition."""

    def __init__(self, config: KafkaConfig, source: KafkaSource) -> None:
        self._source = source
        self._writer = Writer(config)

    def publish(
        self, outbound: Sequence[Outbound], next_offsets: Mapping[Partition, int]
    ) -> None:
        """All acknowledged, then the offsets; TransientError where it was not all."""
        self._writer.write(outbound)
        if next_offsets:
            self._source.commit(next_offsets)

    def close(self) -> None:
        self._writer.close()


class Writer:
    """Writes without a group and without a transaction; every record acknowledged by all
    replicas, none doubled by a retry."""

    def __init__(self, config: KafkaConfig, *, limit_s: float = REQUEST_S) -> None:
        self._config, self._limit_s = config, limit_s
        self._producer = _producer(config, **{"message.timeout.ms": int(limit_s * 1000)})

    def write(self, outbound: Sequence[Outbound]) -> None:
        """Returns when all are acknowledged. Raises TransientError, some of them perhaps
        written, or FatalError where no retry helps."""
        try:
            _send(self._producer, outbound, deadline=time.monotonic() + self._limit_s + 1)
        except KafkaException as error:
            raise fate(error.args[0], self._config) from error

    def close(self) -> None:
        self._producer.close()


class LiveWriter:
    """Hands records over without waiting for each one: for tools, which pace themselves."""

    def __init__(self, config: KafkaConfig) -> None:
        self.sent = self.acknowledged = 0
        self._config = config
        self._failed: list[KafkaError] = []
        self._producer = _producer(config, **{"message.timeout.ms": 30_000})

    def send(self, record: Outbound) -> None:
        """Waits only for room. Raises what went wrong with an earlier one."""
        deadline = time.monotonic() + REQUEST_S
        try:
            _produce(self._producer, record, self._report, deadline=deadline)
        except KafkaException as error:
            raise fate(error.args[0], self._config) from error
        self.sent += 1
        self.settle(timeout_s=0)

    def settle(self, *, timeout_s: float) -> int:
        """Waits for acknowledgements, at most so long; how many are still missing."""
        self._producer.flush(timeout_s) if timeout_s else self._producer.poll(0)
        if self._failed:
            raise fate(self._failed[0], self._config)
        return self.sent - self.acknowledged

    def close(self) -> None:
        self._producer.close()

    def _report(self, error: KafkaError | None, _: Message) -> None:
        if error is None:
            self.acknowledged += 1
        else:
            self._failed.append(error)


def _send(producer: Producer, outbound: Sequence[Outbound], *, deadline: float) -> None:
    """Returns when every record is acknowledged; raises the first error otherwise."""
    failed: list[KafkaError] = []
    acknowledged = 0

    def report(error: KafkaError | None, _: Message) -> None:
        nonlocal acknowledged
        acknowledged += 1
        if error is not None:
            failed.append(error)

    for record in outbound:
        _produce(producer, record, report, deadline=deadline)
    producer.flush(max(0.0, deadline - time.monotonic()))
    if failed:
        raise KafkaException(failed[0])
    if acknowledged < len(outbound):
        missing = len(outbound) - acknowledged
        raise KafkaException(
            KafkaError(KafkaError._TIMED_OUT, f"{missing} not acknowledged")
        )


def _produce(
    producer: Producer,
    record: Outbound,
    report: Callable[[KafkaError | None, Message], None],
    *,
    deadline: float,
) -> None:
    partition = -1 if record.partition is None else record.partition
    while True:
        try:
            return producer.produce(
                record.topic,
                record.value,
                record.key,
                partition,
                report,
                headers=list(record.headers),
            )
        except BufferError as error:
            if time.monotonic() > deadline:
                full = KafkaError(KafkaError._TIMED_OUT, "the queue stays full")
                raise KafkaException(full) from error
            producer.poll(SLICE_S)


def _retried(call: Callable[[float], None], *, limit_s: float) -> None:
    """Calls with the seconds left, again while the error is one to retry and time is left."""
    deadline = time.monotonic() + limit_s
    while True:
        left_s = max(0.1, deadline - time.monotonic())
        try:
            return call(left_s)
        except KafkaException as error:
            if not error.args[0].retriable() or time.monotonic() >= deadline:
                raise
            time.sleep(SLICE_S)


class KafkaTable:
    """All partitions of compacted topics from their beginning, without a group."""

    def __init__(
        self,
        config: KafkaConfig,
        *,
        topics: Sequence[str],
        only: Collection[int] | None = None,
    ) -> None:
        """Opens at the start. `only`: these partition numbers."""
        self._config = config
        self._consumer = Consumer(
            reading(
                config,
                **{
                    "group.id": f"{config.group}-table-{uuid.uuid4()}",
                    "auto.offset.reset": "earliest",
                    "enable.partition.eof": True,
                },
            )
        )
        partitions = [
            (topic, number)
            for topic in topics
            for number in _numbers(self._consumer, topic, config)
            if only is None or number in only
        ]
        bounds = _bounds(self._consumer, partitions, config)
        self._end = {at: end for at, (first, end) in bounds.items() if first < end}
        self._next = {at: bounds[at][0] for at in self._end}
        self._consumer.assign([TopicPartition(*at, OFFSET_BEGINNING) for at in partitions])

    def refresh(self, *, limit: int, timeout_s: float) -> list[Record]:
        """As Table promises."""
        records: list[Record] = []
        for message in _take(self._consumer, limit, timeout_s=timeout_s):
            error = message.error()
            if error is None:
                record = _record(message)
                records.append(record)
                self._reach((record.topic, record.partition), record.offset + 1)
            elif error.code() == KafkaError._PARTITION_EOF:
                # past control records and what was compacted away
                self._reach(*_end(message))
            elif isinstance(ends := fate(error, self._config), FatalError):
                raise ends
            else:
                log.warning("kafka_table", error=error.name(), message=error.str())
        return records

    def behind(self) -> int:
        """As Table promises; offsets that hold no record are counted until they are passed."""
        return sum(end - self._next[at] for at, end in self._end.items())

    def close(self) -> None:
        self._consumer.close()

    def _reach(self, at: Partition, offset: int) -> None:
        """Partitions that are read to their end at opening are no longer counted."""
        if at in self._end:
            self._next[at] = offset
            if offset >= self._end[at]:
                del self._end[at], self._next[at]


class KafkaTail:
    """What is written to topics from now on, or from their start; committed, no group.
    `starts`: the first offset that each partition still had at opening."""

    def __init__(
        self, config: KafkaConfig, *, topics: Sequence[str], from_start: bool = False
    ) -> None:
        self._config = config
        group = {"group.id": f"{config.group}-tail-{uuid.uuid4()}"}
        self._consumer = Consumer(reading(config, **group))
        partitions = [
            (topic, number)
            for topic in topics
            for number in _numbers(self._consumer, topic, config)
        ]
        bounds = _bounds(self._consumer, partitions, config)
        self.starts = {at: first for at, (first, _) in bounds.items()}
        ends = {at: end for at, (_, end) in bounds.items()}
        self._consumer.assign(_positions(self.starts if from_start else ends))

    def refresh(self, *, limit: int, timeout_s: float) -> list[Record]:
        """The next records, waiting at most so long for the first."""
        records: list[Record] = []
        for message in _take(self._consumer, limit, timeout_s=timeout_s):
            if (error := message.error()) is None:
                records.append(_record(message))
            elif isinstance(ends := fate(error, self._config), FatalError):
                raise ends
        return records

    def close(self) -> None:
        self._consumer.close()


def read_partition(config: KafkaConfig, topic: str, partition: int) -> Iterator[Record]:
    """What is in the partition now, from its first record to its last."""
    table = KafkaTable(config, topics=[topic], only=[partition])

    def read() -> Iterator[Record]:
        silent_since = time.monotonic()
        try:
            while table.behind():
                records = table.refresh(limit=1000, timeout_s=SLICE_S)
                yield from records
                if records:
                    silent_since = time.monotonic()
                elif time.monotonic() - silent_since > REQUEST_S:
                    raise TransientError(f"Kafka: {topic} [{partition}] gives no records")
        finally:
            table.close()

    return read()
