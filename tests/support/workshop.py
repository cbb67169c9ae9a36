"""An encode worker on a log in memory: what is produced goes in, what is written is read."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import numpy as np
import soundfile
import torch
from msgspec import Struct
from msgspec.structs import replace
from PIL import Image
from torch import Tensor

from encoders.config import EncoderConfig
from encoders.encoder import Encoder
from encoders.fusion import fusion_version
from encoders.fusion_load import load_fusion
from encoders.labels import open_labeller
from encoders.preparation import PrepareConfig, prepare_version
from schemas import ItemVectors, Signal, decode, encode
from tests.support.waiting import Turned
from workers.config import Config
from workers.encode import run
from workers.encode_doors import budgets_of, topics_of
from workers.media import MediaLimits
from workers.memory_log import MemoryLog, MemorySink, MemorySource, MemoryTable
from workers.model import Model
from workers.ports import Outbound, Record
from workers.prepare import Preparer
from workers.shelf import Shelf
from workers.underway import Worker

PARTITIONS = 3
TOPICS = topics_of(Config())
NOW = 1_764_000_000_000


@dataclass(frozen=True, slots=True)
class Counting:
    """An encoder that remembers what it was given."""

    inner: Encoder[Any]
    seen: list[Any] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.inner.name

    @property
    def modality(self) -> str:
        return self.inner.modality

    @property
    def width(self) -> int:
        return self.inner.width

    def cost(self, content: Any) -> int:
        return self.inner.cost(content)

    def encode(self, batch: Sequence[Any]) -> Tensor:
        self.seen.extend(batch)
        return self.inner.encode(batch)


class Workshop:
    """A log, and workers on it. `encoders`: real ones; `allow`: prefixes of media."""

    def __init__(
        self,
        encoders: Mapping[str, Encoder[Any]],
        *,
        config: EncoderConfig | None = None,
        prepare: PrepareConfig | None = None,
        **limits: Any,
    ) -> None:
        names = [TOPICS.items, TOPICS.media, TOPICS.events, TOPICS.item_vectors]
        self.log = MemoryLog(
            dict.fromkeys([*names, TOPICS.dead_letters], PARTITIONS), now_ms=lambda: self.ms
        )
        self.ms = NOW
        self.config = config or EncoderConfig()
        self.encoders = {name: Counting(encoder) for name, encoder in encoders.items()}
        self.limits = MediaLimits(**limits)
        self.prepare = prepare or PrepareConfig()

    def send(self, topic: str, key: str, record: Struct | None, **where: Any) -> Outbound:
        """Append one record, a millisecond after the one before."""
        self.ms += 1
        value = None if record is None else encode(record)  # type: ignore[arg-type]
        sent = Outbound(topic, key.encode(), value, where.pop("partition", None), **where)
        self.log.append([sent])
        return sent

    @contextmanager
    def worker(self, name: str = "worker-0", batch: int = 8) -> Iterator[Worker]:
        """A worker of the group under this name."""
        source = MemorySource(
            self.log,
            topics=[TOPICS.items, TOPICS.media, TOPICS.events],
            group="encode",
            worker=name,
        )
        model = Model(self.encoders, budgets_of(Config()))
        preparer = Preparer(limits=self.limits, threads=2, prepare=self.prepare)
        names = {modality: encoder.name for modality, encoder in self.encoders.items()}
        prepared = {modality: prepare_version(modality, self.prepare) for modality in names}
        try:
            yield Worker(
                source=source,
                sink=MemorySink(self.log, source),
                open_table=lambda numbers: MemoryTable(
                    self.log, topics=[TOPICS.item_vectors], only=numbers
                ),
                shelf=Shelf(
                    names,
                    fusion_version(self.config),
                    dict(self.config.spaces),
                    prepared,
                    open_labeller(self.config, self.encoders),
                ),
                preparer=preparer,
                model=model,
                topics=TOPICS,
                fusion=load_fusion(self.config),
                batch=batch,
                batch_wait_s=0.0,
            )
        finally:
            preparer.close()
            model.close()

    def drain(self, *, batch: int = 8, name: str = "worker-0") -> Worker:
        """A new worker of this name does all there is to do."""
        with self.worker(name, batch) as worker:
            self.turn(worker, until=lambda: settled(worker))
        return worker

    def turn(self, worker: Worker, *, until: Callable[[], object]) -> None:
        """Turn a worker's loop until the condition holds. For the worker a hundredth of a
        second passes a turn."""
        clock = count()
        turned = Turned(until, between=lambda: wait_for_threads(worker))
        run(worker, should_stop=turned.enough, now=lambda: next(clock) / 500)

    def items(self) -> dict[str, ItemVectors]:
        """The newest vectors of each item."""
        newest = {r.key: r for r in self.log.records(TOPICS.item_vectors)}
        found = [decode("item-vectors", r.value or b"") for r in newest.values()]
        return {vectors.item_id: vectors for vectors in found}

    def signals(self) -> dict[str, Signal]:
        """The Signals by their ids."""
        ours = [r for r in self.log.records(TOPICS.events) if r.header("caused-at-ms")]
        found = [decode("events", r.value or b"") for r in ours]
        return {signal.event_id: signal for signal in found if isinstance(signal, Signal)}

    def dead_letters(self) -> list[Record]:
        return self.log.records(TOPICS.dead_letters)

    def seen(self, modality: str) -> int:
        """How many contents went through an encoder."""
        return len(self.encoders[modality].seen)


def settled(worker: Worker) -> bool:
    """Whether nothing is under way and all is committed."""
    under_way = worker.pending or worker.preparing or worker.encoding or worker.outdated
    source = worker.source
    assert isinstance(source, MemorySource)
    lag = source.lag()
    committed = source.committed(list(lag))
    behind = any(source.bounds([at])[at][1] > committed.get(at, 0) for at in lag)
    return bool(lag) and not under_way and not behind


def wait_for_threads(worker: Worker) -> None:
    """Give the threads the time that a real poll would take."""
    if worker.encoding is not None:
        wait([worker.encoding.vectors], timeout=0.02)
    elif worker.preparing is not None:
        wait([f for of_job in worker.preparing.outcomes for f in of_job], timeout=0.02)
    elif slow := [f for of_job in worker.waiting.outcomes for f in of_job]:
        wait(slow, timeout=0.002, return_when=FIRST_COMPLETED)


def without_source(vectors: ItemVectors) -> ItemVectors:
    """An item as it is whatever offsets its records had."""
    return replace(vectors, put=None, withdrawn_by=None)


def picture(colour: tuple[int, int, int], kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    image = Image.new("RGB", (48, 32), colour)
    image.paste((128, 128, 128), (8, 8, 24, 24))  # of one colour it would be no picture
    image.save(stream, kind)
    return stream.getvalue()


def sound(step: float, seconds: float = 0.3) -> bytes:
    stream = io.BytesIO()
    wave = 0.5 * np.sin(np.arange(int(16_000 * seconds)) * step)
    soundfile.write(stream, wave.astype(np.float32), 16_000, format="WAV")
    return stream.getvalue()


def vector(data: bytes | None) -> Tensor:
    assert data is not None
    return torch.from_numpy(np.frombuffer(data, "<f4").copy())
