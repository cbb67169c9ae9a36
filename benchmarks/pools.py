"""What is lost where each person's pool is looked at and not the whole catalogue?

MovieLens-100k, on the history alone: one model, learned from the first 75,000 events, is asked
before each of the 5,000 after; its 1,682 films are taken for a large catalogue, of which each
person's pool is so many.
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

from benchmarks.learned import history  # noqa: E402
from benchmarks.report import write  # noqa: E402
from evaluation.served import FAST  # noqa: E402
from ranking import pool  # noqa: E402
from ranking.learn import judge, learn  # noqa: E402

ASKED = 5_000


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("--sizes", type=int, nargs="*", default=[0, 512, 256, 128])
    ask.add_argument("--cache", type=Path, default=Path.home() / ".cache/streamrec/data")
    said = ask.parse_args()
    torch.set_num_threads(1)
    log = history(said.cache)
    tensors = learn(log.before(ASKED), trends=FAST)
    hits, rows = [], []
    for size in said.sizes:
        if size:
            pool.WIDE, pool.POOL = 0, size
        began = process_time()
        hits.append(judge(tensors, log, newest=ASKED, trends=FAST).hit_N)
        off_N = hits[-1] - hits[0]
        error = np.nanstd(off_N) / np.sqrt(np.isfinite(off_N).sum())
        rows.append(
            {
                "looked at": f"{size} items of each person" if size else "all 1,682 items",
                "hit rate@20": f"{np.nanmean(hits[-1]):.4f}",
                "against all": f"{np.nanmean(off_N):+.4f} (standard error {error:.4f})",
                "CPU s": round(process_time() - began),
            }
        )
        print(rows[-1], flush=True)
    write(
        "pools", "What is lost where a person's pool is looked at and not all items?", rows,
        f"learned from events 0-75,000, asked before each of the {ASKED:,} after; the model's blend "
        "has learned from lists of all items",
        "no item is found by a search here; in a worker the nearest by content are in every pool",
    )  # fmt: skip


if __name__ == "__main__":
    main()
