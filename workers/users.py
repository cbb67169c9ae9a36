"""The users of the partitions that this worker owns: at hand, written behind, fenced.

DESIGN section 3, "Delivery". A partition is folded from its progress point on, without gaps,
into users kept here. Changed users are saved every second and then the progress point
moves. Whoever finds a progress point that is not its own last writing has been overtaken,
or the store was restored: it drops what it holds and folds again from there. That one rule
is crash recovery, failover, restore of a backup and rebuild of an embedded store.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from encoders.law import Law
from encoders.persist import OtherLaw, dumps, loads
from encoders.state import UserState, new_state
from workers.ports import (
    Applied,
    FatalError,
    Partition,
    Progress,
    Record,
    Restarted,
    Source,
    StoredUser,
    UserStore,
    point_id_of,
)


@dataclass(slots=True, eq=False)
class Held:
    """A user at hand: the state, its place in the store and what the store should show."""

    user_id: str
    point_id: str
    partition: int
    state: UserState
    interest: NDArray[np.float32]
    interest_at: int  # offset of the record up to which `interest` is right
    nbytes: int = 0


@dataclass(slots=True, eq=False)
class Owned:
    """A partition that is ours: its last known progress point and where folding stands."""

    progress: Progress | None
    next_offset: int
    listed_from: int  # records below had their lists before
    newest_ms: int = 0  # the broker's timestamp of the newest record folded
    moved: bool = False


@dataclass(slots=True, eq=False)
class Users:
    """All users at hand. One thread."""

    store: UserStore
    law: Law
    topic: str
    topic_id: str
    writer: str
    width: int
    model: str
    cache_bytes: int
    encode: Callable[[Sequence[Held]], object]  # brings `interest` up to the state
    owned: dict[int, Owned] = field(default_factory=dict)
    held: dict[str, Held] = field(default_factory=dict)
    dirty: dict[str, None] = field(default_factory=dict)
    nbytes: int = 0
    turn: int = 0
    refused: int = 0

    def begin(self, partitions: Iterable[int], source: Source) -> dict[Partition, int]:
        """Take partitions up at their progress points; returns where to read from."""
        numbers = sorted(partitions)
        keys = [(self.topic, number) for number in numbers]
        found = self.store.progress(numbers)
        committed, bounds = source.committed(keys), source.bounds(keys)
        self.lose(numbers)
        start: dict[Partition, int] = {}
        for number, key in zip(numbers, keys, strict=True):
            at = self._start_of(found.get(number), committed.get(key), bounds[key], key)
            self.owned[number] = at
            start[key] = at.next_offset
        return start

    def _start_of(
        self,
        progress: Progress | None,
        committed: int | None,
        bounds: tuple[int, int],
        key: Partition,
    ) -> Owned:
        first = bounds[0]
        if progress is not None and progress.law != self.law.digest:
            raise FatalError(
                f"the users in the store were folded under law {progress.law} and this worker "
                f"has law {self.law.digest}; restore the weights and half-lives, or fold the "
                "log afresh with `rec rebuild`"
            )
        if progress is None:
            return Owned(None, first, first if committed is None else committed)
        if progress.topic_id != self.topic_id:
            raise FatalError(
                f"the store was filled from another topic {key[0]} (id {progress.topic_id}, "
                f"now {self.topic_id}); point the worker at its own store, or run `rec rebuild`"
            )
        listed_from = progress.offset if committed is None else committed
        at = min(progress.offset, listed_from)
        if at < first:
            raise FatalError(
                f"{key[0]}/{key[1]} begins at offset {first}, but users are folded only up to "
                f"{at}: the records between are gone. Restore a younger backup of the store, or "
                "accept the loss with `rec rebuild`"
            )
        return Owned(progress, at, listed_from)

    def lose(self, partitions: Iterable[int]) -> None:
        """Forget partitions and their users, saved or not."""
        gone = set(partitions)
        for number in gone:
            self.owned.pop(number, None)
        for user_id in [u for u, held in self.held.items() if held.partition in gone]:
            self.nbytes -= self.held.pop(user_id).nbytes
            self.dirty.pop(user_id, None)

    def fetch(self, wanted: dict[str, int]) -> dict[str, Held]:
        """The users (id -> partition that a record of theirs stands in), loaded where they
        are not at hand, new where nobody knows them. A user known from another partition
        comes back with that partition: the caller refuses the record."""
        missing = {point_id_of(u): u for u in wanted if u not in self.held}
        stored = self.store.load(list(missing)) if missing else {}
        for point_id, user_id in missing.items():
            self._hold(self._read(stored.get(point_id), user_id, point_id, wanted[user_id]))
        for user_id in wanted:
            self.held[user_id] = self.held.pop(user_id)  # the freshest stand last
        return {user_id: self.held[user_id] for user_id in wanted}

    def expects(self, user: Held, record: Record) -> bool:
        """Whether this record's partition is the user's: the first by the broker's clock. A
        log that is folded again is not read in the order in which it grew, and a stray that
        was refused then must not be taken for the user now."""
        state, first_ms = user.state, record.timestamp_ms
        if user.partition == record.partition:
            state.since_ms = first_ms if state.since_ms < 0 else state.since_ms
            return True
        if first_ms < state.since_ms and user.partition in self.owned:
            user.partition, user.state = record.partition, new_state(self.law)
            user.state.since_ms = first_ms
            return True
        return False

    def peek(self, user_id: str) -> Held | None:
        """A stored user that is ours, without keeping it at hand."""
        point_id = point_id_of(user_id)
        stored = self.store.load([point_id]).get(point_id)
        if stored is None or stored.applied.partition not in self.owned:
            return None
        return self._read(stored, user_id, point_id, stored.applied.partition)

    def _read(
        self, stored: StoredUser | None, user_id: str, point_id: str, partition: int
    ) -> Held:
        nothing = np.zeros(self.width, np.float32)
        if stored is None:
            return Held(user_id, point_id, partition, new_state(self.law), nothing, -1)
        if stored.applied.topic_id != self.topic_id:
            raise FatalError(
                f"a stored user was folded from another topic (id {stored.applied.topic_id}, "
                f"now {self.topic_id}); point the worker at its own store, or run `rec rebuild`"
            )
        try:
            state = loads(stored.state, law=self.law, applied=stored.applied.offset)
        except OtherLaw as error:
            raise FatalError(str(error)) from error
        at = stored.applied
        return Held(user_id, point_id, at.partition, state, stored.interest, at.offset)

    def _hold(self, held: Held) -> None:
        held.nbytes = held.state.nbytes + 4 * self.width
        self.nbytes += held.nbytes
        self.held[held.user_id] = held

    def folded(self, touched: Iterable[Held], records: Sequence[Record]) -> None:
        """These records are folded, and listed, into these users."""
        for held in touched:
            self.dirty[held.user_id] = None
            self.nbytes -= held.nbytes
            held.nbytes = held.state.nbytes + 4 * self.width
            self.nbytes += held.nbytes
        for record in records:
            at = self.owned[record.partition]
            at.next_offset, at.newest_ms, at.moved = (
                record.offset + 1,
                record.timestamp_ms,
                True,
            )
        self._evict()

    def unlisted(self, next_offsets: dict[int, int]) -> dict[Partition, int]:
        """The next offsets that the group has not committed yet: replays commit nothing."""
        return {
            (self.topic, number): offset
            for number, offset in next_offsets.items()
            if offset > self.owned[number].listed_from
        }

    def _evict(self) -> None:
        """Let the least recently touched go, as far as they are saved."""
        if self.nbytes <= self.cache_bytes:
            return
        for user_id in [u for u in self.held if u not in self.dirty]:
            if self.nbytes <= self.cache_bytes:
                return
            self.nbytes -= self.held.pop(user_id).nbytes

    def save(self, partitions: Iterable[int] | None = None) -> None:
        """Save changed users of these partitions (all of ours by default), then progress.

        Raises Restarted naming partitions whose progress point is not what this worker last
        knew: they were folded by someone else, or the store is an older copy.
        """
        ours = self.owned if partitions is None else set(partitions) & self.owned.keys()
        numbers = [n for n in ours if self.owned[n].moved]
        if numbers:
            self.check(numbers)
            self._write(numbers)

    def _write(self, numbers: Sequence[int]) -> None:
        ours = set(numbers)
        chosen = [self.held[u] for u in self.dirty if self.held[u].partition in ours]
        if stale := [held for held in chosen if held.interest_at < held.state.applied]:
            self.encode(stale)
        self.refused += self.store.save([self._point(held) for held in chosen])
        self.turn += 1
        moved = [
            Progress(
                topic_id=self.topic_id,
                partition=n,
                offset=self.owned[n].next_offset,
                writer=self.writer,
                turn=self.turn,
                law=self.law.digest,
            )
            for n in numbers
        ]
        self.store.advance(moved)
        for progress in moved:
            self.owned[progress.partition].progress = progress
            self.owned[progress.partition].moved = False
        for held in chosen:
            self.dirty.pop(held.user_id, None)
        self._evict()

    def check(self, numbers: Sequence[int]) -> None:
        """Raises Restarted for partitions that someone else has folded, or whose store is an
        older copy."""
        found = self.store.progress(numbers)
        other = [n for n in numbers if found.get(n) != self.owned[n].progress]
        if other:
            raise Restarted(
                f"progress of partitions {other} is not what this worker last wrote",
                frozenset((self.topic, n) for n in other),
                "progress_moved",
            )

    def _point(self, held: Held) -> StoredUser:
        state = held.state
        return StoredUser(
            point_id=held.point_id,
            user_id=None if state.as_of_ms < 0 else held.user_id,
            interest=held.interest,
            applied=Applied(
                topic_id=self.topic_id, partition=held.partition, offset=state.applied
            ),
            as_of_ms=state.as_of_ms,
            model=self.model,
            state=dumps(state),
        )
