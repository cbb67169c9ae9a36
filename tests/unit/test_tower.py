"""The user tower as a net, as a value and as a file."""

from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from encoders.specs import SpecError
from encoders.tower import Entries, Tower, TowerSettings, gap_of, scores, value_of
from encoders.tower_data import Histories, Touches, batch, prefixes, windows
from encoders.tower_model import TowerModel, card, load

ITEMS, CONTENT = 12, 5
SMALL = TowerSettings(
    width=8, blocks=2, heads=2, length=6, content_width=CONTENT, asked=True
)


def hashes(items: int = ITEMS) -> np.ndarray:
    return (np.arange(items, dtype=np.uint64) + 1) * np.uint64(1 << 60)


def contents(items: int = ITEMS) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(items, CONTENT)).astype(np.float32)


def net(said: TowerSettings = SMALL) -> Tower:
    torch.manual_seed(0)
    made = Tower(said, items=ITEMS)
    made.seen_N += torch.arange(ITEMS)
    for name, weight in made.named_parameters():
        if name in {"bias_N", "by_distance", "by_time.weight"}:
            torch.nn.init.normal_(weight)
    return made.eval()


def touches(events: int = 200, users: int = 9, seed: int = 0) -> Touches:
    chance = np.random.default_rng(seed)
    return Touches(
        user_E=chance.integers(0, users, events),
        item_E=chance.integers(0, ITEMS, events),
        at_ms_E=np.sort(chance.integers(0, events, events)) * 500,
        kind_E=np.full(events, 6),
        value_E=chance.integers(0, 6, events).astype(np.float32),
        mass_E=np.ones(events, np.float32),
    )


def asked(said: Tower, item_UL: torch.Tensor, at_ms_UL: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        vector_NW, _ = said.items(torch.arange(ITEMS), torch.from_numpy(contents()))
        there_UL = item_UL >= 0
        memory_UW = (vector_NW[item_UL.clamp_min(0)] * there_UL[..., None]).sum(dim=1)
        entries = Entries(item_UL, at_ms_UL, there_UL.long(), there_UL.float())
        return said.users(vector_NW, entries, memory_UW)


@settings(max_examples=30, deadline=None)
@given(
    rows=st.lists(st.lists(st.integers(0, ITEMS - 1), max_size=6), min_size=1, max_size=5),
    interests=st.sampled_from([1, 3]),
    blocks=st.sampled_from([1, 2]),
)
def test_a_user_in_a_batch_is_as_alone(
    rows: list[list[int]], interests: int, blocks: int
) -> None:
    said = net(
        TowerSettings(
            width=8, blocks=blocks, length=6, content_width=CONTENT, interests=interests
        )
    )
    length = max(1, *map(len, rows))
    item_UL, at_ms_UL = (
        torch.full((len(rows), length), -1),
        torch.zeros(len(rows), length).long(),
    )
    for n, row in enumerate(rows):
        if row:
            item_UL[n, -len(row) :] = torch.tensor(row)
            at_ms_UL[n, -len(row) :] = torch.arange(len(row)) * 9_000
    together = asked(said, item_UL, at_ms_UL)
    assert together.shape == (len(rows), interests, 8)
    for n, row in enumerate(rows):
        at = slice(length - max(1, len(row)), None)
        alone = asked(said, item_UL[n : n + 1, at], at_ms_UL[n : n + 1, at])
        torch.testing.assert_close(alone[0], together[n], rtol=1e-4, atol=1e-5)


def test_what_comes_later_does_not_change_what_was_said_before() -> None:
    said, at_ms = net(), torch.arange(6)[None] * 1_000
    vector_NW, _ = said.items(torch.arange(ITEMS), torch.from_numpy(contents()))
    one, other = torch.tensor([[1, 2, 3, 4, 5, 6]]), torch.tensor([[1, 2, 3, 9, 8, 7]])
    none = torch.zeros(1, 6)
    with torch.inference_mode():
        first = said.run(vector_NW, Entries(one, at_ms, none.long(), none))
        second = said.run(vector_NW, Entries(other, at_ms, none.long(), none))
    torch.testing.assert_close(first[:, :4], second[:, :4])
    assert not torch.allclose(first[:, 4], second[:, 4])


@pytest.mark.parametrize("blocks", [1, 2])
@pytest.mark.parametrize("gaps", [True, False])
def test_the_last_place_alone_knows_what_it_knows_among_all(
    blocks: int, gaps: bool
) -> None:
    said = net(msgspec.structs.replace(SMALL, blocks=blocks, gaps=gaps))
    vector_NW, _ = said.items(torch.arange(ITEMS), torch.from_numpy(contents()))
    item_UL = torch.tensor([[1, 2, 3, 4], [-1, -1, 5, 6], [-1, -1, -1, -1]])
    at_ms_UL = torch.tensor([[0, 500, 9_000, 90_000], [0, 0, 7, 8_000], [0, 0, 0, 0]])
    entries = Entries(item_UL, at_ms_UL, item_UL.clamp_min(0), item_UL.float())
    last_U = torch.tensor([4, 4, 0])
    with torch.inference_mode():
        among_USW = said.run(vector_NW, entries)
        alone_U1W = said.run(vector_NW, entries, last_U=last_U)
    torch.testing.assert_close(alone_U1W[:, 0], among_USW[torch.arange(3), last_U])


def test_the_same_items_at_other_times_are_another_user() -> None:
    item_UL = torch.tensor([[1, 2, 3]])
    page = asked(net(), item_UL, torch.tensor([[0, 0, 0]]))
    days = asked(net(), item_UL, torch.tensor([[0, 86_400_000, 172_800_000]]))
    assert not torch.allclose(page, days, atol=1e-3)


def test_an_item_that_nobody_touched_is_known_by_its_content() -> None:
    model = TowerModel.of(net(), hashes())
    stranger = np.array([77], np.uint64)
    vector_XW, bias_X = model.items(stranger, contents(1))
    with torch.inference_mode():
        by_content, bias = model.net.items(
            torch.tensor([-1]), torch.from_numpy(contents(1))
        )
    assert torch.equal(vector_XW, by_content)
    assert torch.equal(bias_X, bias)
    assert vector_XW.abs().sum() > 0
    nothing, _ = model.items(stranger, np.zeros((1, CONTENT), np.float32))
    other, _ = model.items(np.array([78], np.uint64), np.zeros((1, CONTENT), np.float32))
    assert torch.equal(nothing, other)


def test_the_more_often_an_item_was_seen_the_more_its_id_counts() -> None:
    said = net()
    content_NC = torch.from_numpy(contents())
    full, _ = said.items(torch.arange(ITEMS), content_NC)
    bare, _ = said.items(torch.full((ITEMS,), -1), content_NC)
    share_N = (full - bare).norm(dim=1) / said.id_NW.norm(dim=1)
    assert share_N[0] == 0
    assert (share_N.diff() > 0).all()


def test_the_best_interest_counts() -> None:
    user_UKW = torch.tensor([[[1.0, 0.0], [0.0, 2.0]]])
    found = scores(user_UKW, torch.eye(2), torch.tensor([0.0, 10.0]))
    assert found.tolist() == [[1.0, 12.0]]


def test_buckets_of_time_double() -> None:
    told = torch.tensor([-5, 0, 999, 1_000, 60_000, 86_400_000, 1 << 50])
    assert gap_of(told).tolist() == [1, 1, 2, 2, 7, 18, 27]


def test_stars_keep_apart_and_none_is_zero() -> None:
    told = value_of(torch.tensor([0.0, -1.0, 1.0, 2.0, 3.0, 4.0, 5.0, 1e9])).tolist()
    assert told[:2] == [0, 0]
    assert len(set(told[2:])) == 6


@pytest.mark.parametrize("interests", [1, 2])
def test_a_file_gives_the_model_back(tmp_path: Path, interests: int) -> None:
    said = TowerSettings(width=8, content_width=CONTENT, interests=interests)
    model = TowerModel.of(net(said), hashes())
    sha256 = model.save(tmp_path / "tower")
    again = load(tmp_path / "tower", sha256)
    assert again.version == model.version
    assert again.save(tmp_path / "again") == sha256
    assert again.settings == said
    assert np.array_equal(again.hash_N, model.hash_N)
    for one, other in zip(
        again.items(hashes(), contents()), model.items(hashes(), contents()), strict=True
    ):
        assert torch.equal(one, other)
    told = card(again, name="tower", uri="file:///m", sha256=sha256, at_ms=5)
    assert (told.version, told.sha256, told.dims["items"]) == (model.version, sha256, ITEMS)


def test_a_file_that_is_another_or_none_is_refused(tmp_path: Path) -> None:
    model = TowerModel.of(net(), hashes())
    model.save(tmp_path / "tower")
    with pytest.raises(SpecError, match="expected 000000000000"):
        load(tmp_path / "tower", "0" * 64)
    with pytest.raises(SpecError, match="give the file that training wrote"):
        load(tmp_path / "nothing")
    (tmp_path / "other").write_bytes(b"no weights")
    with pytest.raises(SpecError):
        load(tmp_path / "other")
    save_file({"x": torch.zeros(1)}, tmp_path / "foreign", {"format": "pt"})
    with pytest.raises(SpecError, match="train it anew"):
        load(tmp_path / "foreign")


def test_content_of_another_width_is_refused() -> None:
    with pytest.raises(ValueError, match="content_width"):
        TowerModel.of(net(), hashes()).items(hashes(), np.zeros((ITEMS, 3), np.float32))


def test_rows_are_found_by_hash_in_any_order() -> None:
    model = TowerModel.of(net(), hashes())
    wanted = np.concatenate([hashes()[::-1], np.array([3], np.uint64)])
    assert model.rows(wanted).tolist() == [*range(ITEMS - 1, -1, -1), -1]


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 999), length=st.integers(1, 40), since=st.integers(0, 250))
def test_each_new_event_is_foretold_once_after_its_own_past(
    seed: int, length: int, since: int
) -> None:
    told = Histories.of(touches(seed=seed), np.random.default_rng(seed))
    chosen = windows(told, length=length, chance=np.random.default_rng(seed), since=since)
    if not len(chosen):
        assert since >= 200
        return
    made = batch(told, chosen)
    fresh = np.flatnonzero(told.event_G >= since)
    cut = {int(e) for e in chosen.begin_B if told.start_G[e] != e}  # nothing stands before
    found = made.event_T.tolist()
    assert len(found) == len(set(found))
    assert set(fresh.tolist()) - cut <= set(found)
    for row, place, event in zip(
        made.row_T.tolist(), made.place_T.tolist(), found, strict=True
    ):
        if place:
            assert made.entries.item_UL[row, place - 1] == told.touches.item_E[event - 1]
            assert told.touches.user_E[event] == told.touches.user_E[event - 1]
        else:
            assert told.start_G[event] == event


def test_an_order_drawn_anew_keeps_seconds_in_order() -> None:
    made = touches(seed=3)
    drawn = Histories.of(made, np.random.default_rng(0))
    plain = Histories.of(made)
    assert np.array_equal(drawn.touches.at_ms_E // 1000, plain.touches.at_ms_E // 1000)
    assert not np.array_equal(drawn.event_G, plain.event_G)
    assert np.array_equal(drawn.event_G[drawn.place_E], np.arange(len(made)))


def test_a_prefix_is_what_stands_before_its_event() -> None:
    told = Histories.of(touches())
    made = prefixes(told, told.place_E[:50], length=4)
    for n, place in enumerate(told.place_E[:50].tolist()):
        past = told.touches.item_E[max(told.start_G[place], place - 4) : place]
        kept = made.entries.item_UL[n][made.entries.item_UL[n] >= 0]
        assert kept.tolist() == past.tolist()
