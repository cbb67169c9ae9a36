"""A recommend worker on in-memory doors: produce, turn the loop, read what came out."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from encoders.config import EncoderConfig
from encoders.fusion import fusion_version
from encoders.law import Law
from ranking.catalogue import Catalogue
from ranking.resident import ResidentIndex
from schemas import Event, Item, ItemVectors, Slate, Slot, decode, encode
from workers.config import ListConfig, RecommendConfig
from workers.items import Items
from workers.lists import Lists
from workers.member import Worker
from workers.memory import MemoryUserStore
from workers.memory_log import MemoryLog, MemorySink, MemorySource, MemoryTable
from workers.ports import Outbound, Record, UserStore
from workers.recommend import run
from workers.users import Users

NOW = 1_764_000_000_000
WIDTH = 16
SPACE = fusion_version(EncoderConfig(width=WIDTH))
EVENTS, ITEMS, VECTORS = "rec.events.v1", "rec.items.v1", "rec.item-vectors.v1"
SLATES, DEAD = "rec.recommendations.v1", "rec.dead-letters.v1"
TOPICS = (EVENTS, ITEMS, VECTORS, SLATES, DEAD)


@dataclass
class House:
    """The log with all topics, a store, and workers that come and go on them."""

    partitions: int = 3
    store: UserStore = field(default_factory=MemoryUserStore)
    lists: ListConfig = field(default_factory=ListConfig)
    now_ms: int = NOW
    log: MemoryLog = field(init=False)
    seconds: Iterator[float] = field(default_factory=lambda: iter(np.arange(0, 1e5, 0.26)))

    def __post_init__(self) -> None:
        self.log = MemoryLog(
            dict.fromkeys(TOPICS, self.partitions), now_ms=lambda: self.now_ms
        )

    def item(self, item_id: str, vector: Any = None, **more: Any) -> None:
        """An item with the vector that its encode worker would have given it."""
        self.write(ITEMS, item_id, encode(Item(item_id=item_id, **more)))
        self.vector(item_id, vector_of(item_id) if vector is None else vector)

    def vector(self, item_id: str, vector: Any, encoder: str = SPACE) -> None:
        data = np.asarray(vector, "<f4").tobytes()
        slots = {"text": Slot(vector=data, encoder="t", source=(ITEMS, 0, 0))}
        record = ItemVectors(item_id=item_id, slots=slots, fused=data, encoder=encoder)
        self.write(VECTORS, item_id, encode(record))

    def write(self, topic: str, key: str, value: bytes | None, **more: Any) -> None:
        self.log.append([Outbound(topic, key.encode(), value, **more)])

    def send(self, *events: Event) -> None:
        for event in events:
            self.write(EVENTS, event.user_id, encode(event))

    def worker(self, name: str = "w", *, save_every_s: float = 1.0, **more: Any) -> Worker:
        """A worker of the group, doors open, not running yet."""
        source = MemorySource(self.log, topics=[EVENTS], group="recommend", worker=name)
        sink = MemorySink(self.log, source)
        table: Any = MemoryTable(self.log, topics=[ITEMS, VECTORS])
        law = Law()
        items = Items(
            table, ResidentIndex(WIDTH), Catalogue(self.lists.popular_half_life_ms),
            ITEMS, SPACE, WIDTH, law,
        )  # fmt: skip
        lists = Lists(items, self.lists, SLATES, "msgpack", "test")
        users = Users(
            store=self.store, law=law, topic=EVENTS, topic_id="log-1", writer=name,
            width=WIDTH, model="test", cache_bytes=1 << 24, encode=lists.encode_users,
        )  # fmt: skip
        defaults: dict[str, Any] = {
            "source": source, "sink": sink, "users": users, "items": items, "lists": lists,
            "config": RecommendConfig(save_every_s=save_every_s, batch=50),
            "dead_letters": DEAD,
        }  # fmt: skip
        return Worker(**(defaults | more))

    def turn(self, worker: Worker, turns: int = 12, *, crash: bool = False) -> None:
        """Turn the loop so many times. A crash leaves without the last save."""
        left = iter(range(turns))
        stopped = Stopped("crash") if crash else None
        run_quietly(
            lambda: run(
                worker,
                should_stop=lambda: _over(left, stopped),
                now=lambda: float(next(self.seconds)),
                clock=lambda: self.now_ms / 1000,
            )
        )

    def slates(self, user_id: str = "") -> list[Slate]:
        """Every list in the log, oldest first a partition; erasures left out."""
        found = [
            decode("recommendations", r.value) for r in self.log.records(SLATES) if r.value
        ]
        return [s for s in found if user_id in ("", s.user_id)]

    def dead(self) -> list[Record]:
        return self.log.records(DEAD)


class Stopped(Exception):
    """The worker died here."""


def _over(left: Any, stopped: Exception | None) -> bool:
    if next(left, None) is not None:
        return False
    if stopped:
        raise stopped
    return True


def run_quietly(call: Callable[[], None]) -> None:
    try:
        call()
    except Stopped:
        return


def vector_of(name: str) -> Any:
    """A unit vector that belongs to a name."""
    seed = int.from_bytes(name.encode()[:8].ljust(8, b"."), "little")
    vector = np.random.default_rng(seed).standard_normal(WIDTH).astype(np.float32)
    return vector / np.linalg.norm(vector)


def ids(slate: Slate) -> list[str]:
    return [item.item_id for item in slate.items]


def named(slates: Iterable[Slate]) -> list[str]:
    """Every event that a list names, in order, doubles included."""
    return [event for slate in slates for event in slate.caused_by]
