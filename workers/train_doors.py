"""A train worker with its doors open, as configuration says."""

import importlib
import os
from contextlib import ExitStack
from pathlib import Path
from typing import cast

import structlog
import torch

from workers import metrics
from workers.config import Config, topic
from workers.health import Health
from workers.kafka import KafkaTable, Writer
from workers.ports import FatalError
from workers.topics import topic_ids
from workers.train import Worker
from workers.train_columns import Columns
from workers.train_items import TrainItems
from workers.train_round import Learner

log = structlog.get_logger(__name__)


def assemble(config: Config, *, health: Health, stack: ExitStack) -> Worker:
    """A worker ready to run; `stack` closes its doors. Gives way to others from here on.
    Raises FatalError where there is no such learner."""
    kafka, train = config.kafka, config.train
    learner = learner_of(train.learner)
    if (more := train.nice - os.nice(0)) > 0:
        os.nice(more)
    torch.set_num_threads(train.threads)
    events = topic(kafka, "events")
    columns = Columns(
        folder=Path(train.path) / kafka.worker,
        log_id=topic_ids(kafka, [events])[events],
        limit=train.max_events,
    )
    log.info("columns", events=len(columns), reading_on=bool(columns.next_offsets))
    roles = ("items", "item-vectors", "models")
    tables = KafkaTable(kafka, topics=[topic(kafka, role) for role in roles])
    stack.callback(tables.close)
    reader = KafkaTable(kafka, topics=[events], starts=columns.starts(events))
    stack.callback(reader.close)
    writer = Writer(kafka)
    stack.callback(writer.close)
    metrics.info(model=train.name)
    return Worker(
        tables=tables,
        events=reader,
        write=writer.write,
        items=TrainItems(items_topic=topic(kafka, "items"), width=config.encoders.width),
        columns=columns,
        learner=learner,
        config=train,
        trends=config.trend,
        law=config.law.law(),
        recommend=config.recommend,
        models=config.models,
        models_topic=topic(kafka, "models"),
        health=health,
    )


def learner_of(name: str) -> Learner:
    """What `train.learner` names: a module, or an object in one."""
    module, _, attribute = name.partition(":")
    try:
        found = importlib.import_module(module)
        learner = getattr(found, attribute) if attribute else found
        missing = [one for one in ("learn", "judge") if not callable(getattr(learner, one))]
    except (ImportError, AttributeError, ValueError) as error:
        raise FatalError(
            f"STREAMREC_TRAIN__LEARNER={name}: {error}; name a module with learn and judge"
        ) from error
    if missing:
        raise FatalError(f"STREAMREC_TRAIN__LEARNER={name} has no function {missing}")
    return cast("Learner", learner)
