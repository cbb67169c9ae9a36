"""Which ways of learning a model foretell best: MovieLens-100k, on the history alone?

Each is learned from the first 70,000 events and asked before each of the 10,000 after, as the
train worker judges (`ranking.learn.judge`: trends go on, the model stands still). What is chosen
is chosen by this; the stream, the last 20,000, is for `rec evaluate`.
"""

import argparse
import os
import sys
from pathlib import Path
from time import process_time

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as `rec` does

import numpy as np  # noqa: E402
import torch  # noqa: E402

from benchmarks.report import write  # noqa: E402
from encoders.config import EncoderConfig  # noqa: E402
from encoders.fusion_load import load_fusion  # noqa: E402
from encoders.tower import TowerSettings  # noqa: E402
from evaluation.baselines.content import text_vectors  # noqa: E402
from evaluation.recorded import Ints, movielens_100k  # noqa: E402
from evaluation.served import FAST, fused, learn_log  # noqa: E402
from ranking.learn import LearnSettings, judge, learn  # noqa: E402
from ranking.learn_log import LearnLog  # noqa: E402

HISTORY, ASKED = 80_000, 10_000
DEEP = TowerSettings(blocks=2, heads=2)
VARIANTS = {
    "two towers of one block": LearnSettings(),
    "one tower of one block": LearnSettings(towers=1),
    "one tower of two blocks": LearnSettings(tower=DEEP, towers=1),
    "two towers of two blocks": LearnSettings(tower=DEEP),
    "three towers of one block": LearnSettings(towers=3),
    "no tower": LearnSettings(tower=None),
}


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("--only", nargs="*", help="of these by name", choices=list(VARIANTS))
    ask.add_argument("--seed", type=int, default=0)
    ask.add_argument("--cache", type=Path, default=Path.home() / ".cache/streamrec/data")
    said = ask.parse_args()
    torch.set_num_threads(1)
    log = history(said.cache)
    rows = []
    for name in said.only or VARIANTS:
        began = process_time()
        tensors = learn(
            log.before(ASKED), settings=VARIANTS[name], seed=said.seed, trends=FAST
        )
        cpu_s = process_time() - began
        hit_N = judge(tensors, log, newest=ASKED, trends=FAST).hit_N
        rows.append({"model": name, **rates(log, hit_N), "CPU s of learning": round(cpu_s)})
        print(rows[-1], flush=True)
    write(
        "learned", "Which ways of learning a model foretell best, on the history alone?", rows,
        f"learned from events 0-{HISTORY - ASKED:,}, frozen, asked before each of the {ASKED:,} after",
        f"one seed ({said.seed}); the standard error of a hit rate here is about .0048",
    )  # fmt: skip


def history(cache: Path) -> LearnLog:
    """The first events, as the train worker keeps them."""
    log = movielens_100k(cache=cache)
    config = EncoderConfig(image="none", audio="none", video="none", sensor="none")
    space = load_fusion(config).version
    vector_ID = fused(text_vectors(log.items, cache=cache), config)
    return learn_log(log.events[:HISTORY], log.items, vector_ID, encoder=space)


def rates(log: LearnLog, hit_N: np.ndarray) -> dict[str, str]:
    """Hit rates at 20 of all events, of cold items and of people's first five events."""
    begin = len(log) - ASKED
    often = dict(zip(*np.unique(log.item_E[:begin], return_counts=True), strict=True))
    cold_N = np.array([often.get(item, 0) <= 5 for item in log.item_E[begin:]])
    early_N = nth(log.user_E)[begin:] < 5

    def rate(kept_N: np.ndarray) -> str:
        return f"{np.nanmean(hit_N[kept_N]):.4f}"

    return {
        "hit rate@20": rate(np.ones(ASKED, bool)),
        f"cold items ({cold_N.sum()})": rate(cold_N),
        f"first five events ({early_N.sum()})": rate(early_N),
    }


def nth(user_E: np.ndarray) -> Ints:
    """E: how many events the same person had before."""
    order = np.argsort(user_E, kind="stable")
    user = user_E[order]
    made = np.empty(len(order), np.int64)
    made[order] = np.arange(len(order)) - np.searchsorted(user, user)
    return made


if __name__ == "__main__":
    main()
