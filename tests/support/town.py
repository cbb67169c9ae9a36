"""A recommend worker whose lists are blended, the trends beside it, and models for it."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from encoders.law import Law, hash64
from evaluation.replay import TRENDS
from ranking.blend import blend_tensors, untrained
from ranking.trend_config import TrendConfig
from ranking.trends import Trends
from schemas import Event, Interaction, ModelCard, Slate, Visit, encode
from tests.support.house import EVENTS, NOW, House
from workers.config import Config
from workers.member import Worker
from workers.model_files import Model
from workers.ports import Outbound
from workers.trend_events import decoded

MINUTE_MS = 60_000

NAMES = [f"i{n:02d}" for n in range(30)]


@dataclass
class Town:
    """A worker with its lists blended, and what folds the trends beside it."""

    house: House
    worker: Worker = field(init=False)
    trends: dict[int, Trends] = field(default_factory=dict)
    read: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for n, name in enumerate(NAMES):
            self.house.item(name, categories=["even" if n % 2 == 0 else "odd"])
        self.worker = self.house.hire()
        self.trends = {
            n: Trends(n, config=TrendConfig(), law=Law())
            for n in range(self.house.partitions)
        }

    def fold(self) -> None:
        """As the trend worker does: what is new in the events, into records of trends."""
        for record in self.house.log.records(EVENTS):
            if record.offset >= self.read.get(record.partition, 0):
                self.read[record.partition] = record.offset + 1
                self.trends[record.partition].apply(decoded([record], Config(), Law()))
        for trends in self.trends.values():
            self.house.log.append(
                [
                    Outbound(TRENDS, table.name.encode(), encode(table))
                    for table in trends.drain()
                ]
            )

    def tell(self, *events: Event, turns: int = 6) -> list[Slate]:
        """Events answered; then the trends catch up. Returns the new lists."""
        before = len(self.house.log.records("rec.recommendations.v1"))
        self.house.tell(*events)
        self.house.turn(self.worker, turns)
        self.fold()
        self.house.turn(self.worker, 1)
        after = self.house.slates()
        caused = {event.event_id for event in events}
        assert len(self.house.log.records("rec.recommendations.v1")) >= before
        return [s for s in after if caused & {*s.caused_by}]

    def ask(self, user: str, event_id: str, **context: str) -> Slate:
        (slate,) = self.tell(
            Visit(event_id=event_id, user_id=user, at_ms=self.house.now_ms, context=context)
        )
        return slate


def click(user: str, item: str, n: int = 0, **more: Any) -> Interaction:
    return Interaction(
        event_id=f"{user}-{item}-{n}-{more.get('kind', 'click')}", user_id=user, item_id=item,
        kind=more.pop("kind", "click"), at_ms=NOW - 3_600_000 + n * MINUTE_MS, **more,
    )  # fmt: skip


def chains(users: int = 8) -> list[Interaction]:
    """Who touched i03 went on to i14, and then to i25."""
    return [
        click(f"u{u}", item, n=3 * u + step)
        for u in range(users)
        for step, item in enumerate(("i03", "i14", "i25"))
    ]


def model(version: str, *, likes: str = "", encoder: str = "", **tensors: Any) -> Model:
    """A model in which every item speaks for one, and nothing else counts."""
    hash_M = np.array([hash64(name) for name in NAMES], np.uint64)
    to_MK = np.full((len(NAMES), 1), NAMES.index(likes) if likes else -1, np.int32)
    blend = untrained()
    blend.linear.weight.zero_()
    blend.linear.weight[0, 3] = blend.prior_F[3] = 50.0  # ease
    made = {
        "items": torch.from_numpy(hash_M.view(np.int64)),
        "ease.to": torch.from_numpy(to_MK),
        "ease.weight": torch.ones(len(NAMES), 1),
        **blend_tensors(blend),
        **tensors,
    }
    card = ModelCard(
        name="ranker", version=version, uri="file:///x", sha256="0" * 64, at_ms=1
    )
    return Model(card, made, {"encoder": encoder})


@dataclass
class Handed:
    """Models that became ready, one at a time."""

    ready: list[Model] = field(default_factory=list)

    def take(self) -> Model | None:
        return self.ready.pop(0) if self.ready else None

    def settle(self) -> None:
        """All of them are read already."""


def encode_table(name: str) -> bytes:
    from schemas import TrendTable

    return encode(TrendTable(name=name, at_ms=NOW, rows=[("i01", 1.0)]))


def handed(town: Town, *models: Model) -> None:
    town.worker.models = Handed(list(models))  # type: ignore[assignment]
