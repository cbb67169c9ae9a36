"""Learning from the log, and publishing what is not worse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from msgspec.structs import replace
from safetensors.torch import load_file

from encoders.law import Law
from ranking.learn_log import UNTIL_MS, Judged
from ranking.trend_config import TrendConfig
from schemas import Visit
from tests.support import counts
from tests.support.academy import MODELS, Academy, chains, versions
from tests.support.house import NOW, WIDTH
from workers import metrics
from workers.model_cards import PINNED
from workers.model_files import path_of, write_model
from workers.train_round import Outcome


def refused(reason: str) -> float:
    return float(metrics._child("models_refused_total", reason)._value.get())


def test_what_learns_more_than_popularity_is_published_and_lists_name_it(academy: Academy):
    academy.house.tell(*chains(1_200))
    recommender = academy.recommender()
    assert versions(academy, recommender, "u1") == ["replay"]
    worker = academy.worker()
    academy.learned(worker)
    card = academy.current()
    assert card.dims == {"width": WIDTH, "items": 60}
    assert academy.cards().archive["ranker"] == {card.version: card}
    file = path_of(card)
    assert file is not None
    assert file.name == f"ranker-{card.sha256}.safetensors"
    academy.house.turn(recommender, 1)
    recommender.models.settle()
    assert versions(academy, recommender, "u1", "u2") == [card.version] * 2


def test_a_candidate_that_is_worse_is_not_published(academy: Academy):
    """The model in force has learned from the very events that both are judged on."""
    old, new = chains(720), chains(180, start=720, step=11)
    academy.house.tell(*old, *new)
    worker = academy.worker()
    academy.turn(
        worker, until=lambda: worker.columns.next_offsets and not worker.events.behind()
    )
    log = worker.columns.view(worker.items.view())
    tensors = counts.learn(log, previous=None, seed=0, progress=lambda *_: None)
    best = write_model(
        tensors, folder=academy.folder, name="ranker", encoder="", width=WIDTH, at_ms=1
    )
    academy.put(best)
    before = refused("worse")
    if not worker.rounds:
        academy.learned(worker)
    academy.house.tell(*chains(1, start=900, step=11))
    academy.learned(worker)
    assert academy.current().version == best.version
    assert refused("worse") > before


def test_fewer_hits_by_chance_alone_are_not_worse():
    hits = np.zeros(1_000, np.float32)
    by_chance, surely = hits.copy(), hits.copy()
    hits[:100], by_chance[5:102], surely[50:] = 1, 1, 0
    told = [Outcome({}, "", Judged(h), Judged(hits), "") for h in (by_chance, surely)]
    assert [outcome.worse(tolerance=0.0) for outcome in told] == [False, True]
    assert not told[1].worse(tolerance=0.2)


def test_equal_log_and_model_give_one_version_and_nothing_new(academy: Academy):
    academy.house.tell(*chains(600))
    academy.learned(academy.worker())
    number = len(academy.log.records(MODELS))
    before = refused("same")
    academy.house.tell(Visit(event_id="v", user_id="u1", at_ms=NOW))
    again = academy.worker()
    again.fresh = 1
    academy.learned(again)
    assert len(academy.log.records(MODELS)) == number
    assert refused("same") == before + 1


def test_training_leaves_alone_what_a_person_chose(academy: Academy):
    academy.house.tell(*chains(600))
    worker = academy.worker()
    academy.learned(worker)
    first = academy.current()
    academy.put(replace(first, state=PINNED))
    academy.house.tell(*chains(300, start=600))
    academy.learned(worker)
    assert academy.current() == replace(first, state=PINNED)
    academy.put(first)
    academy.house.tell(*chains(300, start=900))
    academy.learned(worker)
    assert academy.current().version != first.version


def test_a_learner_that_fails_is_counted_and_the_next_round_is_tried(academy: Academy):
    class Broken:
        learn, judge = staticmethod(lambda *_, **__: 1 / 0), staticmethod(counts.judge)

    academy.house.tell(*chains(600))
    worker, before = academy.worker(Broken), refused("failed")
    academy.learned(worker)
    assert refused("failed") == before + 1
    worker.learner = counts
    academy.house.tell(*chains(10, start=600))
    academy.learned(worker)
    assert academy.current().name == "ranker"


def test_what_is_learned_goes_by_the_law_and_the_trends_that_lists_are_made_with(
    academy: Academy,
):
    told = []

    class Listening:
        @staticmethod
        def learn(log: Any, *, trends: Any, law: Any, **more: Any) -> Any:
            told.append((trends, law))
            return counts.learn(log, **more)

        @staticmethod
        def judge(tensors: Any, log: Any, *, trends: Any, law: Any, **more: Any) -> Any:
            told.append((trends, law))
            return counts.judge(tensors, log, **more)

    academy.trends, academy.law = TrendConfig(rows=7), Law(half_life_ms=(1.0, 2.0, 3.0))
    academy.house.tell(*chains(600))
    academy.learned(academy.worker(Listening))
    assert told == [(academy.trends, academy.law)] * 4


def test_what_is_published_has_learned_from_all_and_was_judged_on_what_neither_had(
    academy: Academy,
):
    learned, judged = [], []

    class Watched:
        @staticmethod
        def learn(log: Any, *, previous: Any, **more: Any) -> Any:
            learned.append(
                (len(log), None if previous is None else int(previous[UNTIL_MS]))
            )
            return counts.learn(log, previous=previous, **more)

        @staticmethod
        def judge(tensors: Any, log: Any, *, newest: int, **more: Any) -> Any:
            judged.append((len(log), newest))
            return counts.judge(tensors, log, newest=newest, **more)

    academy.house.tell(*chains(900))
    worker = academy.worker(Watched)
    academy.learned(worker)
    at_ms = worker.columns.view(worker.items.view()).at_ms_E.tolist()
    assert learned == [(720, None), (900, at_ms[719])]
    file = path_of(academy.current())
    assert file is not None
    assert int(load_file(file)[UNTIL_MS]) == at_ms[-1]
    academy.house.tell(*chains(100, start=900))
    academy.learned(worker)
    assert learned[2] == (950, at_ms[-1])
    assert judged == [(900, 180)] * 2 + [(1_000, 50)] * 2


def test_a_round_waits_for_enough_new_events(academy: Academy):
    academy.config = replace(academy.config, min_fresh=50, every_events=300, every_s=1e9)
    academy.house.tell(*chains(600))
    worker = academy.worker()
    academy.learned(worker)
    academy.house.tell(*chains(299, start=600))
    academy.turn(worker, until=lambda: worker.fresh == 299)
    assert worker.rounds == 1
    assert worker.round is None
    academy.house.tell(*chains(1, start=899))
    academy.learned(worker)
    again = academy.worker()  # nothing is new to it: the model in force has learned all
    academy.turn(again, until=lambda: again.cards.current and not again.events.behind())
    academy.house.tell(*chains(49, start=900))
    academy.turn(again, until=lambda: again.fresh == 49)
    assert again.round is None
    academy.house.tell(*chains(1, start=949))
    academy.learned(again)
    assert again.rounds == 1


def test_a_worker_told_to_stop_ends_its_round(academy: Academy):
    academy.house.tell(*chains(600))

    class Endless:
        judge = staticmethod(counts.judge)

        @staticmethod
        def learn(log: Any, *, progress: Any, **more: Any) -> Any:
            while True:
                progress("on and on", 0.5)

    worker = academy.worker(Endless)
    academy.turn(worker, until=lambda: worker.round and worker.round.told)
    assert worker.round is not None
    assert worker.round.done()
    assert not academy.log.records(MODELS)


def test_old_versions_go_beyond_those_that_are_kept(academy: Academy):
    academy.config = replace(academy.config, keep=2)
    worker = academy.worker()
    made = []
    for n in range(4):
        academy.house.now_ms += 1_000
        academy.house.tell(*chains(300, start=300 * n))
        academy.learned(worker)
        made.append(academy.current())
    assert len({card.version for card in made}) == 4
    assert [card.version for card in academy.cards().history("ranker")] == [
        card.version for card in made[2:]
    ]
    files = {path.name for path in Path(academy.config.out).iterdir()}
    assert files == {f"ranker-{card.sha256}.safetensors" for card in made[2:]}
