"""Does an outside program that reads the topic get the lists that the evaluation measured?

The same events twice: through `rec evaluate`'s served system on memory doors, and through a real
Kafka with a recommend worker as a process of its own. There a program asks before each of the
last events by a visit, reads the list from the topic, and only then sends the event. Model and
trends are the same; the blend stays as it was trained, for online steps differ with the batches.
"""

import argparse
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.report import write  # noqa: E402
from encoders.config import EncoderConfig  # noqa: E402
from encoders.law import hash64  # noqa: E402
from evaluation.baselines.content import text_vectors  # noqa: E402
from evaluation.protocol import Outcome, Split, run  # noqa: E402
from evaluation.recorded import Ints, Log, movielens_100k  # noqa: E402
from evaluation.served import FAST, LAG_MS, Served  # noqa: E402
from ranking.learn import LearnSettings  # noqa: E402
from ranking.trend_state import TrendEvent  # noqa: E402
from ranking.trends import Trends  # noqa: E402
from schemas import Visit, encode  # noqa: E402
from tests.support.kafka import running_kafka  # noqa: E402
from tests.support.spine import Reader, Spine, spine  # noqa: E402
from workers.demo import CACHE  # noqa: E402
from workers.model_files import write_model  # noqa: E402

QUESTION = "Does an outside program get the lists that the evaluation measured?"
K = 20


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--events", type=int, default=2_000, help="the last so many")
    options.add_argument("--tower-epochs", type=int, default=4)
    options.add_argument("--cache", type=Path, default=None, help="folder of item vectors")
    said = options.parse_args()
    log = movielens_100k(cache=CACHE)
    split = Split(len(log) - said.events, said.events)
    served = Served(
        items=log.items,
        vector_IW=text_vectors(log.items, cache=said.cache),
        config=EncoderConfig(image="none", audio="none", video="none", sensor="none"),
        refresh=0,
        blend_rate=0.0,
        learning=LearnSettings(tower_epochs=said.tower_epochs, most=8_000),
    )
    inside = run(served, log, split, k=K)
    folder = Path(tempfile.mkdtemp(prefix="outside-"))
    with running_kafka(folder / "kafka") as broker, spine(
        broker.bootstrap, "outside", folder,
        STREAMREC_ENCODERS__WIDTH="256", STREAMREC_ENCODERS__IMAGE="none",
        STREAMREC_ENCODERS__AUDIO="none", STREAMREC_ENCODERS__VIDEO="none",
        STREAMREC_ENCODERS__SENSOR="none", STREAMREC_LIST__K=str(K),
        STREAMREC_LIST__BLEND_RATE="0", STREAMREC_LIST__REASONS="0",
    ) as house:  # fmt: skip
        list_EK = outside(house, served, log, split, folder)
    write("outside", QUESTION, [compared(inside, list_EK, log, split)])


@dataclass
class Trending:
    """The trends of the log as far as they are due, as the trend worker would write them."""

    house: Spine
    log: Log
    trends: Trends
    next: int = 0

    def until(self, at_ms: int, *, end: int) -> None:
        events = []
        while self.next < end and self.log.events[self.next].at_ms <= at_ms:
            event = self.log.events[self.next]
            events.append(
                TrendEvent(
                    user=hash64(event.user_id),
                    event=hash64(event.event_id),
                    item_id=event.item_id,
                    kind=event.kind,
                    value=event.value,
                    at_ms=event.at_ms,
                    offset=self.next,
                )
            )
            self.next += 1
        if events:
            self.trends.apply(events)
            for table in self.trends.drain():
                self.house.put("trends", table.name, encode(table))
            self.house.flush()


def outside(house: Spine, served: Served, log: Log, split: Split, folder: Path) -> Ints:
    """The lists that the topic had, event by event."""
    for item, vectors in served.records():
        house.put("items", item.item_id, encode(item))
        house.put("item-vectors", item.item_id, encode(vectors))
    card = write_model(
        served.tensors, folder=folder / "models", name="ranker",
        encoder=served.encoder, width=256, at_ms=1,
    )  # fmt: skip
    house.put("models", "ranker", encode(card))
    trending = Trending(house, log, Trends(0, config=FAST, law=house.config.law.law()))
    for begin in range(0, split.history, 1_000):
        part = log.events[begin : begin + 1_000]
        trending.until(max(e.at_ms for e in part), end=begin + len(part))
        house.send(*part)
    house.flush()
    worker = house.start("recommend")
    worker.wait_ready()
    reader = Reader(house.bootstrap, house.topic("recommendations"))
    reader.until([log.events[split.history - 1].event_id], limit_s=600)
    row = {item.item_id: n for n, item in enumerate(log.items)}
    list_EK = np.full((split.stream, K), -1, np.int64)
    for n in range(split.stream):
        event = log.events[split.history + n]
        trending.until(event.at_ms - LAG_MS, end=split.history + n)
        visit = Visit(event_id=f"ask-{n}", user_id=event.user_id, at_ms=event.at_ms)
        house.send(visit)
        while visit.event_id not in reader.named:
            reader.poll(0.002)
        slate = next(s for s in reversed(reader.slates) if visit.event_id in s.caused_by)
        found = [row[item.item_id] for item in slate.items]
        list_EK[n, : len(found)] = found
        house.send(event)
    reader.close()
    worker.stop()
    return list_EK


def compared(inside: Outcome, list_EK: Ints, log: Log, split: Split) -> dict[str, object]:
    """Hits both ways, and how alike the lists are."""
    target_E = log.item_E[split.history : split.history + split.stream]
    hit_E = (list_EK == target_E[:, None]).any(axis=1)
    shared = [
        len(np.intersect1d(ours, theirs)) / K
        for ours, theirs in zip(inside.list_EK, list_EK, strict=True)
    ]
    return {
        "events": split.stream,
        "hit@20 inside": round(float((inside.rank_E > 0).mean()), 4),
        "hit@20 outside": round(float(hit_E.mean()), 4),
        "events that both judge alike": round(
            float(((inside.rank_E > 0) == hit_E).mean()), 4
        ),
        "items in both lists": round(float(np.mean(shared)), 4),
        "equal lists": round(float((inside.list_EK == list_EK).all(axis=1).mean()), 4),
    }


if __name__ == "__main__":
    main()
