"""Learning from the log, publishing what is not worse, reloading while events flow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from encoders.law import Law, hash64
from ranking.trend_config import TrendConfig
from schemas import Erase, Interaction, Slate, Undo, Visit
from tests.support import counts
from tests.support.academy import MODELS, Academy, chains
from tests.support.house import NOW, WIDTH, named
from tests.support.waiting import wait_for
from workers import metrics
from workers.config import ModelsConfig
from workers.model_cards import PINNED, Cards
from workers.model_files import path_of, write_model
from workers.train_columns import Columns


@pytest.fixture
def academy(tmp_path: Path) -> Academy:
    made = Academy(tmp_path)
    made.catalogue()
    return made


def loaded(outcome: str) -> float:
    """How many models came to this, so far."""
    return float(metrics._child("models_loaded_total", outcome)._value.get())


def refused(reason: str) -> float:
    return float(metrics._child("models_refused_total", reason)._value.get())


def versions(academy: Academy, worker: Any, *users: str) -> list[str]:
    """The model that each of these people's next list names."""
    academy.house.now_ms += 1_000
    number = len(academy.house.slates())
    academy.house.tell(
        *(
            Visit(event_id=f"v{number}-{n}", user_id=user, at_ms=academy.house.now_ms)
            for n, user in enumerate(users)
        )
    )
    asked = [f"v{number}-{n}" for n in range(len(users))]
    found: dict[str, Slate] = {}
    for _ in range(20):
        academy.house.turn(worker, 5)
        found = {e: s for s in academy.house.slates() for e in s.caused_by}
        if found.keys() >= set(asked):
            break
    return [found[event].versions["model"] for event in asked]


# -- what is published -----------------------------------------------------------------------


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
    assert told == [(academy.trends, academy.law)] * 3


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


# -- columns ---------------------------------------------------------------------------------


def kept(academy: Academy, limit: int = 1 << 20) -> Columns:
    return Columns(
        folder=academy.folder / "columns", log_id="memory", limit=limit, size=300
    )


def same(a: Any, b: Any) -> bool:
    """Whether two logs have the same columns."""
    names = ("user_E", "item_E", "kind_E", "value_E", "at_ms_E", "offset_E", "partition_E")
    return all(
        np.array_equal(getattr(a, n), getattr(b, n), equal_nan=n == "value_E")
        for n in names
    )


def caught_up(academy: Academy, worker: Any) -> Any:
    academy.turn(worker, until=lambda: not worker.events.behind())
    return worker.columns.view(worker.items.view())


def test_a_restart_reads_on_and_has_the_same_columns(academy: Academy, tmp_path: Path):
    academy.config = replace(academy.config, min_events=1 << 20)
    academy.house.tell(*chains(700))
    first = caught_up(academy, academy.worker())
    assert len(first) == 700
    again = academy.worker()
    assert len(again.columns) == 700
    assert not again.events.behind(), "nothing is read a second time"
    assert same(again.columns.view(again.items.view()), first)
    academy.house.tell(*chains(50, start=700))
    more = caught_up(academy, academy.worker())
    assert len(more) == 750
    academy.folder = tmp_path / "afresh"
    assert same(caught_up(academy, academy.worker()), more)


def test_the_columns_are_those_of_one_reading_whatever_was_killed_when(academy: Academy):
    """A worker that is gone between two reads and before it kept what it had."""
    academy.config = replace(academy.config, min_events=1 << 20)
    rng = np.random.default_rng(3)
    for start in range(0, 900, 90):
        academy.house.tell(*chains(90, start=start))
        columns = kept(academy)
        worker = academy.worker()
        worker.columns = columns
        for _ in range(int(rng.integers(1, 4))):
            from workers.train import read

            read(worker, now=float(rng.choice([-1.0, 1e9])))
            # killed here: what was not kept is read again
    whole = caught_up(academy, academy.worker())
    assert len(whole) == 900
    assert (
        len(set(zip(whole.partition_E.tolist(), whole.offset_E.tolist(), strict=True)))
        == 900
    )


def test_doubles_and_what_was_undone_are_left_out_whichever_came_first(academy: Academy):
    academy.config = replace(academy.config, min_events=1 << 20)
    one, two, three = (
        Interaction(
            event_id=f"e{n}", user_id="ann", item_id=f"i0{n}", kind="click", at_ms=NOW + n
        )
        for n in range(3)
    )
    academy.house.tell(
        Undo(event_id="x0", user_id="ann", undoes="e0", at_ms=NOW),
        one, two, two, three,
        Undo(event_id="x2", user_id="ann", undoes="e2", at_ms=NOW),
        Undo(event_id="x1", user_id="bob", undoes="e1", at_ms=NOW),
    )  # fmt: skip
    log = caught_up(academy, academy.worker())
    assert log.item_E.tolist() == [hash64("i01")]


def test_an_erase_takes_the_user_out_of_memory_and_files_and_later_ones_start_afresh(
    academy: Academy,
):
    academy.config = replace(academy.config, min_events=1 << 20)
    academy.house.tell(*chains(700))
    worker = academy.worker()
    assert len(caught_up(academy, worker)) == 700
    gone = hash64("u3")
    academy.house.tell(
        Erase(event_id="x", user_id="u3", at_ms=NOW),
        Interaction(
            event_id="late", user_id="u3", item_id="i01", kind="click", at_ms=NOW - 5
        ),
        Interaction(
            event_id="new", user_id="u3", item_id="i02", kind="click", at_ms=NOW + 5
        ),
    )
    from workers.train import read

    worker = academy.worker()
    while worker.events.behind():
        read(worker, now=0.0)
    for file in (academy.folder / "columns").glob("events-*.npz"):
        rows = np.load(file)["rows"]
        assert not ((rows["user"] == gone) & (rows["at_ms"] <= NOW)).any()
    log = caught_up(academy, academy.worker())
    assert log.item_E[log.user_E == gone].tolist() == [hash64("i02")]


def test_an_erase_that_was_cut_short_is_finished_at_the_next_opening(academy: Academy):
    academy.config = replace(academy.config, min_events=1 << 20)
    academy.house.tell(*chains(700))
    caught_up(academy, academy.worker())
    older = sorted((academy.folder / "columns").glob("events-*.npz"))[0]
    before = older.read_bytes()
    academy.house.tell(Erase(event_id="x", user_id="u3", at_ms=NOW))
    caught_up(academy, academy.worker())
    older.write_bytes(before)  # as if the crash had come between the two files
    assert hash64("u3") in np.load(older)["rows"]["user"]
    assert hash64("u3") not in kept(academy).view(academy.worker().items.view()).user_E
    assert hash64("u3") not in np.load(older)["rows"]["user"]


def test_columns_are_bounded_and_the_oldest_go(academy: Academy):
    academy.config = replace(academy.config, min_events=1 << 20, max_events=450)
    academy.house.tell(*chains(1_400))
    worker = academy.worker()
    log = caught_up(academy, worker)
    assert len(log) == 450
    assert log.at_ms_E.min() >= NOW - 10_000_000 + 950_000
    assert len(worker.columns) <= 450 + 300


def test_columns_of_another_topic_are_left_behind(academy: Academy):
    academy.house.tell(*chains(700))
    caught_up(academy, academy.worker())
    other = Columns(folder=academy.folder / "columns", log_id="made anew", limit=10)
    assert len(other) == 0
    assert other.next_offsets == {}


# -- reloading -------------------------------------------------------------------------------


def spoiled(academy: Academy, how: str) -> Any:
    """The card in force, or its file, made wrong."""
    card = replace(academy.current(), version=f"bad {how}")
    file = path_of(card)
    assert file is not None
    if how == "unreadable":
        import hashlib

        bad = file.with_name("bad.safetensors")
        bad.write_bytes(b"\x08\x00\x00\x00\x00\x00\x00\x00pickled!")
        sha256 = hashlib.sha256(bad.read_bytes()).hexdigest()
        return replace(card, uri=bad.as_uri(), sha256=sha256)
    if how == "wrong_sha256":
        return replace(card, sha256="0" * 64)
    if how == "wrong_dims":
        return replace(card, dims={"width": WIDTH + 1})
    if how == "unreachable":
        return replace(card, uri=(file.parent / "nowhere.safetensors").as_uri())
    if how == "too_large":
        big = file.with_name("big.safetensors")
        big.write_bytes(bytes(2 << 20))
        return replace(card, uri=big.as_uri())
    return replace(card, uri="http://127.0.0.1:1/model.safetensors")


@pytest.mark.parametrize(
    "how",
    ["unreadable", "wrong_sha256", "wrong_dims", "unreachable", "too_large", "not_allowed"],
)
def test_a_model_that_cannot_be_used_leaves_the_old_one_and_is_counted(
    academy: Academy, how: str
):
    academy.models = ModelsConfig(retry_s=60.0, max_mb=1)
    academy.house.tell(*chains(600))
    academy.learned(academy.worker())
    good = academy.current().version
    recommender = academy.recommender()
    assert versions(academy, recommender, "u1") == [good]
    before = loaded(how)
    academy.put(spoiled(academy, how))
    academy.house.turn(recommender, 1)
    wait_for(lambda: loaded(how) > before, limit_s=20.0)
    assert versions(academy, recommender, "u1", "u2") == [good, good]
    shown = recommender.health.ready().body["conditions"]["model"]
    assert shown["ok"]
    assert f"bad {how}" in shown["why"]
    assert how in shown["why"]
    named_ = named(academy.house.slates())
    assert len(named_) == len(set(named_)), "no event is answered twice"


def test_a_file_that_comes_after_its_card_is_found_by_trying_again(academy: Academy):
    academy.house.tell(*chains(600))
    academy.learned(academy.worker())
    card = academy.current()
    file = path_of(card)
    assert file is not None
    away = file.rename(file.with_suffix(".away"))
    recommender, before = academy.recommender(), loaded("unreachable")
    assert versions(academy, recommender, "u1") == ["replay"]
    wait_for(lambda: loaded("unreachable") > before + 1, limit_s=20.0)
    away.rename(file)
    models = recommender.models
    wait_for(lambda: models._ready is not None, limit_s=20.0)
    assert versions(academy, recommender, "u1") == [card.version]


def test_events_flow_while_models_come_and_go_and_each_is_answered_once(academy: Academy):
    """A model after every few events, half of them broken: lists go on, each of one model."""
    academy.house.tell(*chains(600))
    academy.learned(academy.worker())
    good = academy.current()
    recommender = academy.recommender()
    sent = [e.event_id for e in chains(600)]
    tensors = counts.learn(
        academy.worker().columns.view(academy.worker().items.view()),
        previous=None, seed=0, progress=lambda *_: None,
    )  # fmt: skip
    known = {good.version, "replay"}
    for n in range(12):
        tensors["cf.popular"] = tensors["cf.popular"] + 1
        card = write_model(
            tensors, folder=academy.folder, name="ranker", encoder="", width=WIDTH, at_ms=n
        )
        academy.put(card if n % 2 else replace(card, sha256="0" * 64, version=f"bad{n}"))
        known |= {card.version} if n % 2 else set()
        batch = chains(40, start=600 + 40 * n)
        sent += [e.event_id for e in batch]
        academy.house.tell(*batch)
        academy.house.turn(recommender, 3)
        if n % 3 == 0:
            recommender.models.settle()
    academy.house.turn(recommender, 60)
    assert sorted(named(academy.house.slates())) == sorted(sent)
    assert {s.versions["model"] for s in academy.house.slates()} <= known
    assert academy.house.slates()[-1].versions["model"] in known - {"replay"}


# -- going back ------------------------------------------------------------------------------


def test_going_back_puts_the_card_before_in_force_again(academy: Academy):
    worker = academy.worker()
    made = []
    for n in range(3):
        academy.house.now_ms += 1_000
        academy.house.tell(*chains(300, start=300 * n))
        academy.learned(worker)
        made.append(academy.current())
    recommender = academy.recommender()
    assert versions(academy, recommender, "u1") == [made[2].version]
    for expected in (made[1], made[0]):
        former = academy.cards().former("ranker")
        assert former is not None
        assert former == expected
        academy.put(former)
        academy.house.turn(recommender, 1)
        recommender.models.settle()
        assert versions(academy, recommender, "u1") == [expected.version]
    assert academy.cards().former("ranker") is None
    academy.log.compact(MODELS)
    compacted = Cards()
    compacted.apply(academy.log.records(MODELS))
    assert compacted.history("ranker") == made
