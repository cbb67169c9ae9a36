"""The path of an event, from the log to its list.

    poll -> decode -> load -> fold -> encode user, search, rank -> publish -> save

Read `run`, then `answer`. What stands behind a step: decode.py; users.py (the users at hand,
saved behind the lists, fenced by progress points); folding.py and encoders/state.py; lists.py;
items.py (the item tables).

Lists, dead letters and offsets are one transaction; users follow within a second. After a
crash the records since the last save are folded again, without a second list.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import structlog

from workers import metrics
from workers.decode import Clock, decode_events
from workers.explain import explain
from workers.folding import first_partitions, fold_all, set_aside
from workers.health import Health, Questions
from workers.items import Items
from workers.lists import Lists
from workers.ports import Polled, Record, Restarted, Sink, Source, TransientError
from workers.users import Users

log = structlog.get_logger(__name__)
PATIENCE_S = 0.05  # how long an idle poll may hold up the item tables


@dataclass(slots=True, eq=False, kw_only=True)
class Worker:
    """Everything that one recommend worker moves between, and what it has pending."""

    source: Source
    sink: Sink
    users: Users
    items: Items
    lists: Lists
    clock: Clock
    dead_letters: str
    batch: int
    save_every_s: float
    save_users: int
    health: Health = field(default_factory=Health)
    questions: Questions = field(default_factory=Questions)
    report: Callable[[], None] = lambda: None  # once a save: what only gauges show
    pending: set[int] = field(default_factory=set)  # partitions that are to begin
    held: list[Record] = field(default_factory=list)  # a batch that is tried again
    save_at_s: float = 0.0


def run(
    worker: Worker,
    *,
    should_stop: Callable[[], bool],
    now: Callable[[], float] = time.monotonic,
    clock: Callable[[], float] = time.time,
) -> None:
    """Move events until told to stop. One thread, one direction."""
    worker.items.catch_up(keep_on=lambda: not should_stop())
    worker.health.set("tables", ok=True)
    while not should_stop():
        polled = worker.source.poll(timeout_s=PATIENCE_S, limit=room(worker))
        change_partitions(worker, polled)
        worker.items.refresh(clock=clock)
        try:
            begin(worker)
            worker.held += [r for r in polled.records if r.partition in worker.users.owned]
            answer(worker, worker.held, clock=clock)
            worker.held = []
            save(worker, now=now())
            worker.health.set("store", ok=True)
        except Restarted as restarted:
            restart(worker, restarted)
        except TransientError as error:
            worker.health.set("store", ok=False, why=str(error))
            log.warning("trying_again", why=str(error))
        worker.health.beat(now())
        worker.questions.answer(lambda asked: explain(asked, worker.users, worker.lists))
    worker.users.save()


def answer(
    worker: Worker, records: Sequence[Record], *, clock: Callable[[], float]
) -> None:
    """One batch of events in, one list for everyone touched out."""
    if not records:
        return
    metrics.batch(len(records))
    users, next_offsets = worker.users, {r.partition: r.offset + 1 for r in records}
    with metrics.stage("decode"):
        accepted, rejected = decode_events(records, width=users.width, clock=worker.clock)
    with metrics.stage("load"):
        held = users.fetch(first_partitions(accepted))
    try:
        with metrics.stage("fold"):
            touches, refusals = fold_all(accepted, held, users=users, items=worker.items)
        outbound = worker.lists.make(touches.asked)
        outbound += set_aside(rejected + refusals, users=users, topic=worker.dead_letters)
        with metrics.stage("publish"):
            worker.sink.publish(outbound, users.unlisted(next_offsets))
    except TransientError as error:  # folded but not answered: only from the start again
        partitions = frozenset((users.topic, n) for n in next_offsets)
        raise Restarted(str(error), partitions, "store") from error
    users.folded(touches.folded.values(), records)
    published_ms = clock() * 1000
    listed = (r.timestamp_ms for asked in touches.asked for r in asked.records)
    metrics.event_to_list([max(0.0, published_ms - ms) / 1000 for ms in listed])


def save(worker: Worker, *, now: float) -> None:
    """Write users behind: every second, or earlier when many have changed."""
    if now >= worker.save_at_s or len(worker.users.dirty) >= worker.save_users:
        worker.save_at_s = now + worker.save_every_s
        with metrics.stage("save"):
            worker.users.save()
        worker.report()


def room(worker: Worker) -> int:
    """How much the next poll may bring: nothing while something waits to be done first."""
    waits = worker.held or worker.pending
    return 0 if waits or len(worker.users.dirty) > 4 * worker.save_users else worker.batch


def change_partitions(worker: Worker, polled: Polled) -> None:
    """Rebalance as data: forget what went, remember what is to begin."""
    if polled.gained or polled.lost:
        metrics.rebalance(polled.lost)
        gone = {number for _, number in polled.lost}
        worker.users.lose(gone)
        worker.pending = (worker.pending - gone) | {number for _, number in polled.gained}
        worker.held = [r for r in worker.held if r.partition not in gone]
        worker.health.set("group", ok=True)


def begin(worker: Worker) -> None:
    """Let gained and restarted partitions be read from their progress points."""
    if worker.pending:
        with metrics.stage("begin"):
            worker.source.begin(worker.users.begin(worker.pending, worker.source))
        worker.pending = set()


def restart(worker: Worker, restarted: Restarted) -> None:
    """A batch or a save came to nothing: forget, and fold again from the progress point."""
    log.warning("restarted", why=str(restarted), partitions=len(restarted.partitions))
    metrics.restart(restarted.cause)
    numbers = {number for _, number in restarted.partitions}
    worker.users.lose(numbers)
    worker.pending |= numbers
    worker.held = []
