"""A train worker, and recommend workers that follow what it publishes, on a log in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from encoders.law import Law
from ranking.trend_config import TrendConfig
from schemas import Event, Interaction, ModelCard, Slate, Visit
from tests.support import counts
from tests.support.house import EVENTS, ITEMS, NOW, VECTORS, WIDTH, House
from tests.support.waiting import Turned
from workers.config import ModelsConfig, RecommendConfig, TrainConfig
from workers.health import Health
from workers.member import Worker as Recommender
from workers.memory_log import MemoryLog, MemoryTable
from workers.model_cards import Cards, in_force
from workers.model_files import load_model
from workers.models import Models
from workers.ports import Outbound
from workers.routed import RoutedTable
from workers.train import CONDITIONS, Worker, run
from workers.train_columns import Columns
from workers.train_items import TrainItems

MODELS = "rec.models.v1"
NAMES = [f"i{n:02d}" for n in range(60)]
SMALL = TrainConfig(
    min_events=100, min_fresh=1, newest=200, every_s=1.0, every_events=1_000_000
)


@dataclass
class Academy:
    """Topics in memory, a folder, and workers on both."""

    folder: Path
    house: House = field(default_factory=House)
    config: TrainConfig = SMALL
    trends: TrendConfig = field(default_factory=TrendConfig)
    law: Law = field(default_factory=Law)
    models: ModelsConfig = field(default_factory=lambda: ModelsConfig(retry_s=0.05))
    seconds: Any = field(default_factory=lambda: (0.3 * n for n in count()))

    def __post_init__(self) -> None:
        topics = dict.fromkeys(self.log.partitions, 3) | {MODELS: 1}
        self.house.log = MemoryLog(topics, now_ms=lambda: self.house.now_ms)
        self.config = replace(self.config, out=str(self.folder / "models"))

    @property
    def log(self) -> MemoryLog:
        return self.house.log

    def worker(self, learner: Any = counts) -> Worker:
        """A train worker of one name: a second one reads on where the first kept."""
        columns = Columns(
            folder=self.folder / "columns",
            log_id="memory",
            limit=self.config.max_events,
            size=300,
        )
        return Worker(
            tables=MemoryTable(self.log, topics=[ITEMS, VECTORS, MODELS]),
            events=MemoryTable(self.log, topics=[EVENTS], starts=columns.starts(EVENTS)),
            write=self.write,
            items=TrainItems(items_topic=ITEMS, width=WIDTH),
            columns=columns,
            learner=learner,
            config=self.config,
            trends=self.trends,
            law=self.law,
            recommend=RecommendConfig(),
            models=self.models,
            models_topic=MODELS,
            health=Health(conditions=CONDITIONS),
        )

    def write(self, outbound: Sequence[Outbound]) -> None:
        self.log.append(outbound)

    def turn(self, worker: Worker, *, until: Callable[[], object]) -> None:
        """Turn the worker's loop until the condition holds."""
        run(
            worker,
            should_stop=Turned(until).enough,
            now=lambda: next(self.seconds),
            clock=lambda: self.house.now_ms / 1000,
        )

    def learned(self, worker: Worker) -> None:
        """One round from its beginning to its end."""
        before = worker.rounds
        self.turn(worker, until=lambda: worker.rounds > before)

    def recommender(self, name: str = "w") -> Recommender:
        """A recommend worker that follows the cards."""
        worker = self.house.hire(name)
        models = Models(self.models, width=WIDTH, health=worker.health, load=load_model)
        worker.models = models
        table = MemoryTable(self.log, topics=[ITEMS, VECTORS, MODELS])
        worker.items.table = RoutedTable(table, {MODELS: models.apply})
        return worker

    def catalogue(self) -> None:
        for name in NAMES:
            self.house.item(name)

    def put(self, card: ModelCard) -> None:
        self.write(in_force(card, topic=MODELS))

    def cards(self) -> Cards:
        cards = Cards()
        cards.apply(self.log.records(MODELS))
        return cards

    def current(self) -> ModelCard:
        return self.cards().current["ranker"]


def chains(count_: int, *, start: int = 0, users: int = 12, step: int = 7) -> list[Event]:
    """People who go through the catalogue in strides: what follows is sure, what is popular
    says little."""
    out: list[Event] = []
    for n in range(start, start + count_):
        user, turn = n % users, n // users
        item = NAMES[(user * 5 + turn * step) % len(NAMES)]
        out.append(
            Interaction(
                event_id=f"c{n}", user_id=f"u{user}", item_id=item, kind="click",
                at_ms=NOW - 10_000_000 + n * 1_000,
            )
        )  # fmt: skip
    return out


def versions(academy: Academy, worker: Any, *users: str) -> list[str]:
    """The model that each of these people's next list names."""
    academy.house.now_ms += 1_000
    number = len(academy.house.slates())
    academy.house.tell(
        *(
            Visit(event_id=f"v{number}-{n}", user_id=user, at_ms=academy.house.now_ms)
            for n, user in enumerate(users)
        )
    )
    asked = [f"v{number}-{n}" for n in range(len(users))]
    found: dict[str, Slate] = {}
    for _ in range(20):
        academy.house.turn(worker, 5)
        found = {e: s for s in academy.house.slates() for e in s.caused_by}
        if found.keys() >= set(asked):
            break
    return [found[event].versions["model"] for event in asked]
