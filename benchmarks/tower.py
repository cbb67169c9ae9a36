"""How often does the user tower foretell the next item: MovieLens-100k, in order of time?

`python benchmarks/tower.py`: learned from the first 80,000 events, asked before each of the
last 20,000, by the user's live state; frozen, and fine-tuned every 1,000 events.
`python benchmarks/tower.py --compare`: settings beside each other, learned from the first 70,000
events and asked for the 10,000 after; what is chosen is chosen by this.
"""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from time import process_time

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.report import write  # noqa: E402
from encoders.law import CODES, hash64  # noqa: E402
from encoders.tower import TowerSettings  # noqa: E402
from encoders.tower_data import Touches  # noqa: E402
from encoders.tower_model import TowerModel  # noqa: E402
from encoders.tower_score import ranks  # noqa: E402
from encoders.tower_train import FineTuning, TowerTraining, fine_tune, train  # noqa: E402
from evaluation.baselines.content import text_vectors  # noqa: E402
from evaluation.recorded import Log, movielens_100k  # noqa: E402

K = 20
# An early stop of the default's way, at which first settings were set beside each other.
SHORT: dict[str, object] = {
    "epochs": 15, "batch": 32, "learning_rate": 2e-3, "half_life_days": 30.0,
}  # fmt: skip
VARIANTS: dict[str, dict[str, object]] = {
    "short": SHORT,
    "short, order within a second as logged": {**SHORT, "shuffle": False},
    "short, no time between entries": {**SHORT, "gaps": False},
    "short, no memory": {**SHORT, "memory": False},
    "short, no content": {**SHORT, "content_width": 0},
    "short, time of asking looked at, not told": {**SHORT, "asked": True},
    "short, 25 epochs that halve in 15 days": {
        **SHORT,
        "epochs": 25,
        "half_life_days": 15.0,
    },
    "short, rate 0.005": {**SHORT, "learning_rate": 5e-3},
    "short, rate 0.003, 8 windows a batch": {**SHORT, "learning_rate": 3e-3, "batch": 8},
    "12 epochs": {"epochs": 12},
    "the default": {},
    "order within a second as logged": {"shuffle": False},
    "no time between entries": {"gaps": False},
    "no values": {"values": False},
    "no memory": {"memory": False},
    "no content": {"content_width": 0},
    "time of asking is looked at, not told": {"asked": True},
    "what was touched stays a candidate": {"repeats": True},
    "an id counts in full at once": {"trust": 0.0},
    "ids are never forgotten": {"drop_id": 0.0},
    "2 interests": {"interests": 2},
    "4 interests": {"interests": 4},
    "2 heads": {"heads": 2},
    "two blocks of 2 heads": {"blocks": 2, "heads": 2},
    "128 wide": {"width": 128},
    "a ring of 100": {"length": 100},
    "a ring of 30": {"length": 30},
    "examples halve in 15 days": {"half_life_days": 15.0},
    "examples halve in a year": {"half_life_days": 365.0},
    "a sample of 512 as candidates": {"full": 1, "samples": 512},
}


@dataclass(frozen=True, slots=True)
class Data:
    touches: Touches
    content_NC: NDArray[np.float32]
    hash_N: NDArray[np.uint64]


def data(cache: Path) -> Data:
    log = movielens_100k(cache=cache)
    touches = Touches(
        user_E=log.user_E,
        item_E=log.item_E,
        at_ms_E=log.at_ms_E,
        kind_E=np.full(len(log), CODES["rating"], np.int64),
        value_E=log.value_E,
        # a film that one star was given to was chosen too: memory counts touches here
        mass_E=np.ones(len(log), np.float32),
    )
    names = [hash64(item.item_id) for item in log.items]
    return Data(touches, content(log, cache), np.array(names, np.uint64))


def content(log: Log, cache: Path) -> NDArray[np.float32]:
    """Title and genres: what every film has."""
    text_NC, (_, genre_NG) = text_vectors(log.items, cache=cache), log.genres()
    both = np.concatenate([text_NC - text_NC.mean(0), genre_NG - genre_NG.mean(0)], axis=1)
    return (both / np.linalg.norm(both, axis=1, keepdims=True)).astype(np.float32)


def learned(
    said: Data, *, events: int, seed: int, changes: dict[str, object]
) -> tuple[TowerModel, TowerTraining]:
    """A tower of the first events, with these settings in place of the defaults."""
    width = said.content_NC.shape[1]
    net, way = TowerSettings(content_width=width), TowerTraining(seed=seed)
    for name, value in changes.items():
        if hasattr(net, name):
            net = msgspec.structs.replace(net, **{name: value})
        else:
            way = msgspec.structs.replace(way, **{name: value})
    model = train(
        said.touches.part(0, events),
        said.content_NC,
        said.hash_N,
        settings=net,
        training=way,
    )
    return model, way


def tuned(
    said: Data, model: TowerModel, way: TowerTraining, *, begin: int, end: int, each: int,
    tuning: FineTuning,
) -> NDArray[np.int64]:  # fmt: skip
    """Ranks by a model that learns what happened every `each` events."""
    found = []
    for low in range(begin, end, each):
        if low > begin:
            model = fine_tune(
                model, said.touches.part(0, low), said.content_NC, said.hash_N,
                new=each, tuning=tuning, training=way,
            )  # fmt: skip
        found.append(asked(said, model, begin=low, end=min(low + each, end)))
    return np.concatenate(found)


def asked(said: Data, model: TowerModel, *, begin: int, end: int) -> NDArray[np.int64]:
    return ranks(model, said.touches, said.content_NC, said.hash_N, begin=begin, end=end)


def row(
    name: str, said: Data, rank_E: NDArray[np.int64], *, begin: int, cpu_s: float
) -> dict[str, object]:
    """Hit rates of all events, of cold items and of each user's first five events."""
    touches, end = said.touches, begin + len(rank_E)
    often_N = np.bincount(touches.item_E[:begin], minlength=len(said.hash_N))
    cold_E = often_N[touches.item_E[begin:end]] <= 5
    order = np.argsort(touches.user_E, kind="stable")
    user = touches.user_E[order]
    nth = np.empty(len(order), np.int64)
    nth[order] = np.arange(len(order)) - np.searchsorted(user, user)
    early_E, hit_E = nth[begin:end] < 5, rank_E <= K
    ndcg_E = np.where(hit_E, 1 / np.log2(1 + rank_E), 0.0)
    return {
        "tower": name,
        "hit rate@20": f"{hit_E.mean():.4f}",
        "NDCG@20": f"{ndcg_E.mean():.4f}",
        f"cold items ({cold_E.sum()})": f"{hit_E[cold_E].mean():.4f}",
        f"first five events ({early_E.sum()})": f"{hit_E[early_E].mean():.4f}",
        "CPU s": round(cpu_s),
    }


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("--compare", action="store_true", help="settings, on the history")
    ask.add_argument("--only", nargs="*", help="of these by name", choices=list(VARIANTS))
    ask.add_argument("--each", type=int, nargs="*", default=[1_000], help="fine-tuned so")
    ask.add_argument("--seed", type=int, default=0)
    ask.add_argument("--cache", type=Path, default=Path.home() / ".cache/streamrec/data")
    told = ask.parse_args()
    torch.set_num_threads(1)
    said = data(told.cache)
    if told.compare:
        compare(said, seed=told.seed, names=told.only or list(VARIANTS))
    else:
        final(said, seed=told.seed, told=told.each)


def compare(said: Data, *, seed: int, names: list[str]) -> None:
    rows = []
    for name in names:
        began = process_time()
        model, _ = learned(said, events=70_000, seed=seed, changes=VARIANTS[name])
        cpu_s = process_time() - began
        rank_E = asked(said, model, begin=70_000, end=80_000)
        rows.append(row(name, said, rank_E, begin=70_000, cpu_s=cpu_s))
        print(rows[-1], flush=True)
    write(
        "tower-settings",
        "Which settings of the user tower foretell best, on the history alone?",
        rows,
        "learned from events 0-70,000, frozen, asked before each of events 70,000-80,000",
        f"one seed ({seed}); the standard error of a hit rate here is about .0045",
    )


def final(said: Data, *, seed: int, told: list[int]) -> None:
    began = process_time()
    model, way = learned(said, events=80_000, seed=seed, changes={})
    cpu_s = process_time() - began
    frozen_E = asked(said, model, begin=80_000, end=100_000)
    rows = [row("frozen at 80,000", said, frozen_E, begin=80_000, cpu_s=cpu_s)]
    print(rows[-1], flush=True)
    for each in told:
        began = process_time()
        rank_E = tuned(
            said, model, way, begin=80_000, end=100_000, each=each, tuning=FineTuning()
        )
        name = f"fine-tuned every {each:,} events"
        rows.append(row(name, said, rank_E, begin=80_000, cpu_s=process_time() - began))
    weights = sum(weight.numel() for weight in model.net.state_dict().values())
    write(
        "tower",
        "How often does the user tower foretell the next item of MovieLens-100k?",
        rows,
        "learned from the first 80,000 events in order of time, asked before each of the last "
        "20,000 by the user's live state; what the user had touched is left out",
        "CPU s: of training; in the rows below, of fine-tuning and of 20,000 answers",
        f"{model.settings}, {way}, {FineTuning()}; {weights:,} numbers; one thread, seed {seed}",
    )


if __name__ == "__main__":
    main()
