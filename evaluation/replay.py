"""A recorded log through the path of production: the same worker, on in-memory doors.

No shortcut: records are bytes on topics, the loop is workers/recommend.py, users are saved
and fenced as always. Only the outside is missing, and the clock is handed in.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import count

from encoders.law import Law
from ranking.catalogue import Catalogue
from ranking.resident import ResidentIndex
from ranking.trend_config import TrendConfig
from schemas import Event, Slate, decode, encode
from workers.blending import Blending
from workers.config import ListConfig, RecommendConfig
from workers.items import Items
from workers.lists import Lists
from workers.member import Worker
from workers.memory import MemoryUserStore
from workers.memory_log import MemoryLog, MemorySink, MemorySource, MemoryTable
from workers.ports import Outbound, UserStore
from workers.recommend import run
from workers.routed import RoutedTable
from workers.users import Users

EVENTS, ITEMS, VECTORS = "rec.events.v1", "rec.items.v1", "rec.item-vectors.v1"
SLATES, DEAD_LETTERS = "rec.recommendations.v1", "rec.dead-letters.v1"
TRENDS = "rec.trends.v1"
TOPICS = (EVENTS, ITEMS, VECTORS, SLATES, DEAD_LETTERS, TRENDS)


@dataclass(slots=True, eq=False, kw_only=True)
class Replay:
    """The log with all topics, a store, and workers that come and go on them. `now_ms` is
    the broker's and the worker's clock; `encoder` the version of the space that the item
    vectors are of, `width` its width."""

    encoder: str
    width: int
    now_ms: int
    partitions: int = 1
    store: UserStore = field(default_factory=MemoryUserStore)
    lists: ListConfig = field(default_factory=ListConfig)
    law: Law = field(default_factory=Law)
    trends: TrendConfig | None = (
        None  # how trends are read; None: lists go by content alone
    )
    log: MemoryLog = field(init=False)
    seconds: Iterator[float] = field(default_factory=lambda: (0.26 * n for n in count()))

    def __post_init__(self) -> None:
        topics = dict.fromkeys(TOPICS, self.partitions)
        self.log = MemoryLog(topics, now_ms=lambda: self.now_ms)

    def write(self, topic: str, key: str, value: bytes | None) -> None:
        """Append one record."""
        self.log.append([Outbound(topic, key.encode(), value)])

    def send(self, events: Iterable[Event]) -> None:
        """Append events, each under its user's key."""
        for event in events:
            self.write(EVENTS, event.user_id, encode(event))

    def worker(
        self, name: str = "replay", *, config: RecommendConfig | None = None
    ) -> Worker:
        """A worker of the group with its doors open, not running yet."""
        source = MemorySource(self.log, topics=[EVENTS], group="recommend", worker=name)
        heard: list[Blending] = []
        table = RoutedTable(
            MemoryTable(self.log, topics=[ITEMS, VECTORS, TRENDS]),
            {TRENDS: lambda record: heard[0].heard(record) if heard else None},
        )
        items = Items(
            table=table,
            index=ResidentIndex(self.width),
            catalogue=Catalogue(self.lists.popular_half_life_ms),
            items_topic=ITEMS,
            encoder=self.encoder,
            width=self.width,
            law=self.law,
        )
        if self.trends is not None:
            heard.append(Blending(items, self.trends, self.lists))
        lists = Lists(items, self.lists, SLATES, "msgpack", "replay", *heard)
        users = Users(
            store=self.store,
            law=self.law,
            topic=EVENTS,
            topic_id="replay",
            writer=name,
            width=self.width,
            model="replay",
            cache_bytes=1 << 28,
            encode=lists.encode_users,
        )
        return Worker(
            source=source,
            sink=MemorySink(self.log, source),
            users=users,
            items=items,
            lists=lists,
            config=config or RecommendConfig(),
            dead_letters=DEAD_LETTERS,
        )

    def turn(self, worker: Worker, turns: int) -> None:
        """Turn the worker's loop so many times, then let it stop as it should."""
        left = iter(range(turns))
        self.run(worker, should_stop=lambda: next(left, None) is None)

    def run(self, worker: Worker, *, should_stop: Callable[[], bool]) -> None:
        """The worker's loop on this replay's clocks."""
        run(
            worker,
            should_stop=should_stop,
            now=lambda: next(self.seconds),
            clock=lambda: self.now_ms / 1000,
        )

    def slates(self, user_id: str = "") -> list[Slate]:
        """Every list in the log, oldest first a partition; erasures left out."""
        records = self.log.records(SLATES)
        found: list[Slate] = [
            decode("recommendations", r.value) for r in records if r.value
        ]
        return [s for s in found if user_id in ("", s.user_id)]
