"""What RecTools says of a seeded random case: the golden file of evaluation/metrics.py's test.

    .venv-peers/bin/python benchmarks/peers/rectools_numbers.py tests/unit/golden/rectools.json

Each event of ours is a user of RecTools' with one target. Imports nothing of ours.
"""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from rectools.metrics import (
    NDCG,
    AvgRecPopularity,
    CatalogCoverage,
    HitRate,
    IntraListDiversity,
    MeanInvUserFreq,
    PairwiseHammingDistanceCalculator,
)

EVENTS, ITEMS, K, PEOPLE, GENRES, SEED = 200, 60, 20, 40, 7, 4


def main(target: str) -> None:
    rng = np.random.default_rng(SEED)
    lists = np.array([rng.permutation(ITEMS)[:K] for _ in range(EVENTS)])
    # Half of the targets stand in their lists, at a place that favours the front.
    targets = np.where(
        rng.random(EVENTS) < 0.5,
        lists[np.arange(EVENTS), (K * rng.random(EVENTS) ** 2).astype(int)],
        rng.integers(0, ITEMS, EVENTS),
    )
    genres = (rng.random((ITEMS, GENRES)) < 0.3).astype(int)
    touched = {
        (int(rng.integers(PEOPLE)), int(ITEMS * rng.random() ** 2)) for _ in range(600)
    }
    touched |= {(n % PEOPLE, n) for n in range(ITEMS)}  # RecTools knows no unseen item
    history = pd.DataFrame(sorted(touched), columns=["user_id", "item_id"])
    history["weight"], history["datetime"] = 1, pd.Timestamp("2026-01-01")
    reco = pd.DataFrame(
        {
            "user_id": np.repeat(np.arange(EVENTS), K),
            "item_id": lists.ravel(),
            "rank": np.tile(np.arange(1, K + 1), EVENTS),
        }
    )
    true = pd.DataFrame({"user_id": np.arange(EVENTS), "item_id": targets})
    distance = PairwiseHammingDistanceCalculator(
        pd.DataFrame(genres, index=pd.RangeIndex(ITEMS))
    )
    numbers: dict[str, object] = {}
    for k in (10, 20):
        ndcg = NDCG(k=k, divide_by_achievable=True).calc_per_user(reco, true)
        numbers[f"hit@{k}"] = HitRate(k=k).calc_per_user(reco, true).sort_index().tolist()
        numbers[f"ndcg@{k}"] = ndcg.sort_index().tolist()
    diverse = IntraListDiversity(k=K, distance_calculator=distance).calc_per_user(reco)
    novel = MeanInvUserFreq(k=K).calc_per_user(reco, history)
    popular = AvgRecPopularity(k=K).calc_per_user(reco, history)
    numbers |= {
        "coverage": CatalogCoverage(k=K, normalize=True).calc(reco, list(range(ITEMS))),
        "diversity": diverse.sort_index().tolist(),
        "novelty": novel.sort_index().tolist(),
        "popularity": popular.sort_index().tolist(),
    }
    case = {
        "lists": lists.tolist(), "targets": targets.tolist(), "genres": genres.tolist(),
        "touched": sorted(touched), "people": PEOPLE,
    }  # fmt: skip
    Path(target).parent.mkdir(parents=True, exist_ok=True)
    Path(target).write_text(json.dumps({"case": case, "rectools": numbers}) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
