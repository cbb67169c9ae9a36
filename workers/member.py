"""A recommend worker as a member of its group: its doors, what it has pending, and how its
partitions come, go and begin again. The path itself is recommend.py."""

from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from workers import metrics
from workers.config import RecommendConfig
from workers.health import Health, Questions
from workers.items import Items
from workers.lists import Lists
from workers.model_files import Model
from workers.models import Models
from workers.ports import Polled, Record, Restarted, Sink, Source
from workers.users import Users

log = structlog.get_logger(__name__)


@dataclass(slots=True, eq=False, kw_only=True)
class Worker:
    """Everything that one recommend worker moves between, and what it has pending."""

    source: Source
    sink: Sink
    users: Users
    items: Items
    lists: Lists
    config: RecommendConfig
    dead_letters: str
    health: Health = field(default_factory=Health)
    questions: Questions = field(default_factory=Questions)
    models: Models[Model] | None = None  # those that cards name
    report: Callable[[], None] = lambda: None  # once a save: what only gauges show
    pending: set[int] = field(default_factory=set)  # partitions that are to begin
    held: list[Record] = field(default_factory=list)  # a batch that is tried again
    save_at_s: float = 0.0
    again_at_s: float = 0.0


def room(worker: Worker) -> int:
    """How much the next poll may bring: nothing while something waits to be done first."""
    waits = worker.held or worker.pending
    return (
        0
        if waits or len(worker.users.dirty) > 4 * worker.config.save_users
        else worker.config.batch
    )


def change_partitions(worker: Worker, polled: Polled) -> None:
    """Rebalance as data: forget what went, remember what is to begin."""
    worker.health.set(
        "group",
        ok=polled.joined,
        why="" if polled.joined else "joining, or no broker answers",
    )
    if polled.gained or polled.lost:
        metrics.rebalance(polled.lost)
        gone = {number for _, number in polled.lost}
        worker.users.lose(gone)
        worker.pending = (worker.pending - gone) | {number for _, number in polled.gained}
        worker.held = [r for r in worker.held if r.partition not in gone]


def begin(worker: Worker) -> None:
    """Let gained and restarted partitions be read from their progress points."""
    if worker.pending:
        with metrics.stage("begin"):
            worker.source.begin(worker.users.begin(worker.pending, worker.source))
        worker.pending = set()


def reload(worker: Worker) -> None:
    """What became ready comes into force: a model, which lists made from here on name, and a
    space of item vectors, in which everybody's interest is made anew."""
    if worker.items.switch():
        for held in worker.users.held.values():
            held.interest_at = -1
    if worker.models is not None and (model := worker.models.take()) is not None:
        blending = worker.lists.blending
        if blending is None or blending.use(model):
            worker.lists.model = model.version


def restart(worker: Worker, restarted: Restarted) -> None:
    """A batch or a save came to nothing: forget, and fold again from the progress point."""
    log.warning("restarted", why=str(restarted), partitions=len(restarted.partitions))
    metrics.restart(restarted.cause)
    numbers = {number for _, number in restarted.partitions}
    worker.users.lose(numbers)
    worker.pending |= numbers
    worker.held = []
