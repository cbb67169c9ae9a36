"""How old items are, as sources and the tower are told of it."""

import numpy as np
import pytest

from encoders.tower import TowerSettings
from ranking.ages import AGES, DAY_MS, ages, bucket, soft
from ranking.model import tower_content

NOW_MS = 1_764_000_000_000
DAY = int(DAY_MS)


def published(*days: float) -> np.ndarray:
    return np.array([NOW_MS - int(d * DAY) for d in days], np.int64)


def test_an_age_goes_by_doublings_and_what_is_yet_to_come_is_new():
    told = ages(published(0, 1, 3, 1023, -5), as_of_ms=NOW_MS)
    assert told == pytest.approx([0, 1, 2, 10, 0], abs=1e-6)
    assert bucket(told).tolist() == [0, 3, 6, 30, 0]


def test_ages_near_each_other_are_alike_and_any_age_has_a_bucket():
    row = soft(ages(published(1000, 1100, 30, 10_000_000), as_of_ms=NOW_MS))
    assert np.linalg.norm(row[:3], axis=1) == pytest.approx(1, abs=1e-5)
    assert row[0] @ row[1] > 0.9
    assert row[0] @ row[2] < 0.01
    assert row.shape == (4, AGES)
    assert np.isfinite(row).all()


def test_a_tower_is_told_ages_only_where_it_learned_by_them():
    vector = np.ones((2, 3), np.float32)
    plain = tower_content(vector, published(1, 2), TowerSettings(content_width=3))
    assert plain is vector
    aged = TowerSettings(content_width=3 + AGES, aged_at_ms=NOW_MS)
    told = tower_content(vector, published(1, 2), aged)
    assert told.shape == (2, 3 + AGES)
    assert told[:, :3].tolist() == vector.tolist()
    assert told[0, 3:].argmax() == 3
