"""Fusion that learned: what is missing never breaks a vector, and learning is worth it."""

from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from encoders.config import EncoderConfig
from encoders.fusion import SlotColumn, columns_of, fuse, fusion_version
from encoders.fusion_load import Projected, load_fusion
from encoders.fusion_model import load
from encoders.fusion_nets import NetSettings
from encoders.fusion_train import FusionTraining, Pairs, co_visited, train
from encoders.specs import SpecError

KINDS = ("weighted", "joint", "cascade", "sample", "adversarial", "graph")
SLOTS = ("cf", "image", "text")
ITEMS, GROUPS, HIDDEN = 120, 12, 8
QUICK = FusionTraining(steps=60, batch=128, learning_rate=5e-3)


def world(seed: int = 0) -> tuple[list[SlotColumn], Pairs]:
    """Items of hidden groups: people touch items of one group together, and each slot sees
    the group under much that says nothing."""
    g = torch.Generator().manual_seed(seed)
    group_N = torch.arange(ITEMS) % GROUPS
    centre_GH = torch.randn(GROUPS, HIDDEN, generator=g)
    columns = []
    for name, width, noise in (("cf", 16, 0.4), ("image", 40, 0.8), ("text", 24, 0.6)):
        map_HW = torch.randn(HIDDEN, width, generator=g)
        told_NW = centre_GH[group_N] @ map_HW / HIDDEN**0.5
        told_NW += noise * torch.randn(ITEMS, width, generator=g)
        told_NW += 3 * torch.randn(ITEMS, 1, generator=g) @ torch.ones(1, width)
        here_N = torch.rand(ITEMS, generator=g) < 0.9
        columns.append(SlotColumn(name, told_NW, here_N, f"{name}@1"))
    chance = np.random.default_rng(seed)
    user_E = np.repeat(np.arange(200), 6)
    item_E = chance.integers(0, ITEMS // GROUPS, 1200) * GROUPS + user_E % GROUPS
    return columns, co_visited(user_E, item_E, reach=3)


@pytest.fixture(scope="module")
def models():
    columns, pairs = world()
    return {
        kind: train(
            columns,
            pairs,
            items=ITEMS,
            net=NetSettings(kind=kind, width=32, hidden=32, heads=2, neighbours=5),
            training=QUICK,
        )
        for kind in KINDS
    }


def precision(fused) -> float:
    """Share of each item's five nearest that are of its group."""
    cosine_NN = fused.vector_ED @ fused.vector_ED.T
    cosine_NN.fill_diagonal_(-2)
    cosine_NN[:, ~fused.present_E] = -2
    near_NK = cosine_NN.topk(5).indices
    same_NK = near_NK % GROUPS == torch.arange(ITEMS)[:, None] % GROUPS
    return float(same_NK[fused.present_E].float().mean())


@pytest.mark.parametrize("kind", KINDS)
def test_any_subset_of_slots_gives_a_unit_vector(models, kind):
    columns, _ = world()
    whole = [SlotColumn(c.name, c.vector_EW, torch.ones(ITEMS).bool()) for c in columns]
    for size in range(1, 4):
        for names in combinations(SLOTS, size):
            fused = models[kind].fuse([c for c in whole if c.name in names], rows=ITEMS)
            assert bool(fused.present_E.all()), names
            torch.testing.assert_close(fused.vector_ED.norm(dim=1), torch.ones(ITEMS))
    nothing = models[kind].fuse([], rows=3)
    assert not nothing.present_E.any()
    assert not nothing.vector_ED.any()


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=15, deadline=None)
@given(st.permutations(range(12)), st.permutations(range(3)), st.data())
def test_neither_the_order_of_rows_nor_of_slots_changes_a_row(
    models, kind, order, slots, data
):
    columns, _ = world()
    present = [data.draw(st.lists(st.booleans(), min_size=12, max_size=12)) for _ in SLOTS]
    part = [
        SlotColumn(c.name, c.vector_EW[:12], torch.tensor(here))
        for c, here in zip(columns, present, strict=True)
    ]
    moved = [
        SlotColumn(
            part[s].name, part[s].vector_EW[list(order)], part[s].present_E[list(order)]
        )
        for s in slots
    ]
    one, other = models[kind].fuse(part, rows=12), models[kind].fuse(moved, rows=12)
    torch.testing.assert_close(
        one.vector_ED[list(order)], other.vector_ED, atol=1e-5, rtol=0
    )
    assert one.present_E[list(order)].tolist() == other.present_E.tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_is_the_same_alone(models, kind):
    columns, _ = world()
    fused = models[kind].fuse(columns, rows=ITEMS)
    for n in range(5):
        alone = [SlotColumn(c.name, c.vector_EW[[n]], c.present_E[[n]]) for c in columns]
        torch.testing.assert_close(
            models[kind].fuse(alone, rows=1).vector_ED[0], fused.vector_ED[n],
            atol=1e-5, rtol=0,
        )  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_dropping_a_slot_moves_an_item_less_than_another_item_is_away(models, kind):
    columns, _ = world()
    whole = models[kind].fuse(columns, rows=ITEMS)
    away = float((whole.vector_ED @ whole.vector_ED.roll(1, 0).T).diagonal().mean())
    for name in SLOTS:
        less = models[kind].fuse([c for c in columns if c.name != name], rows=ITEMS)
        both_E = whole.present_E & less.present_E
        near = (whole.vector_ED * less.vector_ED).sum(dim=1)[both_E]
        assert 1 - float(near.mean()) < 0.5 * (1 - away), name


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_learned_is_better_than_what_is_drawn(models, kind):
    columns, _ = world()
    untrained = fuse(columns, rows=ITEMS, config=EncoderConfig(width=32))
    assert precision(models[kind].fuse(columns, rows=ITEMS)) > precision(untrained) + 0.1


@pytest.mark.parametrize("kind", KINDS)
def test_training_lowers_its_loss_and_the_same_seed_is_the_same_model(kind):
    columns, pairs = world()
    told: list[float] = []

    def learned(seed: int):
        return train(
            columns, pairs, items=ITEMS,
            net=NetSettings(kind=kind, width=16, hidden=16, heads=2, neighbours=5),
            training=FusionTraining(steps=30, batch=64, learning_rate=1e-2, seed=seed),
            progress=lambda _, loss: told.append(loss),
        )  # fmt: skip

    one, same, other = learned(0), learned(0), learned(1)
    assert np.mean(told[25:30]) < np.mean(told[:5])
    assert one.version == same.version != other.version


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_is_one_file_and_comes_back_as_it_was(models, kind, tmp_path):
    columns, _ = world()
    model, file = models[kind], tmp_path / "fusion.safetensors"
    sha256 = model.save(file)
    back = load(file, sha256)
    assert (back.version, back.slots, back.net) == (model.version, model.slots, model.net)
    again = tmp_path / "again.safetensors"
    assert back.save(again) == sha256
    assert again.read_bytes() == file.read_bytes()
    torch.testing.assert_close(
        back.fuse(columns, rows=ITEMS).vector_ED, model.fuse(columns, rows=ITEMS).vector_ED
    )
    with pytest.raises(SpecError, match="sha256"):
        load(file, "0" * 64)


def test_vectors_of_another_encoder_or_width_are_masked_and_never_mixed(models):
    columns, _ = world()
    text = next(c for c in columns if c.name == "text")
    others = [c for c in columns if c.name != "text"]
    expected = models["weighted"].fuse(others, rows=ITEMS)
    foreign = SlotColumn("text", text.vector_EW, text.present_E, "text@2")
    wider = SlotColumn("text", torch.randn(ITEMS, 25), text.present_E, "text@1")
    for strange in (foreign, wider):
        fused = models["weighted"].fuse([*others, strange], rows=ITEMS)
        torch.testing.assert_close(fused.vector_ED, expected.vector_ED)
    both = models["weighted"].fuse([*columns, foreign], rows=ITEMS)
    torch.testing.assert_close(
        both.vector_ED, models["weighted"].fuse(columns, rows=ITEMS).vector_ED
    )


@pytest.mark.parametrize("kind", KINDS)
def test_what_stands_under_a_mask_is_never_read(models, kind):
    columns, _ = world()
    nan = [
        SlotColumn(
            c.name, torch.where(c.present_E[:, None], c.vector_EW, torch.nan), c.present_E
        )
        for c in columns
    ]
    torch.testing.assert_close(
        models[kind].fuse(nan, rows=ITEMS).vector_ED,
        models[kind].fuse(columns, rows=ITEMS).vector_ED,
    )


def test_learning_goes_on_from_a_model_and_refuses_another_kind(models):
    columns, pairs = world()
    more = train(
        columns, pairs, items=ITEMS, net=models["graph"].net,
        training=FusionTraining(steps=5, batch=64), start=models["graph"],
    )  # fmt: skip
    assert more.version != models["graph"].version
    with pytest.raises(ValueError, match="begin without it"):
        train(columns, pairs, items=ITEMS, net=models["joint"].net, start=models["graph"])


def test_nothing_is_learned_from_nothing():
    columns, pairs = world()
    with pytest.raises(ValueError, match="at least one"):
        train([], pairs, items=ITEMS, net=NetSettings())
    absent = [SlotColumn(c.name, c.vector_EW, torch.zeros(ITEMS).bool()) for c in columns]
    with pytest.raises(ValueError, match="encode the items first"):
        train(absent, pairs, items=ITEMS, net=NetSettings())


def test_co_visitation_is_near_in_one_person_s_time():
    user_E, item_E = np.array([1, 2, 1, 1, 2]), np.array([10, 20, 11, 12, 21])
    pairs = co_visited(user_E, item_E, reach=2)
    told = {
        (int(a), int(b)): float(w)
        for a, b, w in zip(pairs.left_P, pairs.right_P, pairs.weight_P, strict=True)
    }
    one_way = {(10, 11): 1.0, (11, 12): 1.0, (10, 12): 0.5, (20, 21): 1.0}
    assert told == one_way | {(b, a): w for (a, b), w in one_way.items()}


def test_configuration_names_a_file_a_folder_or_a_projection(models, tmp_path):
    file = tmp_path / "one.safetensors"
    models["joint"].save(file)
    for where in (file, tmp_path):
        config = EncoderConfig(fusion=f"path:{where}", width=32)
        assert load_fusion(config).version == models["joint"].version
        assert fusion_version(config) == models["joint"].version
    assert load_fusion(EncoderConfig()) == Projected(EncoderConfig())
    with pytest.raises(SpecError, match="WIDTH=32"):
        load_fusion(EncoderConfig(fusion=f"path:{file}", width=256))
    with pytest.raises(SpecError, match="name the one"):
        load_fusion(EncoderConfig(fusion=f"path:{tmp_path / 'no'}"))


def test_rows_that_say_whose_vectors_they_are_come_in_columns_of_each():
    rows = [{"text": torch.ones(3)}, {"text": torch.ones(3)}, {"text": torch.ones(3)}]
    columns = columns_of(rows, [{"text": "a"}, {"text": "b"}, {}])
    assert [(c.encoder, c.present_E.tolist()) for c in columns] == [
        ("", [False, False, True]),
        ("a", [True, False, False]),
        ("b", [False, True, False]),
    ]
