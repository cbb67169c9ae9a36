"""A recommend worker with its doors open, as configuration says."""

import time
from contextlib import ExitStack
from urllib.parse import urlsplit

import structlog

from encoders.fusion_load import load_fusion
from encoders.specs import SpecError
from ranking.catalogue import Catalogue
from workers import metrics
from workers.blending import Blending
from workers.config import Config, topic
from workers.health import Health, Questions
from workers.items import Items
from workers.kafka import (
    KafkaSource,
    KafkaTable,
    TransactionalSink,
    read_partition,
)
from workers.lists import Lists
from workers.measured import MeasuredSink, MeasuredStore
from workers.member import Worker
from workers.model_cards import FUSION, Cards
from workers.model_files import load_model
from workers.models import Models
from workers.ports import FatalError, Partition, Record, Restarted, TransientError
from workers.routed import RoutedTable
from workers.spaces import Spaces, TwinIndex
from workers.stores import SwitchingIndex, open_item_index, open_user_store
from workers.topics import check_copartitioned, topic_ids
from workers.users import Users

log = structlog.get_logger(__name__)
MODEL = "content-1"


def assemble(
    config: Config, *, health: Health, questions: Questions, stack: ExitStack
) -> Worker:
    """A recommend worker with all doors open; `stack` closes them in the right order."""
    kafka, width = config.kafka, config.encoders.width
    try:
        encoder, law = load_fusion(config.encoders).version, config.law.law()
    except SpecError as error:
        raise FatalError(str(error)) from error
    check_copartitioned(kafka)
    events = topic(kafka, "events")
    users = Users(
        store=MeasuredStore(open_user_store(config, width=width)),
        law=law,
        topic=events,
        topic_id=topic_ids(kafka, [events])[events],
        writer=kafka.worker,
        width=width,
        model=MODEL,
        cache_bytes=config.recommend.cache_mb << 20,
        encode=lambda held: lists.encode_users(held),  # noqa: PLW0108  # made below
    )
    stack.callback(users.store.close)
    models = Models(config.models, width=width, health=health, load=load_model)
    stack.callback(models.close)
    roles = ("items", "item-vectors", "models", "trends")
    tables = KafkaTable(kafka, topics=[topic(kafka, role) for role in roles])
    stack.callback(tables.close)
    spaces = _spaces(config, configured=encoder)
    encoder = spaces.encoder

    def carded(record: Record) -> None:
        models.apply(record)
        spaces.card(record)

    def trending(record: Record) -> None:
        if blending is not None:
            blending.heard(record)

    blending: Blending | None = None
    table = RoutedTable(
        tables, {topic(kafka, "models"): carded, topic(kafka, "trends"): trending}
    )
    items = Items(
        table=table,
        index=spaces.index,
        spaces=spaces,
        catalogue=spaces.catalogue,
        items_topic=topic(kafka, "items"),
        encoder=encoder,
        width=width,
        law=law,
    )
    recommendations = topic(kafka, "recommendations")
    if config.list.ranker == "blend":
        blending = Blending(items, config.trend, config.list)
    lists = Lists(items, config.list, recommendations, config.wire.slates, MODEL, blending)
    source = KafkaSource(
        kafka,
        topics=[events],
        group=f"{kafka.group}-recommend",
        assignor="cooperative-sticky",
        before_revoke=lambda partitions: _save_before(users, partitions),
    )
    stack.callback(source.close)
    sink = TransactionalSink(kafka, source)
    stack.callback(sink.close)
    metrics.info(
        encoder=encoder,
        model=MODEL,
        ranker=config.list.ranker,
        law=law.digest,
        store=urlsplit(config.qdrant.url).hostname or config.qdrant.url or "embedded",
        index=type(items.index).__name__,
    )
    return Worker(
        source=source,
        sink=MeasuredSink(sink),
        users=users,
        items=items,
        lists=lists,
        config=config.recommend,
        dead_letters=topic(kafka, "dead-letters"),
        health=health,
        questions=questions,
        models=models,
        report=lambda: _report(source, users, events),
    )


def _spaces(config: Config, *, configured: str) -> Spaces:
    """Indexes of item vectors, beginning in the space of a fusion that was confirmed, else
    in that of the configuration."""
    width = config.encoders.width

    def open_index(space: str) -> SwitchingIndex:
        own = "" if space == configured else space
        return open_item_index(config, width=width, space=own)

    cards = Cards()
    cards.apply(read_partition(config.kafka, topic(config.kafka, "models"), 0))
    encoder = cards.confirmed(FUSION) or configured
    return Spaces(
        index=TwinIndex(open_index(encoder)),
        catalogue=Catalogue(popular_half_life_ms=config.list.popular_half_life_ms),
        encoder=encoder,
        width=width,
        open_index=open_index,
    )


def _save_before(users: Users, partitions: frozenset[Partition]) -> None:
    """The drain before partitions are handed over. If it fails, their next owner folds the
    last second again: nothing is lost."""
    try:
        users.save(number for _, number in partitions)
    except (Restarted, TransientError) as error:
        log.warning("not_saved_before_handing_over", why=str(error))


def _report(source: KafkaSource, users: Users, events: str) -> None:
    metrics.gauges(
        users_cached=len(users.held), users_dirty=len(users.dirty), cache_bytes=users.nbytes
    )
    metrics.conditional_rejects(users.refused)
    users.refused = 0
    now_ms = time.time() * 1000
    for (name, number), behind in source.lag().items():
        newest_ms = users.owned[number].newest_ms if number in users.owned else 0
        waits_s = max(0.0, now_ms - newest_ms) / 1000 if behind and newest_ms else 0.0
        if name == events:
            metrics.lag(name, number, behind, waits_s)
