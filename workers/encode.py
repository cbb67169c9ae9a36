"""The path of content, from the log to its vectors.

    poll -> decode -> prepare (fetch, decode content) -> plan -> encode -> assemble, fuse
         -> publish -> commit

Read `run` and the functions below it, in order. What stands behind a step: contents.py (what
a record carries); prepare.py (threads for content); plan.py and model.py (what the model has
to see, and its thread); assemble.py with slots.py (how items merge) and signals.py; shelf.py
(items at hand); handover.py (partitions that come and go); underway.py (the worker).

Offsets are committed when everything of a batch is acknowledged. After a crash a batch is made
again: ids and stamps follow from the records, so twice is as good as once. In whatever order, too:
who is slow to serve a file holds up that record, and the commit behind it, and nobody else.
"""

import time
from collections.abc import Callable
from concurrent.futures import Future
from itertools import islice

import structlog
from torch import Tensor

from workers import metrics
from workers.assemble import assemble, fused_again
from workers.contents import jobs_of
from workers.handover import begin_again, change_partitions, restore
from workers.model import Key
from workers.plan import Plan, plan
from workers.ports import Polled, Restarted, TransientError
from workers.prepare import Batch
from workers.underway import (
    InFlight,
    Worker,
    committable,
    due,
    patience_s,
    room,
    take_prepared,
)

log = structlog.get_logger(__name__)
AGAIN = 256  # items a turn that are fused again
PATIENCE_S = 0.5  # how long a batch waits for those of it whose content is slow to come


def run(
    worker: Worker,
    *,
    should_stop: Callable[[], bool],
    now: Callable[[], float] = time.monotonic,
) -> None:
    """Move content until told to stop. What is under way then is made again by the next."""
    while not should_stop():
        turned_s = now()
        polled = worker.source.poll(timeout_s=patience_s(worker), limit=room(worker))
        change_partitions(worker, polled)
        try:
            restore(worker)
            if worker.rollout is not None:
                worker.rollout(worker, now())
            gather(worker, polled, now=now())
            prepare(worker, now=now())
            encode(worker, now=now())
            merge(worker)
            publish(worker, turn_s=now() - turned_s)
            worker.health.set("log", ok=True)
        except Restarted as restarted:
            log.warning("restarted", why=str(restarted))
            metrics.restart(restarted.cause)
            begin_again(worker, {number for _, number in restarted.partitions})
        except TransientError as error:  # what is under way stays so, and is tried again
            worker.health.set("log", ok=False, why=str(error))
            log.warning("trying_again", why=str(error))
        worker.health.beat(now())


def gather(worker: Worker, polled: Polled, *, now: float) -> None:
    """Decode what was polled into the batch that is open. (Nothing of a partition whose items
    are not at hand yet: it is read again.)"""
    batch, waiting = worker.gathered, {number for _, number in worker.pending}
    records = [r for r in polled.records if r.partition not in waiting]
    if records:
        with metrics.stage("decode"):
            jobs, refusals = jobs_of(
                records,
                topics=worker.topics,
                modalities=worker.model.encoders,
                spaces=worker.shelf.spaces,
            )
        batch.jobs += jobs
        batch.refusals += refusals
        batch.next_offsets |= {(r.topic, r.partition): r.offset + 1 for r in records}
        batch.opened_s = now if batch.opened_s is None else batch.opened_s


def prepare(worker: Worker, *, now: float) -> None:
    """Close the open batch when it is due, and have its content fetched and decoded."""
    if worker.preparing is None and due(worker, now=now):
        worker.preparing, worker.gathered = worker.gathered, Batch()
        worker.patient_until_s = now + PATIENCE_S
        metrics.batch(len(worker.preparing.jobs))
        worker.preparer.start(worker.preparing, worker.shelf.reusable)


def encode(worker: Worker, *, now: float) -> None:
    """Hand what is prepared to the model, once the batch before is written. While items of
    another space are left, every second batch is theirs."""
    if worker.encoding is not None or (worker.owed and worker.outdated):
        return
    if (batch := take_prepared(worker, now=now)) is not None:
        with metrics.stage("plan"):
            once = worker.preparer.settings.duplicates
            planned = plan(batch, worker.shelf.reusable, once=once)
        worker.encoding = InFlight(batch, planned, worker.model.start(planned.contents))
        worker.owed = True


def merge(worker: Worker) -> None:
    """Merge and fuse what the model has done; the shelf has its items from here on. With
    nothing else to do, or where it is their turn, bring items of another space into today's."""
    done = worker.encoding
    if done is not None and done.outbound is None and done.vectors.done():
        if isinstance(away := done.vectors.exception(), TransientError):
            done.vectors = worker.model.start(
                done.plan.contents
            )  # an endpoint; asked again
            raise away
        with metrics.stage("assemble"):
            done.outbound = assemble(
                done.plan,
                done.vectors.result(),
                shelf=worker.shelf,
                topics=worker.topics,
                fusion=worker.fusion,
            )
    elif done is None and worker.outdated and (worker.owed or worker.preparing is None):
        fuse_again(worker)


def publish(worker: Worker, *, turn_s: float) -> None:
    """Write what a batch came to, and commit as far as nothing waits. Who has been away for
    as long as a session lasts may have an heir by now, whose items are newer: he asks first."""
    done = worker.encoding
    if done is None or done.outbound is None:
        return
    if turn_s > worker.session_s:
        numbers = {o.partition for o in done.outbound} | {n for _, n in worker.reached}
        at = frozenset((worker.topics.items, n) for n in numbers if n is not None)
        raise Restarted(f"away for {turn_s:.1f} s: our items may not be ours any more", at)
    with metrics.stage("publish"):
        worker.sink.publish(done.outbound, committable(worker, done.batch))
    worker.reached |= done.batch.next_offsets
    worker.encoding = None
    worker.report()


def fuse_again(worker: Worker) -> None:
    """Some items whose fused vector is of another version: from the slots that they have."""
    worker.owed = False
    items = list(islice(worker.shelf.outdated(worker.outdated), AGAIN))
    if not items:
        worker.outdated = set()
        return
    log.info("fused_again", items=len(items), version=worker.shelf.version)
    outbound = fused_again(
        items, shelf=worker.shelf, topics=worker.topics, fusion=worker.fusion
    )
    nothing: Future[dict[Key, Tensor]] = Future()
    nothing.set_result({})
    worker.encoding = InFlight(Batch(), Plan(), nothing, outbound)
