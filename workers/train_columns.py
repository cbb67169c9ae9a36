"""The event log as columns on a local disk, so that a restart does not read it again.

A folder of segments, `events-00000001.npz` and so on, each written whole and renamed into
place; only the newest is ever written again, until it is full. The newest also holds where to
read on and who was erased, so that columns and progress are of one moment.

An Erase takes the user's rows out: from memory at once, then from the files, the newest first
(it has the tombstone: the hash of the user id and the time) and then each older segment that
has rows of the user, written again without them. A crash between the two is mended at the next
opening, where all tombstones are held against all segments.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray

from encoders.law import CODES, hash64, item_hash
from ranking.learn_log import LearnItems, LearnLog
from schemas import Erase, Interaction, Undo
from workers.decode import Accepted
from workers.ports import Partition

log = structlog.get_logger(__name__)
UNDO = 255
FORMAT = "streamrec-columns-1"
ROW = np.dtype(
    [
        ("user", "<u8"), ("item", "<u8"), ("event", "<u8"), ("at_ms", "<i8"),
        ("offset", "<i8"), ("value", "<f4"), ("partition", "<i4"), ("kind", "u1"),
    ]
)  # fmt: skip
"""One record. `event`: hash of user and event id; of an Undo (kind 255) that of what it undoes."""

Rows = NDArray[Any]


@dataclass(slots=True, eq=False)
class Segment:
    """Rows and the number of their file; `stale`: the file has others."""

    number: int
    rows: Rows
    stale: bool = False


@dataclass(slots=True, eq=False, kw_only=True)
class Columns:
    """All that is kept. `log_id` names the topic that it was read from: another topic's
    columns are left behind. Well past `limit` rows the oldest go."""

    folder: Path
    log_id: str
    limit: int
    size: int = 100_000
    segments: list[Segment] = field(default_factory=list)
    added: list[tuple[Any, ...]] = field(default_factory=list)
    next_offsets: dict[int, int] = field(default_factory=dict)
    erased: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        for path in sorted(self.folder.glob("events-*.npz")):
            with np.load(path, allow_pickle=False) as file:
                if str(file["log"]) != f"{FORMAT} {self.log_id}":
                    log.warning("columns_of_another_log", folder=str(self.folder))
                    self._forget()
                    return
                rows, next_, erased = file["rows"], file["next"], file["erased"]
            self.segments.append(Segment(int(path.stem.removeprefix("events-")), rows))
            self.next_offsets = dict(next_.tolist())
            self.erased = dict(
                zip(erased["user"].tolist(), erased["at_ms"].tolist(), strict=True)
            )
        self._erase(self.erased)
        self.save()

    def __len__(self) -> int:
        """Rows kept, undos among them."""
        return sum(len(segment.rows) for segment in self.segments) + len(self.added)

    def starts(self, topic: str) -> dict[Partition, int]:
        """Where to read on."""
        return {(topic, number): offset for number, offset in self.next_offsets.items()}

    def add(self, accepted: Iterable[Accepted], next_offsets: Mapping[int, int]) -> None:
        """Take these in. What is read twice is kept once."""
        erased: dict[int, int] = {}
        for one in accepted:
            user = hash64(one.event.user_id)
            if one.record.offset < self.next_offsets.get(one.record.partition, 0):
                continue
            if isinstance(one.event, Erase):
                erased[user] = max(one.at_ms, erased.get(user, -1))
                self.erased[user] = max(one.at_ms, self.erased.get(user, -1))
            elif one.at_ms > self.erased.get(user, -1):
                self._append(one, user)
        self.next_offsets |= next_offsets
        if len(self.added) >= self.size or erased:
            self._fold()
        if erased:
            self._erase(erased)
            self.save()

    def save(self) -> None:
        """Everything is on the disk when this returns, the newest segment first."""
        self._fold()
        self._trim()
        if not self.segments and self.next_offsets:
            self.segments.append(Segment(1, np.empty(0, ROW), stale=True))
        for segment in reversed(self.segments):
            if segment.stale or segment is self.segments[-1]:
                self._write(segment)
                segment.stale = False

    def view(self, items: LearnItems) -> LearnLog:
        """What holds now, in the order of its own time: at most `limit` events."""
        self._fold()
        rows = np.concatenate([np.empty(0, ROW), *(s.rows for s in self.segments)])
        undone = rows["event"][rows["kind"] == UNDO]
        rows = rows[(rows["kind"] != UNDO) & ~np.isin(rows["event"], undone)]
        # of doubles the first that arrived counts, as in the fold
        rows = rows[np.lexsort((rows["offset"], rows["partition"]))]
        rows = rows[np.sort(np.unique(rows["event"], return_index=True)[1])]
        rows = rows[np.argsort(rows["at_ms"], kind="stable")][-self.limit :]
        return LearnLog(
            user_E=rows["user"].copy(),
            item_E=rows["item"].copy(),
            kind_E=rows["kind"].copy(),
            value_E=rows["value"].copy(),
            at_ms_E=rows["at_ms"].copy(),
            offset_E=rows["offset"].copy(),
            partition_E=rows["partition"].copy(),
            items=items,
        )

    def _append(self, one: Accepted, user: int) -> None:
        event, record = one.event, one.record
        if isinstance(event, Undo):
            item, name, kind, value = 0, event.undoes, UNDO, None
        elif isinstance(event, Interaction):
            item, name, kind = item_hash(event.item_id), event.event_id, CODES[event.kind]
            value = event.value
        else:
            return
        self.added.append(
            (
                user, item, hash64(f"{event.user_id}\0{name}"), one.at_ms, record.offset,
                np.nan if value is None else value, record.partition, kind,
            )
        )  # fmt: skip

    def _fold(self) -> None:
        """What was added, into the newest segment, and into new ones where it is full."""
        rows, self.added = np.array(self.added, ROW), []
        while len(rows):
            if not self.segments or len(self.segments[-1].rows) >= self.size:
                number = self.segments[-1].number + 1 if self.segments else 1
                self.segments.append(Segment(number, np.empty(0, ROW), stale=True))
            newest = self.segments[-1]
            room = self.size - len(newest.rows)
            newest.rows = np.concatenate([newest.rows, rows[:room]])
            newest.stale, rows = True, rows[room:]

    def _trim(self) -> None:
        """Beyond a quarter over the limit the oldest by their own time go: a log that is read
        for the first time comes a partition at a time."""
        if len(self) <= self.limit + self.limit // 4:
            return
        at_ms = np.concatenate([segment.rows["at_ms"] for segment in self.segments])
        since_ms = np.partition(at_ms, -self.limit)[-self.limit]
        for segment in self.segments:
            young = segment.rows["at_ms"] >= since_ms
            if not young.all():
                segment.rows, segment.stale = segment.rows[young], True
        for segment in [s for s in self.segments[:-1] if not len(s.rows)]:
            self.segments.remove(segment)
            self._file(segment).unlink(missing_ok=True)

    def _erase(self, erased: Mapping[int, int]) -> None:
        if not erased:
            return
        user = np.array(sorted(erased), np.uint64)
        until = np.array([erased[name] for name in user.tolist()], np.int64)
        for segment in self.segments:
            at = np.minimum(np.searchsorted(user, segment.rows["user"]), len(user) - 1)
            gone = (user[at] == segment.rows["user"]) & (segment.rows["at_ms"] <= until[at])
            if gone.any():
                segment.rows, segment.stale = segment.rows[~gone], True

    def _write(self, segment: Segment) -> None:
        erased = np.array(sorted(self.erased.items()), [("user", "<u8"), ("at_ms", "<i8")])
        path = self._file(segment)
        half = path.with_suffix(".half")
        with half.open("wb") as file:
            np.savez(
                file,
                log=np.array(f"{FORMAT} {self.log_id}"),
                rows=segment.rows,
                next=np.array(sorted(self.next_offsets.items()), np.int64).reshape(-1, 2),
                erased=erased,
            )
            file.flush()
            os.fsync(file.fileno())
        half.replace(path)

    def _file(self, segment: Segment) -> Path:
        return self.folder / f"events-{segment.number:08d}.npz"

    def _forget(self) -> None:
        for path in self.folder.glob("events-*.npz"):
            path.unlink()
        self.segments, self.next_offsets, self.erased = [], {}, {}
