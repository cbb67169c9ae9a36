"""The path of learning, from the log to a model in force.

    read (items, cards, events) -> keep columns -> learn, judge -> publish file and card

Read `run`, then the functions below it, in order. What stands behind a step: train_columns.py
(the log as columns on disk: a restart reads on), train_items.py, train_round.py (the learner,
in a thread), train_publish.py, model_files.py and model_cards.py (how a model is put in force).

A model is published if it is not worse than the one in force on the newest events, which
neither has learned from, and after it has learned from them too. Workers reload it by its card
(models.py). A file is complete before its card is written, and a card names its sha256: a crash
in between leaves a file, and no more.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import structlog

from encoders.law import Law
from ranking.trend_config import TrendConfig
from workers import metrics
from workers.config import ModelsConfig, RecommendConfig, TrainConfig
from workers.decode import decode_events
from workers.health import Health
from workers.model_cards import Cards
from workers.ports import Outbound, Table, TransientError
from workers.train_columns import Columns
from workers.train_items import TrainItems
from workers.train_publish import current_model, put_in_force, refusal
from workers.train_round import Learner, Round

log = structlog.get_logger(__name__)
CONDITIONS = ("tables", "log")
PATIENCE_S = 0.2  # how long a poll waits for events
KEEP_EVERY_S = 5.0  # how often new columns go to the disk
STOP_S = 5.0  # how long a round is waited for at the end


@dataclass(slots=True, eq=False, kw_only=True)
class Worker:
    """Everything of one train worker. `tables`: items, their vectors and cards of models."""

    tables: Table
    events: Table
    write: Callable[[Sequence[Outbound]], None]
    items: TrainItems
    columns: Columns
    learner: Learner
    config: TrainConfig
    trends: TrendConfig
    law: Law
    recommend: RecommendConfig  # what recommend workers refuse is not learned from
    models: ModelsConfig
    models_topic: str
    health: Health = field(default_factory=lambda: Health(conditions=CONDITIONS))
    cards: Cards = field(default_factory=Cards)
    round: Round | None = None
    rounds: int = 0  # that came to an end
    fresh: int = 0  # events since the last round began
    due_at_s: float = float("-inf")
    keep_at_s: float = float("-inf")


def run(
    worker: Worker,
    *,
    should_stop: Callable[[], bool],
    now: Callable[[], float] = time.monotonic,
    clock: Callable[[], float] = time.time,
) -> None:
    """Learn until told to stop."""
    while not should_stop():
        try:
            read(worker, now=now())
            learn(worker, now=now())
            publish(worker, clock=clock)
            worker.health.set("log", ok=True)
        except TransientError as error:  # what is under way stays so, and is tried again
            worker.health.set("log", ok=False, why=str(error))
            log.warning("trying_again", why=str(error))
        worker.health.beat(now())
    if worker.round is not None:
        worker.round.end(STOP_S)
    worker.columns.save()


def read(worker: Worker, *, now: float) -> None:
    """What is new in the tables, and the next events into columns."""
    with metrics.stage("refresh"):
        found = worker.tables.refresh(limit=5_000, timeout_s=0.0)
        worker.cards.apply(r for r in found if r.topic == worker.models_topic)
        worker.items.apply([r for r in found if r.topic != worker.models_topic])
    records = worker.events.refresh(limit=5_000, timeout_s=0.0 if found else PATIENCE_S)
    with metrics.stage("decode"):
        accepted, _ = decode_events(
            records, width=worker.items.width, config=worker.recommend
        )
    if records:
        before = len(worker.columns)
        worker.columns.add(accepted, {r.partition: r.offset + 1 for r in records})
        worker.fresh += max(0, len(worker.columns) - before)
    if now >= worker.keep_at_s and records:
        with metrics.stage("keep"):
            worker.columns.save()
        worker.keep_at_s = now + KEEP_EVERY_S
    behind = worker.tables.behind() + worker.events.behind()
    worker.health.set("tables", ok=not behind, why=f"{behind} to read" if behind else "")
    metrics.gauges(tables_behind=behind, train_events=len(worker.columns))


def learn(worker: Worker, *, now: float) -> None:
    """Begin a round when one is due: after so many new events, or after a time."""
    config, events = worker.config, len(worker.columns)
    if worker.round is not None or events < config.min_events:
        return
    if worker.tables.behind() + worker.events.behind():
        return
    few = config.min_fresh if config.name in worker.cards.current else 0
    due = max(config.every_events, int(config.every_share * events))
    if worker.fresh < (few if now >= worker.due_at_s else due):
        return
    worker.fresh, worker.due_at_s = 0, now + config.every_s
    columns = worker.columns.view(worker.items.view())
    log.info("round", events=len(columns), items=len(columns.items))
    card = worker.cards.current.get(config.name)
    current = current_model(
        worker.cards, config.name, width=worker.items.width, models=worker.models
    )
    worker.round = Round(
        worker.learner, columns, config.newest, current, card.version if card else "",
        config.seed, worker.trends, worker.law, config.tolerance,
    ).start()  # fmt: skip


def publish(worker: Worker, *, clock: Callable[[], float]) -> None:
    """Put what a round came to in force, unless it is worse."""
    if worker.round is None or not worker.round.done():
        return
    try:
        outcome = worker.round.outcome()
    except Exception as error:  # noqa: BLE001  # a learner's error must not end the reading
        worker.round, worker.rounds = None, worker.rounds + 1
        metrics.not_published("failed")
        log.warning("round_failed", why=f"{type(error).__name__}: {error}")
        return
    candidate, known = outcome.candidate.score, outcome.in_force.score
    metrics.gauges(train_candidate_score=candidate, train_current_score=known)
    why = refusal(outcome, worker.cards, worker.config)
    if not why:
        with metrics.stage("publish"):
            version = put_in_force(
                outcome,
                worker.cards,
                worker.config,
                width=worker.items.width,
                at_ms=int(clock() * 1000),
                write=worker.write,
                topic=worker.models_topic,
            )
        why = "" if version else "same"
    worker.round, worker.rounds = None, worker.rounds + 1
    if why:
        metrics.not_published(why)
    said = why or "published"
    log.info("judged", candidate=round(candidate, 4), in_force=round(known, 4), so=said)
