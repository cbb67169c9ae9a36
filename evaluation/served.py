"""What is served, measured as it is served: the recommend worker on memory doors.

Nothing is called past its door. Items, vectors and events are bytes on topics; the worker's loop
folds and publishes; the list is read from its topic. Trends come from the trend worker's own
fold, two seconds of event time late; models from the train worker's rounds, as often as by its
defaults: judged on what they have not learned from, and in force only if they are not worse.
"""

import hashlib
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from encoders.config import EncoderConfig
from encoders.fusion import columns_of
from encoders.fusion_load import load_fusion
from encoders.law import CODES, hash64
from evaluation.recorded import Event, Floats, Ints, Log
from evaluation.replay import ITEMS, SLATES, TRENDS, VECTORS, Replay
from ranking import learn as learning
from ranking.learn import LearnSettings
from ranking.learn_log import Judged, LearnItems, LearnLog
from ranking.trend_config import TrendConfig
from ranking.trend_state import TrendEvent
from ranking.trends import Trends
from schemas import (
    Interaction,
    Item,
    ItemVectors,
    ModelCard,
    Slate,
    SlateItem,
    Slot,
    Visit,
    decode,
    encode,
)  # fmt: skip
from workers.config import ListConfig, TrainConfig
from workers.member import Worker
from workers.model_files import Model
from workers.train_round import SURE, Round

LAG_MS = 2_000
FAST = TrendConfig(publish_rows=500)
Tensors = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class Learner:
    """The train worker's own, with these settings. Holds `workers.train_round.Learner`."""

    settings: LearnSettings

    def learn(
        self, log: LearnLog, *, previous: Tensors | None, **more: Any
    ) -> dict[str, Tensor]:
        return learning.learn(log, previous=previous, settings=self.settings, **more)

    def judge(self, tensors: Tensors | None, log: LearnLog, **more: Any) -> Judged:
        return learning.judge(tensors, log, **more)


@dataclass(slots=True, eq=False, kw_only=True)
class Served:
    """Holds `Recommender`. `refresh`: events after which there is a round of learning; 0: never
    after the history. `vector_IW`: rows of the text encoder, one an item. `given`: models of
    histories, by all that went into them: what is there is not learned again, what is learned
    is put there. `places`: of the list that is published; `lists` cuts it after leaving out
    what it is told to, which matters where the worker is told late."""

    items: Sequence[Item]
    vector_IW: Floats
    config: EncoderConfig
    name: str = "streamrec"
    refresh: int = TrainConfig().every_events
    model: bool = True
    blend_rate: float = ListConfig().blend_rate
    explore: float = ListConfig().explore
    learning: LearnSettings = field(default_factory=LearnSettings)
    places: int = 20
    given: dict[str, Tensors] = field(default_factory=dict)
    _replay: Replay = field(init=False)
    _worker: Worker = field(init=False)
    _trends: Trends = field(init=False)
    _pasts: dict[int, bytes] = field(default_factory=dict)  # the trend worker's store
    _heard: deque[tuple[int, TrendEvent]] = field(default_factory=deque)
    _log: list[Interaction] = field(default_factory=list)
    _tensors: Tensors | None = None
    _current: Model | None = None
    _asked: int = 0
    _read: int = 0
    _fused: Floats = field(init=False)
    _learned: int = 0
    _users: tuple[str, ...] = ()
    _row: dict[str, int] = field(default_factory=dict)

    @property
    def settings(self) -> str:
        """What moves the figures."""
        told = (
            f"refresh={self.refresh} model={self.model} lag_ms={LAG_MS} "
            f"blend_rate={self.blend_rate:g} explore={self.explore:g} places={self.places}"
        )
        return f"{told} {self._learns}"

    def learned_from(self, events: int) -> str:
        """All that goes into the model of so many events: a key of `given`."""
        return f"{events} {self._learns}"

    @property
    def _learns(self) -> str:
        vectors = hashlib.sha256(self.vector_IW.tobytes()).hexdigest()[:8]
        newest = f"newest={TrainConfig().newest} sure={SURE}"
        return f"{load_fusion(self.config).version} {vectors} {newest} {self.learning!r}"

    @property
    def encoder(self) -> str:
        """The space of the item vectors."""
        return load_fusion(self.config).version

    @property
    def tensors(self) -> Tensors:
        """The model in force."""
        return self._tensors or {}

    def records(self) -> Iterator[tuple[Item, ItemVectors]]:
        """The catalogue as the encode worker would have left it. After `fit`."""
        for item, fused, vector in zip(
            self.items, self._fused, self.vector_IW, strict=True
        ):
            yield item, self._vectors(item, fused, vector)

    def fit(self, history: Log) -> None:
        """The history flows through the worker and the trends, then a model is learned."""
        self._users = history.users
        self._row = {item.item_id: n for n, item in enumerate(self.items)}
        self._fused = fused(self.vector_IW, self.config)
        self._replay = Replay(
            encoder=self.encoder,
            width=self.config.width,
            now_ms=int(history.at_ms_E[0]) if len(history) else 0,
            lists=ListConfig(
                k=self.places, reasons=0, blend_rate=self.blend_rate, explore=self.explore
            ),
            trends=FAST,
        )
        for item, vectors in self.records():
            self._replay.write(ITEMS, item.item_id, encode(item))
            self._replay.write(VECTORS, item.item_id, encode(vectors))
        self._worker = self._replay.worker()
        law = self._replay.law
        self._trends = Trends(0, config=FAST, law=law, load_user=self._pasts.get)
        for begin in range(0, len(history), 1_000):
            part = history.events[begin : begin + 1_000]
            for event in part:
                self._happened(event)
            self._replay.now_ms = max(e.at_ms for e in part)
            self._hear(self._replay.now_ms)
            self._turn(2)
        if self.model:
            self._learn()

    def lists(
        self, user_U: Ints, at_ms_U: Ints, *, k: int, exclude: Sequence[Ints]
    ) -> Ints:
        """Somebody visits: the list that the worker publishes for it. What the user touched is
        the worker's own knowledge; `exclude` is not told to it."""
        out = np.full((len(user_U), k), -1, np.int64)
        for n, (user, at_ms) in enumerate(
            zip(user_U.tolist(), at_ms_U.tolist(), strict=True)
        ):
            self._replay.now_ms = max(self._replay.now_ms, at_ms)
            self._hear(at_ms - LAG_MS)
            self._asked += 1
            name = f"visit-{self._asked}"
            visit = Visit(event_id=name, user_id=self._users[user], at_ms=at_ms)
            self._replay.send([visit])
            row_K = [self._row[i.item_id] for i in self._answer(name)]
            if self.places > k:  # else what it was not to list is for the protocol to find
                row_K = [row for row in row_K if row not in exclude[n]]
            out[n, : min(k, len(row_K))] = row_K[:k]
        return out

    def apply(self, event: Event) -> None:
        """It goes to the log, and the worker folds it at once, before the trends hear of it."""
        if event.record is None:
            raise ValueError(f"event {event.row} has no record: take it from Log.event")
        self._happened(event.record)
        if self.blend_rate:
            self._turn(1)
        if self.model and self.refresh and len(self._log) - self._learned >= self.refresh:
            self._learn()

    def _happened(self, event: Interaction) -> None:
        """An event reaches the log; the trends hear of it later."""
        told = trend_event(event, offset=len(self._log))
        self._log.append(event)
        self._replay.now_ms = max(self._replay.now_ms, event.at_ms)
        self._replay.send([event])
        self._heard.append((event.at_ms, told))

    def _hear(self, until_ms: int) -> None:
        """The trend worker's tables, up to this time, as records on their topic."""
        events = []
        while self._heard and self._heard[0][0] <= until_ms:
            events.append(self._heard.popleft()[1])
        if not events:
            return
        self._trends.apply(events)
        for table in self._trends.drain():
            self._replay.write(TRENDS, table.name, encode(table))
        if len(self._log) % 1_000 == 0:
            users = self._trends.unsaved(floor=events[-1].offset).users
            self._pasts.update({name: past for name, past in users.items() if past})
            self._trends.saved()

    def _turn(self, turns: int) -> None:
        self._replay.turn(self._worker, turns)

    def _answer(self, event_id: str) -> Sequence[SlateItem]:
        """The list that names this event: it is among what the turn published."""
        for _ in range(8):
            self._turn(1)
            first, end = self._read, self._replay.log.bounds((SLATES, 0))[1]
            self._read = end
            for record in self._replay.log.read((SLATES, 0), first, end - first):
                slate: Slate | None = (
                    decode("recommendations", record.value) if record.value else None
                )
                if slate is not None and event_id in slate.caused_by:
                    return slate.items
        raise RuntimeError(f"no list names {event_id}: see the dead letters of the replay")

    def _learn(self) -> None:
        """What the train worker does now; in force before the next list."""
        first, self._learned = self._tensors is None, len(self._log)
        key = self.learned_from(len(self._log))
        tensors = self.given.get(key) if first else None
        tensors = self._round() if tensors is None else tensors
        if tensors is None:
            return
        if first:
            self.given[key] = tensors
        self._tensors = tensors
        self._current = self._model(tensors)
        blending = self._worker.lists.blending
        assert blending is not None
        blending.use(self._current)
        self._worker.lists.model = self._current.version

    def _round(self) -> Tensors | None:
        """A model that is not worse than the one in force, or none."""
        config, version = TrainConfig(), self._current.version if self._current else ""
        outcome = Round(
            Learner(self.learning), self._columns(), config.newest, self._current, version,
            config.seed, FAST, self._replay.law, config.tolerance,
        ).learned()  # fmt: skip
        return None if outcome.worse(tolerance=config.tolerance) else outcome.tensors

    def _model(self, tensors: Tensors) -> Model:
        version = f"learned-{len(self._log)}"
        card = ModelCard(name="ranker", version=version, uri="file:///model", sha256="0")
        return Model(card, tensors, {})

    def _columns(self) -> LearnLog:
        """The log as the train worker keeps it."""
        return learn_log(self._log, self.items, self._fused, encoder=self.encoder)

    def _vectors(self, item: Item, fused: Floats, vector: Floats) -> ItemVectors:
        slot = Slot(
            vector=vector.astype("<f4").tobytes(),
            encoder="evaluation/text",
            source=(ITEMS, 0, 0),
            content="",
        )
        return ItemVectors(
            item_id=item.item_id,
            slots={"text": slot},
            fused=fused.astype("<f4").tobytes(),
            encoder=self._replay.encoder,
        )


def fused(vector_IW: Floats, config: EncoderConfig) -> Floats:
    """I x D: what the encode worker fuses of texts alone."""
    rows = [{"text": torch.from_numpy(vector_W)} for vector_W in vector_IW]
    made = load_fusion(config).fuse(columns_of(rows), rows=len(rows))
    vector_ID: Floats = made.vector_ED.numpy()
    return vector_ID


def learn_log(
    events: Sequence[Interaction], items: Sequence[Item], fused_ID: Floats, *, encoder: str
) -> LearnLog:
    """Events as the train worker keeps them."""
    nan = float("nan")
    return LearnLog(
        user_E=np.array([hash64(e.user_id) for e in events], np.uint64),
        item_E=np.array([hash64(e.item_id) for e in events], np.uint64),
        kind_E=np.array([CODES[e.kind] for e in events], np.uint8),
        value_E=np.array([nan if e.value is None else e.value for e in events], np.float32),
        at_ms_E=np.array([e.at_ms for e in events], np.int64),
        offset_E=np.arange(len(events)),
        partition_E=np.zeros(len(events), np.int32),
        items=LearnItems(
            hash_I=np.array([hash64(i.item_id) for i in items], np.uint64),
            item_id_I=[i.item_id for i in items],
            categories_I=[frozenset(i.categories) for i in items],
            published_at_ms_I=np.array([i.published_at_ms or 0 for i in items], np.int64),
            vector_ID=fused_ID,
            encoder=encoder,
        ),
    )


def trend_event(event: Interaction, *, offset: int) -> TrendEvent:
    """What the trend worker takes from an event."""
    return TrendEvent(
        user=hash64(event.user_id),
        event=hash64(event.event_id),
        item_id=event.item_id,
        kind=event.kind,
        value=event.value,
        at_ms=event.at_ms,
        offset=offset,
    )
