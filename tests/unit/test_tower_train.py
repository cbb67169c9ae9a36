"""How the tower learns: what it foretells, by what, and from what."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch

from encoders.tower import Entries, TowerSettings, scores
from encoders.tower_data import Touches
from encoders.tower_model import TowerModel
from encoders.tower_score import ranks
from encoders.tower_train import FineTuning, TowerTraining, corrected, fine_tune, train
from encoders.tower_tune import Fold, folds, tune

ITEMS, USERS, EACH = 12, 24, 10
NET = TowerSettings(width=16, heads=2, blocks=1, length=10, dropout=0.0, trust=0.1)
WAY = TowerTraining(epochs=16, batch=6, learning_rate=0.02, drop_id=0.0)
HASHES = np.arange(1, ITEMS + 1, dtype=np.uint64)
CONTENT = np.eye(ITEMS, 6, dtype=np.float32)
DAY_MS = 86_400_000


def rings(step: int = 1, *, items: int = ITEMS, days: float = 1.0) -> Touches:
    """Everybody goes round the items by `step`, each from another place on."""
    turn_E, user_E = np.repeat(np.arange(EACH), USERS), np.tile(np.arange(USERS), EACH)
    return Touches(
        user_E=user_E,
        item_E=(user_E * 7 + turn_E * step) % items,
        at_ms_E=(turn_E * days * DAY_MS).astype(np.int64) + user_E,
        kind_E=np.zeros(len(user_E), np.int64),
        value_E=np.full(len(user_E), np.nan, np.float32),
        mass_E=np.ones(len(user_E), np.float32),
    )


def first_places(model: TowerModel, log: Touches, *, newest: int = 3 * USERS) -> float:
    found = ranks(model, log, None, HASHES, begin=len(log) - newest, end=len(log))
    return float((found == 1).mean())


@pytest.mark.parametrize(
    "way",
    [
        pytest.param(WAY, id="all items"),
        pytest.param(msgspec.structs.replace(WAY, full=1, samples=8), id="a sample"),
        pytest.param(
            msgspec.structs.replace(WAY, optimizer="sgd", learning_rate=0.3, epochs=40),
            id="sgd",
        ),
    ],
)
def test_it_learns_what_follows_what(way: TowerTraining) -> None:
    log = rings()
    model = train(log.part(0, 7 * USERS), None, HASHES, settings=NET, training=way)
    assert first_places(model, log) > 0.9


def test_the_same_arguments_give_the_same_model_and_leave_chance_alone() -> None:
    way = msgspec.structs.replace(WAY, epochs=1)
    before = torch.random.get_rng_state()
    made = [train(rings(), None, HASHES, settings=NET, training=way) for _ in range(2)]
    assert made[0].version == made[1].version
    assert torch.equal(before, torch.random.get_rng_state())
    other = msgspec.structs.replace(way, seed=1)
    assert (
        train(rings(), None, HASHES, settings=NET, training=other).version
        != made[0].version
    )


def test_what_is_new_counts_for_more() -> None:
    """The way round has changed, four days before the end."""
    old, new = rings(1).part(0, 6 * USERS), rings(5).part(6 * USERS, EACH * USERS)
    columns = ("user_E", "item_E", "at_ms_E", "kind_E", "value_E", "mass_E")
    log = Touches(
        **{c: np.concatenate([getattr(old, c), getattr(new, c)]) for c in columns}
    )
    way = msgspec.structs.replace(WAY, half_life_days=0.7, epochs=25)
    model = train(log, None, HASHES, settings=NET, training=way)
    assert first_places(model, log, newest=USERS) > 0.8


def test_fine_tuning_learns_the_new_and_leaves_the_given_model_alone() -> None:
    old, new = rings(1), rings(5)
    model = train(old, None, HASHES, settings=NET, training=WAY)
    version, was = model.version, first_places(model, new)
    tuned = fine_tune(
        model, new, None, HASHES, new=len(new), training=WAY,
        tuning=FineTuning(epochs=12, learning_rate=0.01, recent=len(new), replay=0.0),
    )  # fmt: skip
    assert TowerModel.of(model.net, HASHES).version == version
    assert first_places(tuned, new) > max(was, 0.8)


def test_fine_tuning_takes_in_items_that_are_new() -> None:
    few = ITEMS // 2
    model = train(rings(items=few), None, HASHES[:few], settings=NET, training=WAY)
    log = rings(5)
    grown = fine_tune(model, log, None, HASHES, new=len(log), training=WAY)
    assert grown.net.id_NW.shape[0] == ITEMS
    assert grown.rows(HASHES).tolist() == list(range(ITEMS))
    with pytest.raises(ValueError, match="append new items at its end"):
        fine_tune(model, log, None, HASHES[::-1].copy(), new=1)


def test_items_of_the_same_content_are_foretold_untouched() -> None:
    """Even items are of one sort and odd ones of another; people stay with one sort. Of the
    last four items nobody touched any."""
    chance = np.random.default_rng(0)
    known, content = ITEMS - 4, np.eye(2, dtype=np.float32)[np.arange(ITEMS) % 2]
    turns = np.stack([chance.permutation(known // 2) * 2 + u % 2 for u in range(60)])
    log = Touches(
        user_E=np.tile(np.arange(60), 4), item_E=turns.T.reshape(-1),
        at_ms_E=np.repeat(np.arange(4), 60) * 1_000, kind_E=np.zeros(240, np.int64),
        value_E=np.ones(240, np.float32), mass_E=np.ones(240, np.float32),
    )  # fmt: skip
    way = msgspec.structs.replace(WAY, drop_id=0.5)
    said = msgspec.structs.replace(NET, content_width=2)
    model = train(log, content, HASHES, settings=said, training=way)
    vector_XW, bias_X = model.items(HASHES, content)
    item_UL = torch.tensor([[0, 2, 4, 6], [1, 3, 5, 7]])
    at_UL = torch.arange(4).expand(2, 4) * 1_000
    with torch.inference_mode():
        user_UW = model.net.users(
            vector_XW,
            Entries(item_UL, at_UL, torch.zeros(2, 4).long(), torch.ones(2, 4)),
            vector_XW[item_UL].mean(dim=1),
        )[:, 0]
        untouched_U4 = (user_UW @ vector_XW.T + bias_X)[:, -4:]
    assert untouched_U4[0, 0] > untouched_U4[0, 1]
    assert untouched_U4[1, 1] > untouched_U4[1, 0]


def test_what_was_not_there_yet_was_not_passed_over() -> None:
    """Of the last item nothing is known but that it is of a sort of its own."""
    content = np.zeros((ITEMS, 2), np.float32)
    content[:-1, 0], content[-1, 1] = 1, 1
    said = msgspec.structs.replace(NET, content_width=2)
    share = {}
    for born in (True, False):
        way = msgspec.structs.replace(WAY, born=born)
        model = train(rings(items=ITEMS - 1), content, HASHES, settings=said, training=way)
        vector_XW, bias_X = model.items(HASHES, content)
        item_UL = torch.tensor([[0, 1, 2, 3]])
        told = Entries(
            item_UL,
            torch.arange(4)[None] * DAY_MS,
            torch.zeros(1, 4).long(),
            torch.zeros(1, 4),
        )
        with torch.inference_mode():
            user_UKW = model.net.users(vector_XW, told, vector_XW[item_UL].mean(dim=1))
            share[born] = float(scores(user_UKW, vector_XW, bias_X).softmax(dim=1)[0, -1])
    assert share[True] > 2 * share[False]


def test_a_corrected_sample_stands_for_all_items() -> None:
    """In the mean over draws the sum of exponentials is that over all items."""
    chance = np.random.default_rng(0)
    logit_N, q_N = chance.normal(size=50), chance.dirichlet(np.ones(50))
    sums = []
    for _ in range(4_000):
        drawn, times = np.unique(chance.choice(50, 8, p=q_N), return_counts=True)
        sampled_N = np.full(50, -np.inf)
        sampled_N[drawn] = np.log(times) - np.log(8) - np.log(q_N[drawn])
        told = corrected(
            torch.tensor(logit_N)[None], torch.tensor([3]), torch.tensor(sampled_N)
        )
        told[0, 3] = -torch.inf  # the target stands for itself and is looked at apart
        sums.append(float(told.exp().sum()))
    rest = np.exp(np.delete(logit_N, 3)).sum()
    assert np.mean(sums) == pytest.approx(rest, abs=5 * np.std(sums) / len(sums) ** 0.5)


def test_progress_ends_at_one() -> None:
    heard: list[float] = []
    way = msgspec.structs.replace(WAY, epochs=2)
    train(
        rings(), None, HASHES, settings=NET, training=way,
        progress=lambda done, _: heard.append(done),
    )  # fmt: skip
    assert heard == sorted(heard)
    assert heard[-1] == 1.0


def test_no_events_are_refused_with_the_remedy() -> None:
    with pytest.raises(ValueError, match="read the log from further back"):
        train(rings().part(0, 0), None, HASHES, settings=NET)


def test_ranks_do_not_look_ahead() -> None:
    log = rings()
    model = train(
        log, None, HASHES, settings=NET, training=msgspec.structs.replace(WAY, epochs=1)
    )
    some = ranks(model, log, None, HASHES, begin=150, end=200)
    short = ranks(model, log.part(0, 200), None, HASHES, begin=150, end=200)
    assert np.array_equal(some, short)


def test_folds_stand_one_after_the_other_at_the_end() -> None:
    assert folds(1_600, count=2, share=0.125) == (Fold(1_200, 1_400), Fold(1_400, 1_600))
    with pytest.raises(ValueError, match="give a longer log"):
        folds(10, count=2, share=0.4)


def test_a_search_goes_on_where_it_was_left(tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    heard: list[int] = []

    def space(
        trial: Any, net: TowerSettings, way: TowerTraining
    ) -> tuple[TowerSettings, TowerTraining]:
        return net, msgspec.structs.replace(
            way, learning_rate=trial.suggest_float("learning_rate", 1e-3, 2e-2)
        )

    def search(trials: int) -> tuple[int, float]:
        found = tune(
            rings(), CONTENT, HASHES, trials=trials, storage=tmp_path / "journal",
            settings=NET, training=msgspec.structs.replace(WAY, epochs=2), search=space,
            over=[Fold(8 * USERS, 9 * USERS)],
            progress=lambda done, _: heard.append(done),
        )  # fmt: skip
        assert found.settings.content_width == CONTENT.shape[1]
        assert 0 <= found.hit_rate <= 1
        return found.trials, found.training.learning_rate

    assert search(1) == (1, WAY.learning_rate)
    assert search(3)[0] == 3
    assert search(3)[0] == 3
    assert heard == [1, 2, 3]
