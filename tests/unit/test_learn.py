"""A ranking model from a log: it foretells more than plain weights, and is a function of the log."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from msgspec.structs import replace as with_
from safetensors.torch import load, save

from encoders.law import CODES, Law
from encoders.tower import Tower, TowerSettings
from encoders.tower_model import TowerModel
from ranking.ages import AGES
from ranking.blend import Blend, blend_tensors
from ranking.catalogue import Catalogue
from ranking.ease import ease
from ranking.feature_names import FEATURES
from ranking.follows import Past
from ranking.histories import Pasts
from ranking.learn import LearnSettings, judge, learn
from ranking.learn_log import UNTIL_MS, Judged, LearnItems, LearnLog, gain
from ranking.model import Fitted, fitted, tower_tensors, towers_of
from ranking.world import World

ITEMS, PEOPLE, EACH, GENRES, WIDTH = 300, 60, 50, 6, 8
NEWEST = 400
AT_MS, MINUTE_MS = 1_764_000_000_000, 60_000
PLAIN = LearnSettings(tower=None, epochs=6, refresh=600)
NET = TowerSettings(width=16, heads=2, blocks=1, length=10, dropout=0.0)
TINY = with_(PLAIN, tower=NET, tower_epochs=2)


def walks(seed: int = 0) -> LearnLog:
    """People who mostly go on to the item that follows (round a genre's items, in another order
    than their numbers), at times to one that is popular with all. What items look like and
    which category they are of says nothing here, which plain weights can't know."""
    rng = np.random.default_rng(seed)
    each = ITEMS // GENRES
    rounds = [rng.permutation(each) * GENRES + g for g in range(GENRES)]
    after = {
        int(i): int(j) for row in rounds for i, j in zip(row, np.roll(row, -1), strict=True)
    }
    liked_N = 1 / np.arange(1, ITEMS + 1)
    rng.shuffle(liked_N)
    told: list[tuple[int, int, int]] = []
    for user in range(PEOPLE):
        touched: set[int] = set()
        item, begin = user, int(rng.integers(0, 3_000))
        for n in range(EACH - user % 7):
            left_N = np.where(np.isin(np.arange(ITEMS), [*touched]), 0, liked_N)
            go_on = after[item] not in touched and rng.random() < 0.6
            item = after[item] if go_on else int(rng.choice(ITEMS, p=left_N / left_N.sum()))
            touched.add(item)
            told.append((begin + n * 60 + int(rng.integers(0, 20)), user, item))
    told.sort()
    at_ms, user_E, item_E = np.array(told).T
    vectors = rng.normal(size=(ITEMS, WIDTH)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return LearnLog(
        user_E=user_E.astype(np.uint64) + 1,
        item_E=hash_of(item_E),
        kind_E=np.full(len(told), CODES["click"], np.uint8),
        value_E=np.full(len(told), np.nan, np.float32),
        at_ms_E=AT_MS + at_ms * MINUTE_MS // 10,
        offset_E=np.arange(len(told)),
        partition_E=np.zeros(len(told), np.int32),
        items=LearnItems(
            hash_I=hash_of(np.arange(ITEMS)),
            item_id_I=[f"i{n}" for n in range(ITEMS)],
            categories_I=[frozenset({f"g{n * 7 % 5}"}) for n in range(ITEMS)],
            published_at_ms_I=np.zeros(ITEMS, np.int64),
            vector_ID=vectors,
            encoder="e",
        ),
    )  # fmt: skip


def hash_of(item: np.ndarray) -> np.ndarray:
    return (np.asarray(item).astype(np.uint64) + np.uint64(1)) * np.uint64(
        0x9E3779B97F4A7C15
    )


LOG = walks()


@pytest.fixture(scope="module")
def learned() -> dict[str, torch.Tensor]:
    return learn(LOG.before(NEWEST), settings=PLAIN)


@pytest.fixture(scope="module")
def towered() -> dict[str, torch.Tensor]:
    return learn(LOG.before(NEWEST), settings=TINY)


def popular_hits(log: LearnLog, newest: int) -> float:
    """Hit rate at 20 of what was touched most before, less what the person touched."""
    counts: Counter[int] = Counter()
    touched: dict[int, set[int]] = {}
    hits = []
    for n, (user, item) in enumerate(
        zip(log.user_E.tolist(), log.item_E.tolist(), strict=True)
    ):
        mine = touched.setdefault(user, set())
        if n >= len(log) - newest:
            best = [i for i, _ in counts.most_common() if i not in mine][:20]
            hits.append(item in best)
        counts[item] += 1
        mine.add(item)
    return float(np.mean(hits))


def part_of(log: LearnLog, keep: np.ndarray) -> LearnLog:
    columns: dict[str, Any] = {
        name: getattr(log, name)[keep]
        for name in (
            "user_E",
            "item_E",
            "kind_E",
            "value_E",
            "at_ms_E",
            "offset_E",
            "partition_E",
        )
    }
    return replace(log, **columns)


def test_what_was_learned_foretells_more_than_plain_weights_and_popularity(learned):
    best, plain = (judge(t, LOG, newest=NEWEST) for t in (learned, None))
    assert best.score > popular_hits(LOG, NEWEST) + 0.1
    assert gain(best, plain)[0] > 0.01


def test_towers_are_part_of_the_model_and_do_no_harm(learned, towered):
    models = towers_of(towered)
    aged_at_ms = int(LOG.before(NEWEST).at_ms_E.max())
    net = with_(NET, content_width=WIDTH + AGES, aged_at_ms=aged_at_ms)
    assert [model.settings for model in models] == [net, net]
    assert models[0].version != models[1].version  # they began by other seeds
    assert towers_of(learned) == []
    assert judge(towered, LOG, newest=NEWEST).score > popular_hits(LOG, NEWEST) + 0.1


def test_several_towers_speak_by_the_mean_of_their_logits(towered):
    world, event_U = World.of(LOG, Law()), np.arange(len(LOG) - 20, len(LOG))

    def told(models: list[TowerModel]) -> torch.Tensor:
        rest = {n: t for n, t in towered.items() if not n.startswith("tower")}
        model = fitted(rest | tower_tensors(models), world.catalogue, version="v")
        model.align(world.catalogue, world.vectors, np.zeros(0, np.int64))
        said = model.sequence(world.pasts.people(event_U), world.memory(event_U, model))
        assert said is not None
        return torch.from_numpy(said)

    one, other = towers_of(towered)
    apart = told([one]), told([other])
    assert not torch.allclose(*apart, atol=1e-2)
    mean = torch.log_softmax((apart[0] + apart[1]) / 2, dim=1)
    torch.testing.assert_close(told([one, other]), mean, atol=1e-4, rtol=1e-4)


def test_towers_of_unlike_settings_are_refused(towered):
    first = towers_of(towered)[0]
    narrow = TowerModel.of(
        Tower(with_(NET, width=8), items=len(first.hash_N)), first.hash_N
    )
    told = tower_tensors([first, narrow]) | {"items": towered["items"]}
    with pytest.raises(ValueError, match="tower 1 has other settings"):
        towers_of(told)


@pytest.mark.parametrize("way", [PLAIN, TINY], ids=["without a tower", "with one"])
def test_the_same_log_and_seed_give_the_same_tensors(way, learned, towered):
    again = learn(LOG.before(NEWEST), settings=way)
    before = learned if way is PLAIN else towered
    assert again.keys() == before.keys()
    assert all(torch.equal(again[name], before[name]) for name in again)


def test_a_log_too_short_is_refused_in_words():
    with pytest.raises(ValueError, match="499 events: a model needs 500"):
        learn(LOG.before(len(LOG) - 499), settings=PLAIN)


def test_impressions_are_no_events():
    kinds = LOG.kind_E.copy()
    kinds[: len(LOG) - 499] = CODES["impression"]
    with pytest.raises(ValueError, match="499 events"):
        learn(replace(LOG, kind_E=kinds), settings=PLAIN)


def test_how_far_it_is_is_told_from_0_to_1():
    told: list[tuple[str, float]] = []
    learn(LOG.before(NEWEST), settings=PLAIN, progress=lambda *at: told.append(at))
    assert {what for what, _ in told} >= {"features", "blend", "ease", "done"}
    assert all(0 <= share <= 1 for _, share in told)
    assert told[-1] == ("done", 1.0)


def test_what_cannot_be_foretold_is_not_judged(learned):
    """Impressions, what the person touched before, and items that are no longer here; each
    leaves the others as they were."""
    newest = 60
    clean = judge(learned, LOG, newest=newest, block=1).hit_N
    assert not np.isnan(clean).any()
    again = LOG.item_E.copy()
    mine = np.flatnonzero(LOG.user_E[:-1] == LOG.user_E[-1])
    again[-1] = again[mine[0]]
    hits = judge(learned, replace(LOG, item_E=again), newest=newest, block=1).hit_N
    assert np.isnan(hits[-1])
    assert np.array_equal(hits[:-1], clean[:-1])
    gone = LOG.item_E[-5]
    left = np.flatnonzero(LOG.items.hash_I != gone)
    items = replace(
        LOG.items,
        hash_I=LOG.items.hash_I[left],
        item_id_I=[LOG.items.item_id_I[n] for n in left],
        categories_I=[LOG.items.categories_I[n] for n in left],
        vector_ID=LOG.items.vector_ID[left],
    )
    hits = judge(learned, replace(LOG, items=items), newest=newest, block=1).hit_N
    assert np.isnan(hits[-5])
    assert np.array_equal(np.isnan(hits), LOG.item_E[-newest:] == gone)


@pytest.mark.parametrize("where", ["last", "first", "throughout"])
def test_impressions_among_the_newest_are_not_judged_and_move_nothing(where, learned):
    """`hit_N` is by the events of the log, whatever stands between them."""
    newest = 40
    at = {"last": [len(LOG)] * 7, "first": [len(LOG) - 30] * 7, "throughout": range(len(LOG) - 30, len(LOG), 3)}  # fmt: skip
    places = np.array(list(at[where]))
    shown = part_of(LOG, np.insert(np.arange(len(LOG)), places, 0))
    is_shown = np.insert(np.zeros(len(LOG), bool), places, True)
    shown.kind_E[is_shown] = CODES["impression"]
    hits = judge(learned, shown, newest=newest, block=1).hit_N
    assert np.array_equal(np.isnan(hits), is_shown[-newest:])
    clean = judge(learned, LOG, newest=newest, block=1).hit_N
    judged = hits[~is_shown[-newest:]]
    assert np.array_equal(judged, clean[-len(judged) :])


def test_more_events_than_there_are_can_be_asked_for(learned):
    short = part_of(LOG, np.arange(50))
    hits = judge(learned, short, newest=80).hit_N
    assert hits.shape == (80,)
    assert np.isnan(hits[:30]).all()
    assert not np.isnan(hits[30:]).any()


def test_tensors_survive_their_file(towered, tmp_path: Path):
    again = load(save({name: t.contiguous() for name, t in towered.items()}))
    assert again.keys() == towered.keys()
    assert all(torch.equal(again[name], towered[name]) for name in again)
    a, b = (judge(t, LOG, newest=50).hit_N for t in (again, towered))
    assert np.array_equal(a, b)


def test_a_model_is_learned_on_and_knows_what_came_since(towered):
    """People's newest walks are told to it, and it does no worse on what follows."""
    until = LOG.before(NEWEST // 2)
    on = learn(until, previous=towered, settings=TINY)
    assert int(on[UNTIL_MS]) == until.at_ms_E[-1] > int(towered[UNTIL_MS])
    assert all(torch.equal(on[k], t) for k, t in towered.items() if k.startswith("blend."))
    assert not torch.equal(on["ease.weight"], towered["ease.weight"])
    assert int(on["whole"]) == int(towered["whole"]) == len(LOG) - NEWEST
    before, after = (judge(t, LOG, newest=NEWEST // 2) for t in (towered, on))
    assert gain(after, before)[0] > -0.02


def test_a_gain_is_told_with_its_standard_error():
    one, other = (
        Judged(np.array(h, np.float32)) for h in ([1, 0, 1, np.nan], [0, 0, 1, 1])
    )
    more, error = gain(one, other)
    assert more == pytest.approx(1 / 3)
    assert error == pytest.approx(np.std([1, 0, 0]) / 3**0.5)
    assert gain(one, one) == (0.0, 0.0)
    with pytest.raises(ValueError, match="judge both on one log"):
        gain(one, Judged(np.zeros(3, np.float32)))


def test_a_log_that_has_outgrown_its_model_is_learned_anew():
    short = LOG.before(len(LOG) // 2)
    small = learn(short, settings=PLAIN)
    again = learn(LOG, previous=small, settings=PLAIN)
    anew = learn(LOG, settings=PLAIN)
    assert all(torch.equal(again[name], tensor) for name, tensor in anew.items())
    assert int(again["whole"]) == len(LOG)


def catalogue_of(names: np.ndarray) -> Catalogue:
    catalogue = Catalogue(popular_half_life_ms=1.0)
    for name in names.tolist():
        catalogue.put(
            name, item_id=f"{name}", categories=frozenset(), available=True,
            expires_at_ms=1 << 60, published_at_ms=0,
        )  # fmt: skip
    return catalogue


def test_a_model_of_items_that_the_catalogue_does_not_have_is_lined_up(towered):
    """Rows in another order, some items of the model unknown, some items of ours new to it."""
    ours = np.concatenate([LOG.items.hash_I[::-3], np.array([7, 8, 9], np.uint64)])
    catalogue = catalogue_of(ours)
    model = fitted(towered, catalogue, version="v")

    def vectors(hash_X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.zeros((len(hash_X), WIDTH), np.float32), np.zeros(len(hash_X), bool)

    model.align(catalogue, vectors, np.zeros(0, np.int64))
    assert len(model.vector_NV) == len(model.bias_NT) == catalogue.size
    assert model.ease is not None
    whole = fitted(towered, catalogue_of(LOG.items.hash_I), version="v")
    assert whole.ease is not None
    for owner in ours[:100:20]:
        said = []
        for made, here in ((model, catalogue), (whole, catalogue_of(LOG.items.hash_I))):
            row = here.named.find(np.array([owner]))
            (score_N,) = made.ease.scatter(
                Past.of(row[:, None], np.ones((1, 1), np.float32)),
                rows=here.size, as_of_ms_U=np.array([AT_MS]),
            )  # fmt: skip
            said.append(score_N[here.named.find(ours[:100])])
        assert np.allclose(*said, atol=1e-6)
        assert said[0].any()


def test_a_blend_of_other_features_is_refused(learned):
    other = {**learned, **blend_tensors(Blend(len(FEATURES) + 1))}
    with pytest.raises(ValueError, match="train a new model"):
        fitted(other, catalogue_of(LOG.items.hash_I), version="")


def test_a_model_without_a_blend_is_weighed_plainly(learned):
    part = {name: t for name, t in learned.items() if not name.startswith("blend.")}
    model = fitted(part, catalogue_of(LOG.items.hash_I), version="v")
    assert isinstance(model, Fitted)
    assert model.blend.prior_now().any()


def test_tensors_that_are_no_model_raise_what_a_reload_expects(learned):
    catalogue = catalogue_of(LOG.items.hash_I)
    for broken in (
        {},
        {**learned, "items": learned["items"].to(torch.int32)[:3]},
        {**learned, "ease.to": learned["ease.to"] + 10**6},
        {**learned, "tower.settings": torch.zeros(3, dtype=torch.uint8)},
        {**learned, "blend.linear.weight": torch.zeros(2, 2)},
    ):
        with pytest.raises((KeyError, IndexError, ValueError, RuntimeError)):
            fitted(broken, catalogue, version="")


def test_people_as_they_were_just_before_an_event():
    log = part_of(LOG, np.arange(200))
    row_E = np.searchsorted(np.unique(log.item_E), log.item_E)
    pasts = Pasts.of(log.user_E, row_E, log.at_ms_E, log.value_E, log.kind_E)
    who = pasts.people(np.arange(200))
    for event in range(200):
        before = [e for e in range(event) if log.user_E[e] == log.user_E[event]][::-1][:60]
        assert who.row_UL[event, : len(before)].tolist() == row_E[before].tolist()
        assert (who.row_UL[event, len(before) :] == -1).all()
        assert who.touched_U[event] == len({*row_E[before]})
        ages = [log.at_ms_E[before[0]] - log.at_ms_E[e] for e in before]
        assert who.age_ms_UL[event, : len(before)].tolist() == ages


def test_with_few_items_ease_keeps_what_there_is():
    pasts = Pasts.of(
        np.array([1, 1, 1, 2, 2], np.uint64),
        np.array([0, 1, 2, 0, 1]),
        AT_MS + np.arange(5),
        np.zeros(5, np.float32),
        np.zeros(5, np.uint8),
    )
    to_NK, weight_NK = ease(pasts, items=4, end=5)
    assert to_NK.shape == weight_NK.shape == (4, 4)
    assert weight_NK[0, to_NK[0] == 1] > weight_NK[0, to_NK[0] == 3] == 0
    few_NK, _ = ease(pasts, items=4, end=5, most=2, keep=1)
    assert few_NK.tolist() == [[1], [0], [-1], [-1]]
