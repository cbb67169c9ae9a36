"""Models reloaded while events flow: what cannot be used, what comes late, and going back."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from tests.support import counts
from tests.support.academy import MODELS, Academy, chains, versions
from tests.support.house import WIDTH, named
from tests.support.waiting import wait_for
from workers import metrics
from workers.config import ModelsConfig
from workers.model_cards import Cards
from workers.model_files import path_of, write_model


def loaded(outcome: str) -> float:
    """How many models came to this, so far."""
    return float(metrics._child("models_loaded_total", outcome)._value.get())


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
