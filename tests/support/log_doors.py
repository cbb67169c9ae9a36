"""The same log behind two sets of doors, in memory and in Kafka, for one suite over both."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from tests.support.kafka import create_topics
from tests.support.waiting import wait_for
from workers.config import KafkaConfig
from workers.kafka import (
    AcknowledgedSink,
    KafkaSource,
    KafkaTable,
    TransactionalSink,
    Writer,
)
from workers.memory_log import MemoryLog, MemorySink, MemorySource, MemoryTable
from workers.ports import Outbound, Partition, Polled, Record

PARTITIONS = 4
LIMIT_S = 20.0
KINDS = (
    "memory",
    pytest.param("kafka", marks=pytest.mark.wire),
    pytest.param("kafka-range", marks=pytest.mark.wire),
)
ROLES = ("events", "other", "out", "table")
BeforeRevoke = Callable[[frozenset[Partition]], None]


class Doors(Protocol):
    """What the suite needs of a log. `name` gives a role's topic; all have 4 partitions."""

    def name(self, role: str) -> str: ...
    def append(self, *outbound: Outbound) -> None: ...
    def source(
        self,
        *roles: str,
        worker: str = "a",
        before_revoke: BeforeRevoke | None = None,
    ) -> Any: ...
    def sink(self, source: Any) -> Any: ...
    def acknowledged(self, source: Any) -> Any: ...
    def table(self, role: str, only: Sequence[int] | None = None) -> Any: ...
    def read(self, role: str) -> list[Record]: ...
    def expire(self, partition: Partition, first: int) -> None: ...
    def close(self) -> None: ...


class MemoryDoors:
    """The log of workers/memory_log.py."""

    def __init__(self) -> None:
        self.log = MemoryLog(
            dict.fromkeys(ROLES, PARTITIONS), now_ms=lambda: int(time.time() * 1000)
        )

    def name(self, role: str) -> str:
        return role

    def append(self, *outbound: Outbound) -> None:
        self.log.append(outbound)

    def source(
        self,
        *roles: str,
        worker: str = "a",
        before_revoke: BeforeRevoke | None = None,
    ) -> MemorySource:
        return MemorySource(
            self.log, topics=roles, group="g", worker=worker, before_revoke=before_revoke
        )

    def sink(self, source: Any) -> MemorySink:
        return MemorySink(self.log, source)

    acknowledged = sink

    def table(self, role: str, only: Sequence[int] | None = None) -> MemoryTable:
        return MemoryTable(self.log, topics=[role], only=only)

    def read(self, role: str) -> list[Record]:
        return self.log.records(role)

    def expire(self, partition: Partition, first: int) -> None:
        self.log.expire(partition, first)

    def close(self) -> None: ...


class KafkaDoors:
    """A real Kafka's, on topics of their own."""

    def __init__(
        self,
        bootstrap: str,
        prefix: str,
        assignor: Literal["cooperative-sticky", "range"],
    ) -> None:
        self._bootstrap, self._prefix, self._assignor = bootstrap, prefix, assignor
        self._open = ExitStack()
        create_topics(bootstrap, {self.name(role): PARTITIONS for role in ROLES})
        self._writer = self._kept(Writer(self.config("writer")))

    def config(self, worker: str) -> KafkaConfig:
        return KafkaConfig(bootstrap=self._bootstrap, prefix=self._prefix, worker=worker)

    def name(self, role: str) -> str:
        return f"{self._prefix}.{role}"

    def append(self, *outbound: Outbound) -> None:
        self._writer.write(outbound)

    def source(
        self,
        *roles: str,
        worker: str = "a",
        before_revoke: BeforeRevoke | None = None,
    ) -> KafkaSource:
        source = KafkaSource(
            self.config(worker),
            topics=[self.name(role) for role in roles],
            group=f"{self._prefix}-group",
            assignor=self._assignor,
            before_revoke=before_revoke,
        )
        return self._kept(source)

    def sink(self, source: Any) -> TransactionalSink:
        return self._kept(TransactionalSink(self.config(source.worker), source))

    def acknowledged(self, source: Any) -> AcknowledgedSink:
        return self._kept(AcknowledgedSink(self.config(source.worker), source))

    def table(self, role: str, only: Sequence[int] | None = None) -> KafkaTable:
        return self._kept(
            KafkaTable(self.config("reader"), topics=[self.name(role)], only=only)
        )

    def read(self, role: str) -> list[Record]:
        table, records = self.table(role), list[Record]()
        wait_for(
            lambda: (
                records.extend(table.refresh(limit=1000, timeout_s=0.05))
                or not table.behind()
            ),
            limit_s=20,
        )
        return records

    def expire(self, partition: Partition, first: int) -> None:
        admin = AdminClient({"bootstrap.servers": self._bootstrap})
        for answer in admin.delete_records([TopicPartition(*partition, first)]).values():
            answer.result(30)

    def close(self) -> None:
        self._open.close()

    def _kept(self, door: Any) -> Any:
        self._open.callback(door.close)
        return door


@dataclass
class Member:
    """A loop as the workers have it, reduced to reading: gained partitions begin at the
    group's offset, or at the log's start."""

    source: Any
    owned: set[Partition] = field(default_factory=set)
    records: list[Record] = field(default_factory=list)
    history: list[Polled] = field(default_factory=list)

    def turn(self, *, limit: int = 1000, timeout_s: float = 0.05) -> list[Record]:
        polled = self.source.poll(timeout_s=timeout_s, limit=limit)
        self.history.append(polled)
        self.owned = (self.owned - polled.lost) | polled.gained
        if polled.gained:
            gained = sorted(polled.gained)
            starts = {at: first for at, (first, _) in self.source.bounds(gained).items()}
            self.source.begin(starts | self.source.committed(gained))
        self.records += polled.records
        return list(polled.records)

    def positions(self) -> dict[Partition, int]:
        """Behind the last record of each partition that we still own."""
        return {
            (r.topic, r.partition): r.offset + 1
            for r in self.records
            if (r.topic, r.partition) in self.owned
        }


def numbered(topic: str, partition: int, count: int, start: int = 0) -> Iterator[Outbound]:
    """Records whose values are their numbers, into one partition."""
    for number in range(start, start + count):
        yield Outbound(topic, b"k", str(number).encode(), partition=partition)


def owns(doors: Doors, role: str = "events") -> set[Partition]:
    return {(doors.name(role), number) for number in range(PARTITIONS)}


def joined(doors: Doors, worker: str = "a", *roles: str) -> Member:
    """The only member, with every partition."""
    roles = roles or ("events",)
    member = Member(doors.source(*roles, worker=worker))
    everything = set[Partition]().union(*(owns(doors, role) for role in roles))
    take_turns(lambda: member.owned == everything, member)
    return member


def take_turns(until: Callable[[], bool], *members: Member, limit: int = 1000) -> None:
    """Lets the members poll one after the other until something is true."""

    def round_of_turns() -> bool:
        for member in members:
            member.turn(limit=limit)
        return until()

    wait_for(round_of_turns, limit_s=LIMIT_S, what="the members' turns", every_s=0)


def values(member: Member, partition: int) -> list[int]:
    return [int(r.value or b"") for r in member.records if r.partition == partition]
