"""The doors: what the paths need of the outside, named by what it is to us.

Adapters: kafka.py (Source, Sink, Table), qdrant.py (UserStore, ItemIndex); memory.py has
in-memory ones of all, for tests, evaluation and small tools. One contract suite
(tests/contract) runs over every implementation.

Errors are fates. DecodeError: set the record aside. TransientError: try again. Restarted:
the batch is not done, its partitions begin again from their progress. Anything else: stop.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ranking.index import NEVER_MS, Ask, Found, IndexedItem

Partition = tuple[str, int]
"""(topic, number)."""

Headers = tuple[tuple[str, bytes], ...]


class TransientError(Exception):
    """The same call may work later."""


class Restarted(Exception):
    """The batch was not committed: its partitions must begin again from their progress."""

    def __init__(
        self, message: str, partitions: frozenset[Partition], cause: str = "rolled_back"
    ) -> None:
        super().__init__(message)
        self.partitions, self.cause = partitions, cause


class FatalError(Exception):
    """This process can't go on (fenced, refused); the message says what to do."""


@dataclass(frozen=True, slots=True)
class Record:
    """Bytes from the log, with their address and the broker's timestamp."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()

    def header(self, name: str) -> str | None:
        for key, value in self.headers:
            if key == name and value is not None:
                return value.decode("utf-8", "replace")
        return None


@dataclass(frozen=True, slots=True)
class Outbound:
    """A record to be written. `partition` None: by the key (murmur2)."""

    topic: str
    key: bytes | None
    value: bytes | None
    partition: int | None = None
    headers: Headers = ()


@dataclass(frozen=True, slots=True)
class Polled:
    """New records, and how our partitions changed since the last poll. Records of lost
    partitions are already left out; gained ones deliver nothing before `begin`. `joined`:
    whether the group knows us, with partitions or without, and somebody answers."""

    records: Sequence[Record] = ()
    gained: frozenset[Partition] = frozenset()
    lost: frozenset[Partition] = frozenset()
    joined: bool = True


class Source(Protocol):
    """Where records come from: a member of a consumer group."""

    def poll(self, *, timeout_s: float, limit: int) -> Polled:
        """At most `limit` records; waits at most `timeout_s` for the first. With limit 0
        only membership is kept up: nothing is read (the partitions are paused)."""
        ...

    def begin(self, offsets: Mapping[Partition, int]) -> None:
        """Read these partitions from these offsets on (after `gained`, or to go back)."""
        ...

    def committed(self, partitions: Sequence[Partition]) -> dict[Partition, int]:
        """The group's next offsets; a partition without one is left out."""
        ...

    def bounds(self, partitions: Sequence[Partition]) -> dict[Partition, tuple[int, int]]:
        """First offset that the log still has, and the end (high watermark)."""
        ...


class Sink(Protocol):
    """Where records go to."""

    def publish(
        self, outbound: Sequence[Outbound], next_offsets: Mapping[Partition, int]
    ) -> None:
        """All of it and the group's offsets, or nothing: returns only when acknowledged.

        Raises Restarted when the batch was rolled back, FatalError when fenced for good.
        """
        ...


class Table(Protocol):
    """Compacted topics read whole by every worker, without a group."""

    def refresh(self, *, limit: int, timeout_s: float) -> list[Record]:
        """The next records of the tables, oldest first a partition."""
        ...

    def behind(self) -> int:
        """Records between here and the end that the topics had when the table was opened;
        0 from then on."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """Newest record folded into a user: the log by its topic's id, partition, offset."""

    topic_id: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredUser:
    """One point of the user collection. `user_id` is None on the tombstone of an erased user."""

    point_id: str
    user_id: str | None
    interest: NDArray[np.float32]
    applied: Applied
    as_of_ms: int
    model: str
    state: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where folding of a partition stands: `offset` is the next to fold. `writer` and `turn`
    make each writing recognisable, so that someone else's is noticed. `law` is the digest
    of the weights and half-lives that users were folded under."""

    topic_id: str
    partition: int
    offset: int
    writer: str
    turn: int
    law: str = ""


class UserStore(Protocol):
    """Users and the progress of partitions, kept together. All raise TransientError while
    the store can't be reached."""

    def load(self, point_ids: Sequence[str]) -> dict[str, StoredUser]:
        """The users that are there."""
        ...

    def save(self, users: Sequence[StoredUser]) -> int:
        """Write each user that is absent or whose stored `applied` offset is lower; durable
        on return. Returns how many were refused: the store was ahead."""
        ...

    def progress(self, partitions: Sequence[int]) -> dict[int, Progress]:
        """Progress points of these partition numbers, where there are any."""
        ...

    def advance(self, progress: Sequence[Progress]) -> None:
        """Write progress points; durable on return."""
        ...

    def close(self) -> None: ...


USER_NAMESPACE = uuid.UUID("6ba7b812-9dad-11d1-80b4-00c04fd430c8")


def point_id_of(user_id: str) -> str:
    """The id of the user's point: UUIDv5 of the user id (RFC 4122, OID namespace)."""
    return str(uuid.uuid5(USER_NAMESPACE, user_id))


class ItemIndex(Protocol):
    """Exact or approximate nearest items under filters; a projection of rec.item-vectors.v1."""

    def put(self, items: Sequence[IndexedItem]) -> None: ...

    def remove(self, hashes: Sequence[int]) -> None: ...

    def vectors(
        self, hash_E: NDArray[np.uint64]
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """E x D vectors of items (zero where unknown), and which are known."""
        ...

    def search(self, ask: Ask, *, limit: int) -> Found: ...

    def __len__(self) -> int: ...


__all__ = [
    "NEVER_MS",
    "USER_NAMESPACE",
    "Applied",
    "Ask",
    "FatalError",
    "Found",
    "Headers",
    "IndexedItem",
    "ItemIndex",
    "Outbound",
    "Partition",
    "Polled",
    "Progress",
    "Record",
    "Restarted",
    "Sink",
    "Source",
    "StoredUser",
    "Table",
    "TransientError",
    "UserStore",
    "point_id_of",
]
