"""How much a trend worker holds: no torch, and little for a pair of items."""

from __future__ import annotations

import random
import subprocess
import sys
import tracemalloc

from encoders.law import Law
from ranking.trend_config import TrendConfig
from ranking.trend_state import TrendEvent
from ranking.trends import Trends

AT_MS = 1_764_000_000_000


def test_a_trend_worker_does_not_import_torch() -> None:
    code = (
        "import sys, workers.cli, workers.start, workers.trend, workers.faust_app, workers.kafka;"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_pair_takes_less_than_150_bytes() -> None:
    chance = random.Random(1)
    log = [
        TrendEvent(
            user=chance.randrange(50), item_id=f"i{int(chance.random() ** 2 * 400)}",
            kind="click", value=None, at_ms=AT_MS + n, offset=n, event=1_000 + n,
        )
        for n in range(4_000)
    ]  # fmt: skip
    trends = Trends(0, config=TrendConfig(), law=Law())
    tracemalloc.start()
    try:
        trends.apply(log)
        trends.drain()
        trends.unsaved(floor=len(log))
        trends.saved()
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    items = [trends.item(f"i{n}") for n in range(400)]
    pairs = sum(len(item.before) for item in items if item)
    print(f"{pairs} pairs, {held / pairs:.0f} bytes each with all that is held")
    assert pairs > 10_000
    assert held / pairs < 150
