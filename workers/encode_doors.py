"""An encode worker with its doors open, as configuration says."""

import time
from contextlib import ExitStack
from importlib.metadata import version as package

import structlog
import torch

from encoders.fusion_load import load_fusion
from encoders.labels import open_labeller
from encoders.load import load_encoders, warm_up
from encoders.preparation import prepare_version
from encoders.specs import SpecError
from workers import metrics
from workers.config import Config, topic
from workers.contents import Topics
from workers.embeddings import EndpointEncoder, open_endpoint
from workers.health import Health
from workers.kafka import AcknowledgedSink, KafkaSource, KafkaTable
from workers.measured import MeasuredSink, MeasuredSource
from workers.model import Model
from workers.model_cards import FUSION
from workers.models import Models
from workers.ports import FatalError
from workers.prepare import Preparer
from workers.rollout import Rollout, follow, load_fusion_file
from workers.shelf import Shelf
from workers.topics import check_copartitioned
from workers.underway import OpenTable, Worker

log = structlog.get_logger(__name__)
CONDITIONS = ("encoders", "group", "log")
"""What /readyz of an encode worker wants to hold."""


def assemble(config: Config, *, health: Health, stack: ExitStack) -> Worker:
    """A worker ready to run; `stack` closes its doors in the right order. Raises FatalError
    where weights cannot be had."""
    kafka, topics = config.kafka, topics_of(config)
    try:
        encoders = load_encoders(config.encoders, open_endpoint=open_endpoint)
        labeller = open_labeller(config.encoders, encoders)
        fusion = load_fusion(config.encoders)
    except SpecError as error:
        raise FatalError(str(error)) from error
    for encoder in encoders.values():
        if isinstance(encoder, EndpointEncoder):
            stack.callback(encoder.close)
    warm_up(encoders)
    health.set("encoders", ok=True)
    names = {modality: encoder.name for modality, encoder in encoders.items()}
    prepared = {modality: prepare_version(modality, config.prepare) for modality in names}
    version = fusion.version
    log.info("encoders_loaded", version=version, **names)
    metrics.info(encoder=version, version=package("streamrec"), torch=torch.__version__)
    check_copartitioned(kafka)
    source = KafkaSource(
        kafka,
        topics=[topics.items, topics.media, topics.events],
        group=f"{kafka.group}-encode",
        assignor="range",  # equal partition numbers of the three go to one worker
    )
    stack.callback(source.close)
    sink = AcknowledgedSink(kafka, source)
    stack.callback(sink.close)
    measured = MeasuredSource(source)
    model = Model(encoders, budgets_of(config))
    stack.callback(model.close)
    preparer = Preparer(
        limits=config.media, threads=config.encode.decode_threads, prepare=config.prepare
    )
    stack.callback(preparer.close)

    def open_table(numbers: set[int]) -> OpenTable:
        return KafkaTable(kafka, topics=[topics.item_vectors], only=numbers)

    tables = KafkaTable(kafka, topics=[topic(kafka, "models")])
    stack.callback(tables.close)
    rollout = Rollout(
        table=tables,
        models=Models(
            config.models,
            width=config.encoders.width,
            health=health,
            name=FUSION,
            load=load_fusion_file,
        ),
        configured=fusion,
        both_s=config.models.both_s,
        topic=topic(kafka, "models"),
    )
    stack.callback(rollout.models.close)
    rollout.catch_up()
    return Worker(
        source=measured,
        sink=MeasuredSink(sink),
        open_table=open_table,
        shelf=Shelf(names, version, dict(config.encoders.spaces), prepared, labeller),
        preparer=preparer,
        model=model,
        topics=topics,
        fusion=fusion,
        batch=config.encode.batch,
        batch_wait_s=config.encode.batch_wait_s,
        health=health,
        session_s=kafka.session_timeout_ms / 1000,
        rollout=lambda worker, now: follow(worker, rollout, now=now),
        report=lambda: measured.report(source.lag(), now_ms=time.time() * 1000),
    )


def topics_of(config: Config) -> Topics:
    """The names of the topics by their roles."""
    return Topics(
        items=topic(config.kafka, "items"),
        media=topic(config.kafka, "media"),
        events=topic(config.kafka, "events"),
        item_vectors=topic(config.kafka, "item-vectors"),
        dead_letters=topic(config.kafka, "dead-letters"),
    )


def budgets_of(config: Config) -> dict[str, int]:
    """What a micro-batch of each modality may cost, in its encoder's units."""
    encode = config.encode
    return {
        "text": encode.batch_tokens,
        "image": encode.batch_pixels,
        "audio": round(encode.batch_audio_s * 1000),
        "video": encode.batch_pixels,
        "sensor": encode.batch_sensor,
    }
