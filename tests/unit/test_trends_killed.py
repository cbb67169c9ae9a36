"""The trend worker's own loop in memory, killed anywhere: between and inside every write."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal

import pytest

from ranking.trend_board import TrendBoard
from ranking.trend_config import TrendConfig
from ranking.trend_state import TrendEvent
from ranking.trends import Changes, Trends
from schemas import Erase, Event, Interaction, TrendTable, Undo, decode, encode
from tests.support.small_parts import small_parts  # noqa: F401  # in force by its name
from workers.config import Config, load_config
from workers.health import Health
from workers.ports import Outbound, Record
from workers.trend import AT_ONCE, CONDITIONS, Worker, run, save
from workers.trend_events import decoded

AT_MS, PARTITIONS, ITEMS = 1_764_000_000_000, 2, 8
KINDS: tuple[Literal["click", "view", "like", "hide"], ...] = (
    "click", "view", "like", "hide", "hide",
)  # fmt: skip
ENV = {
    "STREAMREC_TREND__PUBLISH_ROWS": "200",
    "STREAMREC_TREND__SLOTS": "8",
    "STREAMREC_TREND__BUCKETS": "4",
    "STREAMREC_TREND__SAVE_EVERY_S": "1.5",
}
LASTING = load_config(ENV)
FADING = load_config(  # items fade away within the log, and are let go
    ENV
    | {
        "STREAMREC_TREND__HALF_LIVES_S": "[20,40,60,80]",
        "STREAMREC_TREND__WINDOWS_S": "[60]",
        "STREAMREC_TREND__VARIANTS": '[{"name":"near","lag_weights":[1,0.5],'
        '"half_life_ms":30000},{"name":"entry","lag_weights":[1],"first":3,'
        '"half_life_ms":60000}]',
    }
)


class Killed(Exception):
    """The process is gone, wherever it was."""


@dataclass
class Disk:
    """What outlives a worker: the log, the changelogs, the group's offsets, the trends."""

    log: list[list[Record]]
    items: list[dict[str, bytes]] = field(default_factory=lambda: [{}, {}])
    users: list[dict[int, bytes]] = field(default_factory=lambda: [{}, {}])
    committed: list[int] = field(default_factory=lambda: [0, 0])
    trends: list[TrendTable] = field(default_factory=list)


@dataclass
class Door:
    """What faust is to the loop, for one life: it ends after so many steps, if not before."""

    disk: Disk
    chance: random.Random
    steps: float
    dropped: int = 0
    epoch: int = 0
    polled: bool = False

    def __post_init__(self) -> None:
        self.at = list(self.disk.committed)

    def _step(self) -> None:
        self.steps -= 1
        if self.steps < 0:
            raise Killed

    async def start(self) -> None:
        pass

    async def stop(self) -> None:
        pass

    def check(self) -> None:
        pass

    def ready(self) -> bool:
        return True

    def lag(self) -> dict[int, int]:
        return {}

    def owned(self) -> range:
        return range(PARTITIONS)

    def done(self) -> bool:
        return self.polled and self.at == [len(records) for records in self.disk.log]

    async def poll(self, *, limit: int, timeout_s: float) -> list[Record]:
        self._step()
        self.polled = True
        out: list[Record] = []
        for number, records in enumerate(self.disk.log):
            start = self.at[number]
            out += records[start : start + self.chance.randrange(12)]
            self.at[number] = start + sum(r.partition == number for r in out)
        return out

    def items(self, partition: int) -> Mapping[str, bytes]:
        return dict(self.disk.items[partition])

    def user(self, partition: int, name: int) -> bytes | None:
        return self.disk.users[partition].get(name)

    async def save(self, partition: int, changes: Changes) -> None:
        pairs: list[tuple[dict[Any, bytes], Mapping[Any, bytes | None]]] = [
            (self.disk.items[partition], changes.items),
            (self.disk.users[partition], changes.users),
        ]
        for kept, values in pairs:
            for name, value in values.items():
                if self.chance.random() < 0.1:
                    self._step()
                if value is None:
                    self.dropped += kept is self.disk.items[partition]
                    kept.pop(name, None)
                else:
                    kept[name] = value
        self._step()

    async def commit(self, offsets: Mapping[int, int]) -> bool:
        self._step()
        if self.chance.random() < 0.2:
            return False
        for partition, offset in offsets.items():
            self.disk.committed[partition] = offset
        self._step()
        return True

    async def publish(self, topic: str, records: Sequence[Outbound]) -> None:
        for record in records:
            if self.chance.random() < 0.1:
                self._step()
            self.disk.trends.append(decode("trends", record.value or b""))
        self._step()


def log_of(chance: random.Random) -> list[list[Record]]:
    """Of few people on few items, out of order in time, with undos, erasures, events again, and
    hides, which may leave nothing behind but their time."""
    made: list[list[Event]] = [[] for _ in range(PARTITIONS)]
    for n in range(chance.randrange(40, 220)):
        number = n % PARTITIONS
        mine, user = made[number], f"u{number}{chance.randrange(3)}"
        at_ms = AT_MS + n * 60_000 - chance.randrange(1, 3_600_000)
        told, name = chance.random(), f"e{n}"
        touched = [e for e in mine[-40:] if isinstance(e, Interaction)]
        if told < 0.05:
            mine.append(Erase(event_id=name, user_id=user, at_ms=at_ms))
        elif told < 0.15 and touched:
            of = chance.choice(touched)
            mine.append(
                Undo(event_id=name, user_id=of.user_id, undoes=of.event_id, at_ms=at_ms)
            )
        elif told < 0.25 and mine:
            mine.append(chance.choice(mine[-20:]))
        else:
            kind = chance.choice(KINDS)
            item = f"i{int(ITEMS * chance.random() ** 2)}"
            mine.append(
                Interaction(
                    event_id=name,
                    user_id=user,
                    item_id=item,
                    kind=kind,
                    at_ms=at_ms,
                )
            )
    return [
        [
            Record("e", number, at, AT_MS + 10**10, e.user_id.encode(), encode(e))
            for at, e in enumerate(events)
        ]
        for number, events in enumerate(made)
    ]


def live(
    disk: Disk, chance: random.Random, config: Config, *, steps: float = float("inf")
) -> int:
    """One life of a worker, to the end of the log at most; how many items it let go."""
    door = Door(disk, chance, steps)
    worker = Worker(door, config, config.law.law(), Health(conditions=CONDITIONS))  # type: ignore[arg-type]

    def clock(start: float = 100.0) -> Iterator[float]:
        while True:
            start += chance.random() / 3
            yield start

    ticks = clock()
    asyncio.run(run(worker, should_stop=door.done, now=lambda: next(ticks)))
    drained = [table for state in worker.states.values() for table in whole(state)]
    disk.trends += drained
    return door.dropped


def whole(state: Trends) -> list[TrendTable]:
    """What waits for its turn, to the last."""
    out: list[TrendTable] = []
    while state.changed():
        out += state.drain()
    return out


def plain(disk: Disk, config: Config) -> TrendBoard:
    """The board after a plain fold of the log."""
    board, law = TrendBoard(), config.law.law()
    for number, records in enumerate(disk.log):
        trends = Trends(number, config=config.trend, law=law)
        trends.apply(decoded(records, config, law))
        for table in whole(trends):
            board.take(table)
    return board


def values(board: TrendBoard, at_ms: int, trend: TrendConfig) -> dict[str, float]:
    """All that a board knows, by what it is of."""
    out = dict[str, float]()
    for half_s in trend.half_lives_s:
        for name, value in board.popular(half_s, at_ms=at_ms).items():
            out[f"popular {half_s} {name}"] = value
    for variant in trend.variants:
        for owner in [f"i{n}" for n in range(ITEMS)] + [str(n) for n in range(20)]:
            of = board.follows(
                variant.name, owner, at_ms=at_ms, half_life_ms=variant.half_life_ms
            )
            out |= {f"{variant.name} {owner} {name}": value for name, value in of.items()}
    for width_s in trend.windows_s:
        start = at_ms // (1000 * width_s) * 1000 * width_s
        for name, value in board.window(width_s, start_ms=start).items():
            out[f"window {width_s} {name}"] = value
    return out


def compacted(records: Sequence[TrendTable]) -> list[TrendTable]:
    """The last record of each name, in the log's order."""
    last = {record.name: at for at, record in enumerate(records)}
    return [records[at] for at in sorted(last.values())]


def differences(wanted: TrendBoard, seen: TrendBoard, config: Config) -> list[str]:
    """Where the two disagree."""
    at_ms = wanted.newest_ms
    one, other = (values(board, at_ms, config.trend) for board in (wanted, seen))
    return [
        f"{name}: wanted {one.get(name, 0.0)}, seen {other.get(name, 0.0)}"
        for name in one.keys() | other.keys()
        if abs(one.get(name, 0.0) - other.get(name, 0.0)) > 1e-6
    ]


def differs(seed: int, config: Config) -> tuple[list[str], int]:
    """Some lives over one log: what is published against a plain fold; items let go."""
    chance = random.Random(seed)
    disk = Disk(log_of(chance))
    for _ in range(chance.randrange(1, 6)):
        with suppress(Killed):
            live(disk, chance, config, steps=chance.randrange(2, 60))
    dropped = live(disk, chance, config)
    wanted, left = plain(disk, config), list[str]()
    for records in (disk.trends, compacted(disk.trends)):
        seen = TrendBoard()
        for record in records:
            seen.take(record)
        # if all fades at the last event, nothing may be left to tell as of its time
        assert seen.newest_ms == wanted.newest_ms or config is FADING
        left += differences(wanted, seen, config)
    return left, dropped


@pytest.mark.parametrize("seed", range(60))
def test_a_worker_killed_anywhere_publishes_the_counts_of_a_plain_fold(seed: int) -> None:
    assert differs(seed, LASTING)[0] == []


def test_a_worker_killed_anywhere_counts_the_same_though_it_lets_items_go() -> None:
    found = [differs(seed, FADING) for seed in range(20)]
    assert [left for left, _ in found] == [[]] * 20
    assert any(dropped for _, dropped in found)


def test_partitions_are_saved_in_turn_and_each_in_time() -> None:
    door = Saving()
    worker = Worker(door, LASTING, LASTING.law.law(), Health(conditions=CONDITIONS))  # type: ignore[arg-type]
    for number in range(20):
        worker.states[number] = Trends(number, config=LASTING.trend, law=worker.law)
    for tick in range(400):
        door.now = tick / 10
        for number, state in worker.states.items():
            state.apply([event_of(number, tick)])
        asyncio.run(save(worker, now=door.now, every_s=5.0))
    asyncio.run(save(worker, now=door.now, every_s=0.0))
    for times in door.saved.values():
        gaps = [b - a for a, b in pairwise([0.0, *times])]
        assert max(gaps) < 5.5
    at_once = Counter(time for times in door.saved.values() for time in set(times))
    last = at_once.pop(door.now)
    assert last == 20  # whoever stops leaves nothing
    assert max(at_once.values()) <= -(-20 // AT_ONCE)


def event_of(number: int, tick: int) -> TrendEvent:
    return TrendEvent(number, "a", "click", None, AT_MS + tick, tick, tick)


@dataclass
class Saving:
    """Only when what was saved."""

    now: float = 0.0
    epoch: int = 0
    saved: dict[int, list[float]] = field(default_factory=dict)

    async def save(self, partition: int, changes: Changes) -> None:
        self.saved.setdefault(partition, []).append(self.now)
