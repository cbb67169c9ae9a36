"""Does an outside program that reads the topic get the lists that the evaluation measured?

The same events twice: through `rec evaluate`'s served system on memory doors, and through a real
Kafka with a recommend worker as a process of its own. There a program asks before each of the
last events by a visit, reads the list from the topic, and only then sends the event. Models go
there as cards and files, trends as the records that the trend worker would write by then; the
blend stays as it was trained, for its online steps depend on how events fall into batches. With
`--trend-worker` a real one writes the trends, as late as it is: then lists are alike, not equal.
"""

import argparse
import hashlib
import re
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from safetensors.torch import load_file, save_file
from torch import Tensor

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.report import write  # noqa: E402
from encoders.config import EncoderConfig  # noqa: E402
from evaluation.baselines.content import text_vectors  # noqa: E402
from evaluation.protocol import Outcome, Split, run  # noqa: E402
from evaluation.recorded import Ints, Log, movielens_100k, of_records  # noqa: E402
from evaluation.served import FAST, LAG_MS, Served, trend_event  # noqa: E402
from ranking.learn import LearnSettings  # noqa: E402
from ranking.trends import Trends  # noqa: E402
from schemas import Interaction, Slate, Visit, encode  # noqa: E402
from tests.support.kafka import running_kafka  # noqa: E402
from tests.support.spine import Process, Reader, Spine, spine  # noqa: E402
from tests.support.waiting import wait_for  # noqa: E402
from workers.demo import CACHE  # noqa: E402
from workers.model_files import write_model  # noqa: E402

QUESTION = "Does an outside program get the lists that the evaluation measured?"
K, LIMIT_S = 20, 60
ONLY_TEXT = {"image": "none", "audio": "none", "video": "none", "sensor": "none"}
SETTINGS = {
    "STREAMREC_ENCODERS__WIDTH": "256",
    "STREAMREC_LIST__K": str(K),
    "STREAMREC_LIST__REASONS": "0",
    "STREAMREC_LIST__BLEND_RATE": "0",
    **{f"STREAMREC_ENCODERS__{name.upper()}": none for name, none in ONLY_TEXT.items()},
}
Models = dict[int, Mapping[str, Tensor]]
"""Models by the number of asked events after which they came into force."""


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--events", type=int, default=2_000, help="the last so many")
    options.add_argument("--history", type=int, default=0, help="so many before; 0: all")
    options.add_argument("--tower-epochs", type=int, default=LearnSettings().tower_epochs)
    options.add_argument(
        "--keep", type=Path, help="folder of what a rerun need not make again: item vectors, "
        "the model after the history (empty it when learning has changed), the lists",
    )  # fmt: skip
    options.add_argument("--trend-worker", action="store_true", help="trends by a real one")
    said = options.parse_args()
    log = movielens_100k(cache=CACHE)
    if said.history:
        part = log.events[-said.history - said.events :]
        log = of_records(log.name, part, log.items)
    split = Split(len(log) - said.events, said.events)
    folder = Path(tempfile.mkdtemp(prefix="outside-"))
    served = Served(
        items=log.items,
        vector_IW=text_vectors(log.items, cache=said.keep),
        config=EncoderConfig(**ONLY_TEXT),  # type: ignore[arg-type]
        blend_rate=0.0,
        learning=LearnSettings(tower_epochs=said.tower_epochs),
    )
    inside, models = measured(served, log, split, keep=said.keep or folder)
    with (
        running_kafka(folder / "kafka") as broker,
        spine(broker.bootstrap, "outside", folder, **SETTINGS) as house,
    ):
        trending = house.start("trend") if said.trend_worker else None
        list_EK = Outside(house, served, log, split, models, trending).lists()
    if said.keep:
        np.savez(said.keep / "lists.npz", inside=inside.list_EK, outside=list_EK)
    name = "outside-trend-worker" if said.trend_worker else "outside"
    write(name, QUESTION, [compared(inside, list_EK, log, split)])


def measured(
    served: Served, log: Log, split: Split, *, keep: Path
) -> tuple[Outcome, Models]:
    """What the harness finds, and the models that it did it with."""
    told = hashlib.sha256(f"{served.settings} {split} {len(log)}".encode()).hexdigest()
    kept, models = keep / f"model-{told[:12]}.safetensors", Models()
    if kept.exists():
        served.given[served.learned_from(split.history)] = load_file(kept)

    def progress(done: int) -> None:
        if not models:
            keep.mkdir(parents=True, exist_ok=True)
            save_file(dict(served.tensors), kept)
        if served.tensors is not next(reversed(models.values()), None):
            models[done if models else 0] = served.tensors

    return run(served, log, split, k=K, progress=progress), models


@dataclass
class Outside:
    """A program that knows topics, and nothing of what reads them."""

    house: Spine
    served: Served
    log: Log
    split: Split
    models: Models
    trending: Process | None = None  # a trend worker; none: records as it would write them
    trends: Trends = field(init=False)
    told: int = 0  # events that the trends have heard of
    written: str = ""

    def __post_init__(self) -> None:
        self.trends = Trends(0, config=FAST, law=self.house.config.law.law())

    def lists(self) -> Ints:
        """The list that the topic had before each event."""
        self._past()
        worker = self.house.start("recommend")
        worker.wait_ready()
        reader = Reader(self.house.bootstrap, self.house.topic("recommendations"))
        before = self.log.events[: self.split.history]
        reader.until([event.event_id for event in before], limit_s=600)
        if self.trending is not None:
            wait_for(self._settled, limit_s=600, what="all trends", every_s=1)
        row = {item.item_id: n for n, item in enumerate(self.log.items)}
        list_EK = np.full((self.split.stream, K), -1, np.int64)
        for n in range(self.split.stream):
            event = self.log.events[self.split.history + n]
            if n in self.models and n:
                self._in_force(self.models[n], reader, asker=event)
            self._hear(event.at_ms - LAG_MS, end=self.split.history + n)
            visit = Visit(event_id=f"ask-{n}", user_id=event.user_id, at_ms=event.at_ms)
            row_K = [row[item.item_id] for item in self._asked(visit, reader).items]
            list_EK[n, : len(row_K)] = row_K
            self.house.send(event)
        reader.close()
        worker.stop()
        return list_EK

    def _past(self) -> None:
        """Items, their vectors, the model, and the history with its trends."""
        house = self.house
        for item, vectors in self.served.records():
            house.put("items", item.item_id, encode(item))
            house.put("item-vectors", item.item_id, encode(vectors))
        self._card(self.models[0])
        for begin in range(0, self.split.history, 1_000):
            end = min(begin + 1_000, self.split.history)
            part = self.log.events[begin:end]
            self._hear(max(event.at_ms for event in part), end=end)
            house.send(*part)
        house.flush()

    def _hear(self, until_ms: int, *, end: int) -> None:
        """What the trend worker would have written: of events before `end` those up to a time."""
        events, first = self.log.events, self.told
        if self.trending is not None:
            return
        while self.told < end and events[self.told].at_ms <= until_ms:
            self.told += 1
        if self.told > first:
            heard = range(first, self.told)
            self.trends.apply([trend_event(events[n], offset=n) for n in heard])
            for table in self.trends.drain():
                self.house.put("trends", table.name, encode(table))
            self.house.flush()

    def _settled(self) -> bool:
        """Whether the trend worker has taken in the history and writes nothing more of it."""
        assert self.trending is not None
        said = self.trending.get("/metrics")[1].decode()
        count = r'^streamrec_events_total\{outcome="accepted",type="interaction"\} (\S+)'
        counted = re.search(count, said, re.MULTILINE)
        written = re.search(r"^streamrec_trend_tables_total (\S+)", said, re.MULTILINE)
        before, self.written = self.written, written[1] if written else ""
        all_of_it = counted and float(counted[1]) >= self.split.history
        return bool(all_of_it and self.written == before)

    def _card(self, tensors: Mapping[str, Tensor]) -> str:
        card = write_model(
            tensors, folder=self.house.folder / "models", name="ranker",
            encoder=self.served.encoder, width=256, at_ms=1,
        )  # fmt: skip
        self.house.put("models", "ranker", encode(card))
        self.house.flush()
        return card.version

    def _in_force(
        self, tensors: Mapping[str, Tensor], reader: Reader, *, asker: Interaction
    ) -> None:
        """Ask until a list names this model."""
        version, user_id, at_ms = self._card(tensors), asker.user_id, asker.at_ms
        for n in range(10_000):
            visit = Visit(event_id=f"{version}-{n}", user_id=user_id, at_ms=at_ms)
            if self._asked(visit, reader).versions["model"] == version:
                return
        raise AssertionError(f"no list names model {version}")

    def _asked(self, visit: Visit, reader: Reader) -> Slate:
        """The list that names this visit."""
        self.house.send(visit)
        end = time.monotonic() + LIMIT_S
        while visit.event_id not in reader.named:
            assert time.monotonic() < end, self.house.children[-1].output
            reader.poll(0.002)
        return next(s for s in reversed(reader.slates) if visit.event_id in s.caused_by)


def compared(inside: Outcome, list_EK: Ints, log: Log, split: Split) -> dict[str, object]:
    """Hits both ways, and how alike the lists are."""
    target_E = log.item_E[split.history : split.history + split.stream]
    hit_E, found_E = (list_EK == target_E[:, None]).any(axis=1), inside.rank_E > 0
    both = [
        len(np.intersect1d(ours, theirs)) / K
        for ours, theirs in zip(inside.list_EK, list_EK, strict=True)
    ]
    return {
        "history": split.history,
        "events": split.stream,
        "hit@20 inside": round(float(found_E.mean()), 4),
        "hit@20 outside": round(float(hit_E.mean()), 4),
        "events judged alike": round(float((found_E == hit_E).mean()), 4),
        "items in both lists": round(float(np.mean(both)), 4),
        "equal lists": round(float((inside.list_EK == list_EK).all(axis=1).mean()), 4),
    }


if __name__ == "__main__":
    main()
