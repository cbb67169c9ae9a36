"""How many lists a second does one worker make, broker left out, and what is the floor?

The path of recommend on in-memory doors: decode, fold, encode users, search, rank, reasons,
write; every event of a batch is another user's, so that each makes a list. The floor is the
bare product of the same users and items with its top-k. Beside it how long a turn of the loop takes
with one event in its batch, the list written, the blend's lesson and the user saved.
"""

import argparse
import gc
import os
import random
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as `rec` does

import numpy as np  # noqa: E402
import torch  # noqa: E402

from benchmarks.report import percentile, write  # noqa: E402
from encoders.law import CODES, hash64  # noqa: E402
from evaluation.replay import ITEMS, TRENDS, VECTORS, Replay  # noqa: E402
from evaluation.served import trend_event  # noqa: E402
from ranking.learn import learn  # noqa: E402
from ranking.learn_log import LearnItems, LearnLog  # noqa: E402
from ranking.learn_settings import LearnSettings  # noqa: E402
from ranking.trend_config import TrendConfig  # noqa: E402
from ranking.trends import Trends  # noqa: E402
from schemas import Interaction, Item, ItemVectors, ModelCard, encode  # noqa: E402
from workers.config import RecommendConfig  # noqa: E402
from workers.member import Worker  # noqa: E402
from workers.model_files import Model  # noqa: E402

NOW = 1_764_000_000_000
WARM = 20  # events a user before the clock starts


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--items", type=int, default=1682)
    options.add_argument("--users", type=int, default=1000)
    options.add_argument("--batches", type=int, default=10)
    options.add_argument("--alone", type=int, default=300)
    options.add_argument("--width", type=int, default=256)
    said = options.parse_args()
    torch.set_num_threads(2)
    gc.set_threshold(50_000, 20, 50)  # as a worker does
    vectors = (
        np.random.default_rng(0).standard_normal((said.items, said.width)).astype("<f4")
    )
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    rows: list[dict[str, object]] = [
        {"what": what, **measured(kind, vectors, said)} for kind, what in KINDS.items()
    ]
    rows.append({"what": "bare product and top-k", "lists/s": round(floor(vectors, said)),
                 "one alone, ms p50": "", "p99": ""})  # fmt: skip
    write(
        "lists-per-second", "How many lists a second does one worker make?", rows,
        f"{said.items} items x {said.width}, batches of {said.users} events of as many users, "
        f"{WARM} events each before; one list an event",
    )  # fmt: skip


KINDS = {
    "content": "the whole path, by content",
    "trends": "the whole path, blended, trends alone",
    "model": "the whole path, blended, trends and a model with its tower",
}


def measured(kind: str, vectors: np.ndarray, said: argparse.Namespace) -> dict[str, object]:
    """Lists a second of the whole path, and how long one alone takes."""
    trends = None if kind == "content" else TrendConfig()
    replay = Replay(encoder="bench", width=said.width, now_ms=NOW, trends=trends)
    for n, vector in enumerate(vectors):
        name = f"i{n}"
        record = ItemVectors(item_id=name, fused=vector.tobytes(), encoder="bench")
        replay.write(ITEMS, name, encode(Item(item_id=name)))
        replay.write(VECTORS, name, encode(record))
    worker = replay.worker(config=RecommendConfig(batch=said.users, save_every_s=1e9))
    chance = random.Random(0)
    warm = events(chance, said, start=0, rounds=WARM)
    if trends is not None:
        fold = Trends(0, config=trends, law=replay.law)
        fold.apply([trend_event(e, offset=n) for n, e in enumerate(warm)])
        while fold.changed():
            for table in fold.drain():
                replay.write(TRENDS, table.name, encode(table))
    replay.send(warm)
    replay.turn(worker, WARM + 3)
    if kind == "model" and worker.lists.blending is not None:
        brief = LearnSettings(most=1_000, epochs=1, tower_epochs=1, anew=False)
        card = ModelCard(name="ranker", version="bench", uri="file:///bench", sha256="0")
        tensors = learn(columns(warm, vectors), settings=brief)
        assert worker.lists.blending.use(Model(card, tensors, {}))
    replay.send(events(chance, said, start=1, rounds=1))
    replay.turn(worker, 1)  # what is made once only
    before = len(replay.slates())
    replay.send(events(chance, said, start=2, rounds=said.batches))
    begin = time.perf_counter()
    replay.turn(worker, said.batches)
    seconds = time.perf_counter() - begin
    rate = (len(replay.slates()) - before) / seconds
    took_ms = alone(replay, worker, events(chance, said, start=3, rounds=1)[: said.alone])
    return {
        "lists/s": round(rate),
        "one alone, ms p50": round(percentile(took_ms, 0.5), 1),
        "p99": round(percentile(took_ms, 0.99), 1),
    }


def alone(replay: Replay, worker: Worker, clicks: list[Interaction]) -> list[float]:
    """How long a turn of the loop with one event takes, in ms."""
    took_ms = []
    for click in clicks:
        replay.send([click])
        begin = time.perf_counter()
        replay.turn(worker, 1)
        took_ms.append(1000 * (time.perf_counter() - begin))
    return took_ms


def events(
    chance: random.Random, said: argparse.Namespace, *, start: int, rounds: int
) -> list[Interaction]:
    """Clicks of everybody in turn, on popular items more often."""
    return [
        Interaction(
            event_id=f"e{start}-{r}-{u}", user_id=f"u{u}", kind="click",
            at_ms=NOW + 100_000 * start + r,
            item_id=f"i{int(chance.random() ** 2 * said.items)}",
        )
        for r in range(rounds)
        for u in range(said.users)
    ]  # fmt: skip


def columns(warm: list[Interaction], vectors: np.ndarray) -> LearnLog:
    """The events as a learner reads them."""
    names = [f"i{n}" for n in range(len(vectors))]
    return LearnLog(
        user_E=np.array([hash64(e.user_id) for e in warm], np.uint64),
        item_E=np.array([hash64(e.item_id) for e in warm], np.uint64),
        kind_E=np.array([CODES[e.kind] for e in warm], np.uint8),
        value_E=np.full(len(warm), np.nan, np.float32),
        at_ms_E=np.array([e.at_ms for e in warm], np.int64),
        offset_E=np.arange(len(warm)),
        partition_E=np.zeros(len(warm), np.int32),
        items=LearnItems(
            hash_I=np.array([hash64(name) for name in names], np.uint64),
            item_id_I=names,
            categories_I=[frozenset()] * len(names),
            published_at_ms_I=np.zeros(len(names), np.int64),
            vector_ID=vectors,
            encoder="bench",
        ),
    )


def floor(vectors: np.ndarray, said: argparse.Namespace) -> float:
    """Lists a second of the bare product."""
    items_ND = torch.from_numpy(vectors)
    users_UD = torch.randn(said.users, said.width)
    begin = time.perf_counter()
    for _ in range(said.batches):
        (users_UD @ items_ND.T).topk(10)
    return said.users * said.batches / (time.perf_counter() - begin)


if __name__ == "__main__":
    main()
