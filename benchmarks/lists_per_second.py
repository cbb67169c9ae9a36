"""How many lists a second does one worker make, broker left out, and what is the floor?

The path of recommend on in-memory doors: decode, fold, encode users, search, rank, reasons,
write; every event of a batch is another user's, so that each makes a list. The floor is the
bare product of the same users and items with its top-k.
"""

import argparse
import random
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import torch  # noqa: E402

from benchmarks.report import write  # noqa: E402
from evaluation.replay import ITEMS, VECTORS, Replay  # noqa: E402
from schemas import Interaction, Item, ItemVectors, encode  # noqa: E402
from workers.config import RecommendConfig  # noqa: E402

NOW = 1_764_000_000_000
WARM = 20  # events a user before the clock starts


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--items", type=int, default=1682)
    options.add_argument("--users", type=int, default=1000)
    options.add_argument("--batches", type=int, default=10)
    options.add_argument("--width", type=int, default=256)
    said = options.parse_args()
    torch.set_num_threads(2)
    replay = Replay(encoder="bench", width=said.width, now_ms=NOW)
    random_ = random.Random(0)
    vectors = (
        np.random.default_rng(0).standard_normal((said.items, said.width)).astype("<f4")
    )
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    for n, vector in enumerate(vectors):
        name = f"i{n}"
        record = ItemVectors(item_id=name, fused=vector.tobytes(), encoder="bench")
        replay.write(ITEMS, name, encode(Item(item_id=name)))
        replay.write(VECTORS, name, encode(record))
    worker = replay.worker(config=RecommendConfig(batch=said.users, save_every_s=1e9))

    def events(start: int, rounds: int) -> list[Interaction]:
        return [
            Interaction(
                event_id=f"e{start}-{r}-{u}", user_id=f"u{u}", kind="click", at_ms=NOW + r,
                item_id=f"i{int(random_.random() ** 2 * said.items)}",
            )
            for r in range(rounds)
            for u in range(said.users)
        ]  # fmt: skip

    replay.send(events(0, WARM))
    replay.turn(worker, WARM + 3)
    replay.send(events(1, said.batches))
    begin = time.perf_counter()
    replay.turn(worker, said.batches)
    seconds = time.perf_counter() - begin
    made = len(replay.slates()) - said.users * WARM
    rows = [
        {"what": "the whole path", "lists/s": round(made / seconds)},
        {"what": "bare product and top-k", "lists/s": round(floor(vectors, said))},
    ]
    write(
        "lists-per-second", "How many lists a second does one worker make?", rows,
        f"{said.items} items x {said.width}, batches of {said.users} events of as many users, "
        f"{WARM} events each before; one list an event",
    )  # fmt: skip


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
