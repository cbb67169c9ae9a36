"""The path of an event, from the log to its list.

    poll -> decode -> load -> fold -> encode user, search, rank -> publish -> save

Read `run`, then `answer`. What stands behind a step: decode.py; users.py (the users at hand,
saved behind the lists, fenced by progress points); member.py (partitions that come, go and
begin again); folding.py and encoders/state.py; lists.py; items.py (the item tables).

Lists, dead letters and offsets are one transaction; users follow within a second. After a
crash the records since the last save are folded again, without a second list.
"""

import time
from collections.abc import Callable, Sequence

import structlog

from workers import metrics
from workers.decode import decode_events
from workers.explain import explain
from workers.folding import first_partitions, fold_all, set_aside
from workers.member import Worker, begin, change_partitions, reload, restart, room
from workers.ports import Record, Restarted, TransientError

log = structlog.get_logger(__name__)
PATIENCE_S = 0.05  # how long an idle poll may hold up the item tables
AGAIN_S = 0.25  # between two tries while something is away


def run(
    worker: Worker,
    *,
    should_stop: Callable[[], bool],
    now: Callable[[], float] = time.monotonic,
    clock: Callable[[], float] = time.time,
) -> None:
    """Move events until told to stop. One thread, one direction."""
    worker.items.catch_up(keep_on=lambda: not should_stop())
    if worker.models is not None:
        worker.models.settle()
    worker.health.set("tables", ok=True)
    while not should_stop():
        polled = worker.source.poll(timeout_s=PATIENCE_S, limit=room(worker))
        change_partitions(worker, polled)
        worker.items.refresh(clock=clock)
        reload(worker)
        worker.held += [r for r in polled.records if r.partition in worker.users.owned]
        try:
            if now() >= worker.again_at_s:
                begin(worker)
                answer(worker, worker.held, clock=clock)
                worker.held = []
                save(worker, now=now())
        except Restarted as restarted:
            restart(worker, restarted)
        except TransientError as error:
            worker.again_at_s = now() + AGAIN_S
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
        accepted, rejected = decode_events(records, width=users.width, config=worker.config)
    with metrics.stage("load"):
        held = users.fetch(first_partitions(accepted))
    try:
        with metrics.stage("fold"):
            touches, refusals = fold_all(accepted, held, users=users, items=worker.items)
        outbound = worker.lists.make(touches.asked)
        outbound += set_aside(rejected + refusals, users=users, topic=worker.dead_letters)
        with metrics.stage("publish"):
            worker.sink.publish(outbound, users.unlisted(next_offsets))
    except (Restarted, TransientError) as error:
        # All of the batch is folded and not answered, what was listed before too: whoever of it
        # is not begun again would be in the store without these records.
        cause = error.cause if isinstance(error, Restarted) else "store"
        partitions = frozenset((users.topic, number) for number in next_offsets)
        raise Restarted(str(error), partitions, cause) from error
    published_ms = clock() * 1000
    listed = (r.timestamp_ms for asked in touches.asked for r in asked.records)
    metrics.event_to_list([max(0.0, published_ms - ms) / 1000 for ms in listed])
    users.folded(touches.folded.values(), records)
    with metrics.stage("learn"):
        worker.lists.learn(touches.asked)


def save(worker: Worker, *, now: float) -> None:
    """Write users behind: every second, or earlier when many have changed. The store is
    asked even if nobody has: it may be gone, or be an older copy."""
    if now >= worker.save_at_s or len(worker.users.dirty) >= worker.config.save_users:
        with metrics.stage("save"):
            worker.users.check(list(worker.users.owned))
            worker.users.save()
        worker.save_at_s = now + worker.config.save_every_s
        worker.health.set("store", ok=True)
        worker.report()
