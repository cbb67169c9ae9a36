"""What is served is what is measured: benchmarks/outside.py on a small log."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from msgspec import structs

from benchmarks.outside import ONLY_TEXT, SETTINGS, Outside, compared, measured
from encoders.config import EncoderConfig
from evaluation.protocol import Split
from evaluation.served import Served
from ranking.learn import LearnSettings
from tests.support.recorded import chains
from tests.support.spine import spine
from workers.laptop_kafka import Broker

pytestmark = [pytest.mark.wire, pytest.mark.timeout(300)]
ITEMS, HISTORY, STREAM = 60, 600, 60


def test_a_program_outside_gets_the_lists_that_the_evaluation_measured(
    broker: Broker, topic_prefix: str, tmp_path: Path
):
    log = chains(110, items=ITEMS)
    # without a time of their own items are as old as their records, and the broker's are new
    dated = tuple(structs.replace(item, published_at_ms=1) for item in log.items)
    log = replace(log, items=dated)
    split = Split(HISTORY, STREAM)
    served = Served(
        items=log.items,
        vector_IW=np.eye(ITEMS, 384, dtype=np.float32),
        config=EncoderConfig(**ONLY_TEXT),  # type: ignore[arg-type]
        refresh=STREAM // 2,
        blend_rate=0.0,
        learning=LearnSettings(tower_epochs=1, epochs=1, least=400),
    )
    inside, models = measured(served, log, split, keep=tmp_path)
    assert list(models) == [0, STREAM // 2, STREAM]
    with spine(broker.bootstrap, topic_prefix, tmp_path, **SETTINGS) as house:
        list_EK = Outside(house, served, log, split, models).lists()
    told = compared(inside, list_EK, log, split)
    assert told["hit@20 inside"] > 0.5
    assert told["events judged alike"] >= 0.95  # equal scores may change places
    assert told["items in both lists"] >= 0.95
