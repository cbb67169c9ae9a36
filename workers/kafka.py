"""The doors to Kafka: a group's member, two ways to write, tables read whole.

With topics.py the only file that knows confluent_kafka. Traps of librdkafka that shaped it,
each proven by a test or by a broker killed under load:

- consume(n) waits for all n: the first record is waited for alone;
- (un)assign outside a rebalance callback is taken for the answer to a rebalance that waits:
  going back is a seek;
- an offset still to be looked up (END) comes back after a seek and overrides it: partitions
  are assigned by number;
- a pause outlives the loss of its partition, and its end wakes nobody for a second: `begin`
  resumes, then seeks, which does;
- a static member whose coordinator was away for its session is fenced by itself: `_renew`;
- sending offsets may wait for ever once their coordinator is gone: `_in_time`;
- a transaction that follows another waits for it by retries, 20 ms for records and 100 ms
  for offsets, unless told otherwise: `_transact`;
- the first record of an idempotent producer that is not connected waits for 500 ms.
"""

from __future__ import annotations

import json
import time
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from threading import Thread
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import structlog
from confluent_kafka import (
    OFFSET_END,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)

from workers.kafka_options import FENCED, MISSING, MOVED, fate, reading, tell, writing
from workers.ports import (
    FatalError,
    Outbound,
    Partition,
    Polled,
    Record,
    Restarted,
    TransientError,
)
from workers.topics import member_of, offsets_of

if TYPE_CHECKING:
    from workers.config import KafkaConfig

Assignor = Literal["cooperative-sticky", "range"]
BeforeRevoke = Callable[[frozenset[Partition]], None]

REQUEST_S = 30.0  # limit of one question to the broker
SLICE_S = 0.05  # a wait for records is cut into these, so that a rebalance shows at once
SETTLE_S = 3.0  # limit for a new topic to be known and led, an assigned one to be fetched
SILENCE_US = 5_000_000  # without a word from any broker for so long, we are cut off
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
        self._config, self._topics = config, list(topics)
        self._assignor = assignor
        self._before_revoke = before_revoke
        self._owned: set[Partition] = set()
        self._next: dict[Partition, int] = {}
        self._gained: set[Partition] = set()
        self._lost: set[Partition] = set()
        self._raised: Exception | None = None
        self._member, self._astray, self._heard = "", False, True
        self.mend: Callable[[Sequence[Partition]], bool] = lambda _: False
        """What can be done about offsets that stay in an open transaction: the sink's."""
        self._paused = False
        self._consumer = self._joined()

    def poll(self, *, timeout_s: float, limit: int) -> Polled:
        """As Source promises. What was lost, was lost before the gained was gained."""
        self._pause(limit == 0)
        messages = self._await(timeout_s, limit)
        records = self._records(messages)
        if self._astray:
            self._renew()
            records = []
        if self._raised is not None:
            self._raise(read=bool(records))
        gained, lost = frozenset(self._gained), frozenset(self._lost)
        self._gained, self._lost = set(), set()
        return Polled(records, gained, lost, joined=bool(self._member) and self._heard)

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
        """As Source promises. Waits while a transaction on these offsets is open."""
        if not partitions:
            return {}
        try:
            answers = self._committed(partitions)
        except KafkaException as error:
            reason = fate(error.args[0], self._config)
            if isinstance(reason, FatalError) or not self.mend(partitions):
                raise reason from error
            answers = self._committed(partitions)
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
        """Commits for what is ours; a refusal because partitions move is none: their new
        owner replays."""
        offsets = _positions({at: n for at, n in next_offsets.items() if at in self._next})
        if not offsets:
            return
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
        drain, self._before_revoke = self._before_revoke, None
        self._consumer.close()
        self._before_revoke = drain

    def _committed(self, partitions: Sequence[Partition]) -> list[TopicPartition]:
        asked = [TopicPartition(*partition) for partition in partitions]
        limit_s = self._config.transaction_timeout_ms / 1000 + SETTLE_S
        answers: list[TopicPartition] = self._consumer.committed(asked, timeout=limit_s)
        return answers

    def _joined(self) -> Consumer:
        consumer = Consumer(
            reading(
                self._config,
                **{
                    "group.id": self.group,
                    "group.instance.id": self.worker,
                    "partition.assignment.strategy": self._assignor,
                    "session.timeout.ms": self._config.session_timeout_ms,
                    # how soon members hear of a rebalance
                    "heartbeat.interval.ms": min(500, self._config.session_timeout_ms // 3),
                    "max.poll.interval.ms": max(300_000, self._config.session_timeout_ms),
                    "error_cb": lambda error: self._note(error, None),
                    "statistics.interval.ms": 2_000,
                    "stats_cb": self._hear,
                },
            )
        )
        for topic in self._topics:
            _numbers(consumer, topic, self._config)
        consumer.subscribe(
            self._topics,
            on_assign=self._on_assign,
            on_revoke=self._on_revoke,
            on_lost=self._on_lost,
        )
        return consumer

    def _hear(self, statistics: str) -> None:
        """Whether any broker has said something lately: heartbeats are answered twice a second."""
        brokers = json.loads(statistics)["brokers"].values()
        silent_us = [
            b["rxidle"] for b in brokers if b["nodeid"] >= 0 and b["state"] == "UP"
        ]
        self._heard = any(0 <= silence < SILENCE_US for silence in silent_us)

    def _renew(self) -> None:
        """Joins anew, if nobody else has our name.

        A coordinator that was away for longer than our session still knows the member that
        librdkafka has given up by then, and takes us for a second one: whoever is fenced has
        to look who it was. A member that nobody is any more goes with its session.
        """
        deadline = time.monotonic() + self._config.session_timeout_ms / 1000 + SETTLE_S
        while member_of(self._config, self.group, self.worker) not in ("", self._member):
            if time.monotonic() > deadline:
                fenced = KafkaError(KafkaError.FENCED_INSTANCE_ID)
                raise fate(fenced, self._config)
            time.sleep(SLICE_S)
        log.warning("joining_anew", group=self.group)
        self._astray, self._paused = False, False
        self.close()
        self._lose(set(self._owned))
        self._consumer = self._joined()

    def _await(self, timeout_s: float, limit: int) -> list[Message]:
        deadline = time.monotonic() + timeout_s
        while True:
            left_s = deadline - time.monotonic()
            messages = _take(
                self._consumer, limit, timeout_s=max(0.0, min(left_s, SLICE_S))
            )
            changed = self._gained or self._lost or self._raised or self._astray
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
        tell(error, topic)
        if self._raised is not None:
            return
        self._astray |= _is_fenced(error)
        try:
            if error.name() in MISSING and topic is not None:
                _numbers(self._consumer, topic, self._config)  # one broker may lag behind
            elif self._astray:
                pass  # poll looks by whom
            elif isinstance(ends := fate(error, self._config), FatalError):
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
        """At rest at their ends, by number: an end still to be looked up would be taken up
        after `begin`, in place of its offset."""
        gained = {(at.topic, at.partition) for at in partitions}
        try:
            ends = {at: end for at, (_, end) in self.bounds(sorted(gained)).items()}
        except TransientError:
            ends, self._astray = {}, True
        at_rest = [TopicPartition(*at, ends.get(at, OFFSET_END)) for at in gained]
        (consumer.incremental_assign if self._cooperative else consumer.assign)(at_rest)
        consumer.pause(at_rest)
        self._member = consumer.memberid()
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
        self._lose({(at.topic, at.partition) for at in partitions})
        if self._cooperative:
            consumer.incremental_unassign(partitions)
        else:
            consumer.unassign()

    def _lose(self, lost: set[Partition]) -> None:
        """What was gained and not yet told is not told to be lost."""
        self._owned -= lost
        self._lost |= lost - self._gained
        self._gained -= lost
        for partition in lost:
            self._next.pop(partition, None)

    @property
    def _cooperative(self) -> bool:
        return self._assignor == "cooperative-sticky"


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


def _is_fenced(error: KafkaError) -> bool:
    """A consumer wraps the one thing that ends it in an error without a name of its own."""
    fenced = KafkaError(KafkaError.FENCED_INSTANCE_ID)
    return error.name() == fenced.name() or (
        error.name() == "_FATAL" and fenced.str() in error.str()
    )


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


def partition_count(config: KafkaConfig, topic: str) -> int:
    """How many partitions a topic has. FatalError if there is no such topic."""
    consumer = Consumer(
        reading(config, **{"group.id": f"{config.group}-count-{uuid.uuid4()}"})
    )
    try:
        return len(_numbers(consumer, topic, config))
    finally:
        consumer.close()


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
        self._acknowledged: dict[Partition, int] = {}
        self._producer = self._opened()
        source.mend = self._mend

    def publish(
        self, outbound: Sequence[Outbound], next_offsets: Mapping[Partition, int]
    ) -> None:
        """As Sink promises. After Restarted the committed offsets tell what came of it: an
        answer to a commit may be lost. TransientError: the broker is away for long."""
        if not outbound and not next_offsets:
            return
        if not self._source.holds(next_offsets):  # a broker asks only for membership
            raise Restarted("the partitions are no longer ours", frozenset(next_offsets))
        try:
            self._transact(outbound, _positions(next_offsets))
            self._acknowledged.update(next_offsets)
            return
        except KafkaException as error:
            reason = error.args[0]
        log.warning("transaction_failed", error=reason.name(), message=reason.str())
        self._roll_back(reason)
        meant = fate(reason, self._config)
        if isinstance(meant, FatalError) and not reason.fatal():
            raise meant  # it would fail again
        raise Restarted(str(meant), frozenset(next_offsets))

    def close(self) -> None:
        """Every call to `publish` is over by its return: there is nothing to wait for."""
        self._producer.close()

    def _opened(self) -> Producer:
        producer = _producer(
            self._config,
            **{
                "transactional.id": f"{self._source.group}-{self._config.worker}",
                "transaction.timeout.ms": self._config.transaction_timeout_ms,
                "message.timeout.ms": int(self._limit_s * 1000),
                "retry.backoff.ms": 2,  # the pace of offsets, see _transact
            },
        )
        try:
            _retried(producer.init_transactions, limit_s=REQUEST_S)
        except KafkaException as error:
            raise fate(error.args[0], self._config) from error
        return producer

    def _transact(
        self, outbound: Sequence[Outbound], offsets: list[TopicPartition]
    ) -> None:
        """Offsets first: they wait for the transaction before to be closed at our pace, where
        the records would wait for it at librdkafka's, 20 ms at a time (ADR 0010)."""
        producer, deadline = self._producer, time.monotonic() + self._limit_s
        producer.begin_transaction()
        if offsets:
            membership = self._source.group_metadata()
            _retried(
                lambda left_s: _in_time(
                    lambda: producer.send_offsets_to_transaction(
                        offsets, membership, left_s
                    ),
                    limit_s=left_s + SLICE_S,
                ),
                limit_s=self._limit_s,
            )
        _send(producer, outbound, deadline=deadline)
        _retried(producer.commit_transaction, limit_s=REQUEST_S)

    def _mend(self, partitions: Sequence[Partition]) -> bool:
        """Commits again what was acknowledged and is gone; whether there was any.

        Kafka 4.3.1 without a second node, killed between a commit and its markers, takes the
        partitions for deleted and never writes them: these offsets stay open for ever.
        """
        known = {
            at: self._acknowledged[at] for at in partitions if at in self._acknowledged
        }
        there = offsets_of(self._config, self._source.group, list(known))
        gone = {at: offset for at, offset in known.items() if there.get(at, 0) < offset}
        if not gone:
            return False
        log.warning("committed_again", group=self._source.group, partitions=len(gone))
        try:
            self._transact([], _positions(gone))
        except KafkaException as error:
            self._roll_back(error.args[0])
            raise TransientError(f"Kafka: {error.args[0].str()}") from error
        return True

    def _roll_back(self, reason: KafkaError) -> None:
        """Aborts, or, where this producer can't, ends the transaction by a new one."""
        if not reason.fatal():
            try:
                _retried(self._producer.abort_transaction, limit_s=REQUEST_S)
            except KafkaException as error:
                reason = error.args[0]
            else:
                return
        if reason.name() in FENCED:
            raise fate(reason, self._config)
        log.warning("producer_renewed", error=reason.name(), message=reason.str())
        self._producer = self._opened()


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
    """Calls with the seconds left, again while the error is one to retry and time is left.
    A call that another, unfinished one is in the way of is not tried again."""
    deadline = time.monotonic() + limit_s
    while True:
        left_s = max(0.1, deadline - time.monotonic())
        try:
            return call(left_s)
        except KafkaException as error:
            reason = error.args[0]
            hopeless = not reason.retriable() or reason.code() == KafkaError._CONFLICT
            if hopeless or time.monotonic() >= deadline:
                raise
            time.sleep(SLICE_S)


def _in_time(call: Callable[[], None], *, limit_s: float) -> None:
    """Calls, and turns away from a call that does not return: once the group's coordinator
    is gone for good, sending offsets knows no time limit (librdkafka issues 5456, 5511)."""
    outcome = Future[None]()

    def run() -> None:
        try:
            call()
            outcome.set_result(None)
        except BaseException as error:  # noqa: BLE001  # handed to who waits
            outcome.set_exception(error)

    Thread(target=run, name="kafka-offsets", daemon=True).start()
    try:
        outcome.result(limit_s)
    except TimeoutError as error:
        stuck = KafkaError(KafkaError._TIMED_OUT, "offsets can't be sent")
        raise KafkaException(stuck) from error


class KafkaTable:
    """All partitions of compacted topics from their beginning, without a group."""

    def __init__(
        self,
        config: KafkaConfig,
        *,
        topics: Sequence[str],
        only: Collection[int] | None = None,
        starts: Mapping[Partition, int] | None = None,
    ) -> None:
        """Opens at the start. `only`: these partition numbers. `starts`: where to read on;
        what the log no longer has of it is passed over."""
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
        bounds = {
            at: (min(end, max(first, (starts or {}).get(at, first))), end)
            for at, (first, end) in _bounds(self._consumer, partitions, config).items()
        }
        self._end = {at: end for at, (first, end) in bounds.items() if first < end}
        self._next = {at: bounds[at][0] for at in self._end}
        self._consumer.assign(_positions({at: first for at, (first, _) in bounds.items()}))

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
                tell(error)
        return records

    def behind(self) -> int:
        """As Table promises; offsets that hold no record are counted until they are passed."""
        return sum(end - self._next[at] for at, end in self._end.items())

    def ends(self) -> dict[Partition, int]:
        """The end of each partition as last heard; asks nobody."""
        found = {
            (at.topic, at.partition): self._consumer.get_watermark_offsets(at, cached=True)[
                1
            ]
            for at in self._consumer.assignment()
        }
        return {at: end for at, end in found.items() if end >= 0}

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
