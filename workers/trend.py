"""The way of an event into trends: gather, decode, fold, publish what changed, save, commit.

Folding is pure (ranking/trends.py), Faust is behind one door (workers/faust_app.py). Tables are
published as soon as they are due, saved or not: who is killed in between replays from what is
committed, passes over what each value has had, and publishes the same again. Events are
acknowledged only when all values that they changed are in the changelog.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import structlog

from encoders.law import Law
from ranking.trends import Trends
from schemas import CONTENT_TYPES, TrendTable, encode
from workers import metrics
from workers.config import Config, topic
from workers.faust_app import TrendApp
from workers.health import Health
from workers.ports import Outbound, Record, TransientError
from workers.trend_events import decoded

log = structlog.get_logger(__name__)
MSGPACK = (("content-type", CONTENT_TYPES["msgpack"].encode()),)
CONDITIONS = ("tables",)
AT_ONCE = 8
"""One in so many partitions is saved at once, at least one."""


@dataclass(slots=True, eq=False)
class Worker:
    """The states of the partitions that we own, and when what is due."""

    app: TrendApp
    config: Config
    law: Law
    health: Health
    epoch: int = 0
    states: dict[int, Trends] = field(default_factory=dict)
    floors: dict[int, int] = field(default_factory=dict)
    folded: dict[int, int] = field(default_factory=dict)
    """the offset after the last event that each state has"""
    appended_ms: list[int] = field(default_factory=list)
    published_s: float = 0.0
    due_s: dict[int, float] = field(default_factory=dict)
    """when each partition is to be saved"""


async def run(
    worker: Worker,
    *,
    should_stop: Callable[[], bool],
    now: Callable[[], float] = time.monotonic,
) -> None:
    """Until asked to stop; then publish and save what is left. Raises TransientError where a
    restart helps: it begins at what is saved."""
    app, trend = worker.app, worker.config.trend
    await app.start()
    try:
        while not should_stop():
            waited_s = now()
            records = await app.poll(
                limit=trend.batch, timeout_s=min(0.1, trend.publish_every_s)
            )
            check(worker, away_s=now() - waited_s, now=now())
            fold(worker, records)
            await publish(worker, now=now(), every_s=trend.publish_every_s)
            await save(worker, now=now(), every_s=trend.save_every_s)
        await publish(worker, now=now(), every_s=0.0)
        await save(worker, now=now(), every_s=0.0)
    finally:
        await app.stop()


def check(worker: Worker, *, away_s: float, now: float) -> None:
    """Whether we may go on. Who was stopped for as long as a session lasts may have an heir,
    whose values are newer: he writes nothing, but begins anew."""
    worker.app.check()
    if away_s > worker.config.kafka.session_timeout_ms / 1000:
        raise TransientError(
            f"away for {away_s:.1f} s: others may own our partitions by now"
        )
    worker.health.set("tables", ok=worker.app.ready(), why="tables are being read")
    worker.health.beat(now)
    name = topic(worker.config.kafka, "events")
    for partition, behind in worker.app.lag().items():
        metrics.lag(name, partition, behind, 0.0)


def fold(worker: Worker, records: Sequence[Record]) -> None:
    """Records into the states of their partitions."""
    if worker.epoch != worker.app.epoch:  # all is read again from what is committed
        worker.epoch = worker.app.epoch
        worker.states, worker.floors, worker.folded = {}, {}, {}
        worker.appended_ms, worker.due_s = [], {}
        metrics.rebalance()
    for partition in worker.app.owned():  # whoever was here before may have owed tables
        _state(worker, partition)
    by_partition = dict[int, list[Record]]()
    for record in records:
        by_partition.setdefault(record.partition, []).append(record)
    for partition, part in by_partition.items():
        metrics.batch(len(part))
        with metrics.stage("decode"):
            events = decoded(part, worker.config, worker.law)
        with metrics.stage("fold"):
            _state(worker, partition).apply(events)
        worker.folded[partition] = part[-1].offset + 1
    worker.appended_ms += [record.timestamp_ms for record in records]


async def publish(worker: Worker, *, now: float, every_s: float) -> None:
    """The tables that changed, once they are due."""
    if now - worker.published_s < every_s:
        return
    worker.published_s = now
    with metrics.stage("publish"):
        tables = [t for state in worker.states.values() for t in state.drain()]
        name = topic(worker.config.kafka, "trends")
        await worker.app.publish(name, [_outbound(table, name) for table in tables])
    metrics.trends(
        tables=len(tables),
        rows=sum(len(table.rows) for table in tables),
        seconds=[time.time() - ms / 1000 for ms in worker.appended_ms],
    )
    worker.appended_ms = []


async def save(worker: Worker, *, now: float, every_s: float) -> None:
    """The values that changed in the partitions that are due; then the events that changed them
    are committed. If partitions went away meanwhile, nothing is: all is dropped."""
    states = {number: worker.states[number] for number in _due(worker, now, every_s)}
    if not states:
        return
    with metrics.stage("save"):
        done = [_write(worker, partition) for partition in states]
        for failure in await asyncio.gather(*done, return_exceptions=True):
            if isinstance(failure, BaseException):
                raise failure
    if worker.epoch != worker.app.epoch:
        return
    for state in states.values():
        state.saved()
    folded = {n: worker.folded.get(n, 0) for n in states}
    folded = {n: at for n, at in folded.items() if at > worker.floors.get(n, 0)}
    if folded:
        with metrics.stage("commit"):
            if await worker.app.commit(folded):
                worker.floors |= folded


def _due(worker: Worker, now: float, every_s: float) -> list[int]:
    """The partitions to save now, those that wait longest first: each in its own turn, so that
    what is published never waits for a save of all."""
    numbers, due_s = sorted(worker.states), worker.due_s
    if not every_s:
        return numbers
    for n, number in enumerate(numbers, 1):
        due_s.setdefault(number, now + every_s * n / len(numbers))
    late = sorted((n for n in numbers if due_s[n] <= now), key=due_s.__getitem__)
    late = late[: -(-len(numbers) // AT_ONCE)]
    due_s |= dict.fromkeys(late, now + every_s)
    return late


async def _write(worker: Worker, partition: int) -> None:
    state = worker.states[partition]
    if state.dirty() and worker.epoch == worker.app.epoch:
        changes = state.unsaved(floor=worker.floors.get(partition, 0))
        await worker.app.save(partition, changes)


def _state(worker: Worker, partition: int) -> Trends:
    state = worker.states.get(partition)
    if state is None:
        state = worker.states[partition] = Trends(
            partition,
            config=worker.config.trend,
            law=worker.law,
            items=worker.app.items(partition),
            load_user=lambda user: worker.app.user(partition, user),
        )
    return state


def _outbound(table: TrendTable, name: str) -> Outbound:
    return Outbound(name, table.name.encode(), encode(table), 0, MSGPACK)


def start(
    config: Config, health: Health, *, partitions: int, should_stop: Callable[[], bool]
) -> None:
    """Run a worker on an event loop of its own."""

    async def main() -> None:
        app = TrendApp(config, partitions=partitions)
        await run(Worker(app, config, config.law.law(), health), should_stop=should_stop)

    asyncio.run(main())
