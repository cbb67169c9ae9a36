"""What the metrics say: by hand, and as RecTools says it."""

from __future__ import annotations

import json
import subprocess
from math import log, log2
from pathlib import Path

import numpy as np
import pytest

from evaluation import metrics
from evaluation.intervals import interval, paired

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = Path(__file__).parent / "golden" / "rectools.json"
PEERS = ROOT / ".venv-peers" / "bin" / "python"


def test_a_target_in_third_place_is_worth_a_half() -> None:
    rank_E = np.array([3, 0, 1, 11])
    assert metrics.hit(rank_E, 10).tolist() == [1, 0, 1, 0]
    assert metrics.ndcg(rank_E, 10).tolist() == [1 / log2(4), 0, 1, 0]
    assert metrics.ndcg(rank_E, 20)[3] == pytest.approx(1 / log2(12))


def test_coverage_counts_what_was_ever_listed() -> None:
    assert metrics.coverage(np.array([[0, 1], [1, -1]]), 4) == 0.5


def test_diversity_is_the_mean_distance_of_pairs() -> None:
    has_IG = np.array([[1, 0], [1, 0], [0, 1]], np.float32)
    list_EK = np.array([[0, 1, 2], [0, 1, -1], [2, -1, -1]])
    found = metrics.diversity(list_EK, metrics.cosine_distance(has_IG))
    assert found[:2].tolist() == pytest.approx([2 / 3, 0])
    assert np.isnan(found[2])
    assert metrics.hamming_distance(has_IG)[0].tolist() == [0, 0, 2]


def test_an_item_that_a_quarter_knows_is_two_bits_new() -> None:
    found = metrics.novelty(np.array([[0, 1], [-1, -1]]), np.array([4, 16]), 16)
    assert found[0] == 1  # (2 + 0) / 2
    assert np.isnan(found[1])


def test_a_list_with_the_readers_mix_is_calibrated() -> None:
    profile = np.array([[0.5, 0.5], [0.5, 0.5], [0.0, 0.0]])
    listed = np.array([[0.5, 0.5], [1.0, 0.0], [1.0, 0.0]])
    found = metrics.calibration(listed, profile)
    assert found[0] == pytest.approx(0)
    assert found[1] == pytest.approx(
        0.5 * log(0.5 / (0.99 + 0.005)) + 0.5 * log(0.5 / 0.005)
    )
    assert np.isnan(found[2])


def test_a_list_twice_as_popular_as_its_reader_lifts_by_one() -> None:
    found = metrics.popularity_lift(np.array([20.0, 5.0]), np.array([10.0, 0.0]))
    assert found[0] == 1
    assert np.isnan(found[1])


def test_the_mix_of_a_list_is_spread_over_an_items_categories() -> None:
    share_IG = metrics.shares(np.array([[1, 1], [0, 1], [0, 0]], np.float32))
    mix = metrics.category_mix(np.array([[0, 1], [2, -1]]), share_IG)
    assert mix.tolist() == [[0.25, 0.75], [0, 0]]


def ours(case: dict[str, list[list[int]]]) -> dict[str, object]:
    """The golden case by our own functions."""
    list_EK = np.array(case["lists"])
    at_EK = list_EK == np.array(case["targets"])[:, None]
    rank_E = np.where(at_EK.any(axis=1), at_EK.argmax(axis=1) + 1, 0)
    has_IG = np.array(case["genres"], np.float32)
    touched = np.array(case["touched"])[:, 1]
    count_I = np.bincount(touched, minlength=len(has_IG))
    numbers: dict[str, object] = {}
    for k in (10, 20):
        numbers[f"hit@{k}"] = metrics.hit(rank_E, k)
        numbers[f"ndcg@{k}"] = metrics.ndcg(rank_E, k)
    return numbers | {
        "coverage": metrics.coverage(list_EK, len(has_IG)),
        "diversity": metrics.diversity(list_EK, metrics.hamming_distance(has_IG)),
        "novelty": metrics.novelty(list_EK, count_I, case["people"]),  # type: ignore[arg-type]
        "popularity": metrics.popularity(list_EK, count_I),
    }


MEASURES = (
    "hit@10", "hit@20", "ndcg@10", "ndcg@20", "coverage", "diversity", "novelty", "popularity",
)  # fmt: skip


@pytest.mark.parametrize("measure", MEASURES)
def test_our_number_is_rectools_number(measure: str) -> None:
    golden = json.loads(GOLDEN.read_text())
    expected = golden["rectools"][measure]
    assert ours(golden["case"])[measure] == pytest.approx(expected, abs=1e-9)


def test_the_golden_numbers_are_what_rectools_says_today(tmp_path: Path) -> None:
    if not PEERS.exists():
        pytest.skip("no .venv-peers: `make peers` makes it")
    fresh = tmp_path / "rectools.json"
    script = ROOT / "benchmarks" / "peers" / "rectools_numbers.py"
    subprocess.run([str(PEERS), str(script), str(fresh)], check=True, timeout=100)
    told, golden = json.loads(fresh.read_text()), json.loads(GOLDEN.read_text())
    assert told["case"] == golden["case"]
    for measure in MEASURES:
        assert told["rectools"][measure] == pytest.approx(golden["rectools"][measure])


def test_an_interval_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    covered = 0
    for trial in range(200):
        # 60 people of very different taste, each with 1 to 19 events.
        taste_U = rng.beta(1, 2, 60)
        user_E = np.repeat(np.arange(60), rng.integers(1, 20, 60))
        value_E = (rng.random(len(user_E)) < taste_U[user_E]).astype(float)
        found = interval(value_E, user_E, resamples=300, seed=trial)
        covered += found.low <= 1 / 3 <= found.high
    assert 0.89 <= covered / 200 <= 0.98


def test_a_difference_is_seen_where_intervals_overlap() -> None:
    rng = np.random.default_rng(2)
    user_E = np.repeat(np.arange(50), 20)
    luck_E = rng.random(50)[user_E]
    one_E = luck_E + 0.02 + 0.02 * rng.random(1000)
    alone, other = interval(one_E, user_E), interval(luck_E, user_E)
    gap = paired(one_E, luck_E, user_E)
    assert alone.low < other.high
    assert 0.02 < gap.low < gap.mean < gap.high < 0.04


def test_what_is_not_known_is_left_out() -> None:
    found = interval(np.array([1.0, np.nan, 0.0]), np.array([0, 0, 1]))
    assert (found.mean, found.events, found.people) == (0.5, 2, 2)
    assert interval(np.array([np.nan]), np.array([0])).events == 0


def test_the_same_seed_draws_the_same_people() -> None:
    value_E, user_E = np.arange(20.0), np.arange(20) // 3
    assert interval(value_E, user_E, seed=3) == interval(value_E, user_E, seed=3)
