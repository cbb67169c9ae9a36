"""A fusion rolled out by its card: both spaces are written, nothing is encoded again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from msgspec.structs import replace

from encoders.config import EncoderConfig
from encoders.fusion_load import load_fusion
from encoders.fusion_model import FusionModel, FusionNet
from encoders.fusion_nets import NetSettings, SlotSpec
from encoders.load import load_encoders
from schemas import Item, ModelCard, Query
from tests.support.workshop import NOW, TOPICS, Workshop, settled, vector
from workers.config import ModelsConfig
from workers.health import Health
from workers.memory_log import MemoryTable
from workers.model_cards import CONFIRMED, FUSION, Cards, in_force
from workers.model_files import keep
from workers.models import Models
from workers.rollout import Rollout, follow, load_fusion_file
from workers.underway import Worker

pytestmark = pytest.mark.models
MODELS = "rec.models.v1"
CONFIG = EncoderConfig(image="none", audio="none", video="none", sensor="none", width=32)
OLD = load_fusion(CONFIG).version
N = 30


@pytest.fixture(scope="module")
def encoders() -> Any:
    return load_encoders(CONFIG)


@pytest.fixture
def fusion(encoders: Any, tmp_path: Path) -> FusionModel:
    """A fusion as a file: what it computes is all its own."""
    torch.manual_seed(5)
    text = encoders["text"]
    slots = (SlotSpec("text", text.width, text.name),)
    net = NetSettings(kind="weighted", width=32, hidden=16)
    made = FusionModel.of(FusionNet(slots, net), slots=slots, net=net)
    made.save(tmp_path / "made.safetensors")
    return made


class Plant:
    """A workshop whose worker follows cards, and the cards."""

    def __init__(self, encoders: Any, folder: Path) -> None:
        self.shop = Workshop(encoders, config=CONFIG)
        self.shop.log.partitions[MODELS] = 1
        type(self.shop.log).__init__(
            self.shop.log, self.shop.log.partitions, now_ms=lambda: self.shop.ms
        )
        self.folder = folder

    def card(self, fusion: FusionModel) -> ModelCard:
        data = (self.folder / "made.safetensors").read_bytes()
        return keep(
            data, folder=self.folder, name=FUSION, version=fusion.version,
            dims={"width": 32}, at_ms=1,
        )  # fmt: skip

    def put(self, card: ModelCard) -> None:
        self.shop.log.append(in_force(card, topic=MODELS))

    def following(self, worker: Worker, both_s: float = 1e9) -> Rollout:
        """What the worker follows from here on. Each turn waits for the thread that loads
        what a card names."""
        rollout = Rollout(
            table=MemoryTable(self.shop.log, topics=[MODELS]),
            models=Models(
                ModelsConfig(),
                width=32,
                health=Health(),
                name=FUSION,
                load=load_fusion_file,
            ),
            configured=load_fusion(CONFIG),
            both_s=both_s,
            topic=MODELS,
        )
        rollout.catch_up()

        def turned(worker: Worker, now: float) -> None:
            follow(worker, rollout, now=now)
            assert rollout.models.settle(), "a fusion's file was not tried"

        worker.rollout = turned
        return rollout

    def current(self) -> ModelCard:
        cards = Cards()
        cards.apply(self.shop.log.records(MODELS))
        return cards.current[FUSION]

    def spaces(self) -> set[tuple[str, str]]:
        """The spaces that records are of: that in force, and the next."""
        return {(v.encoder, v.encoder_next) for v in self.shop.items().values()}


@pytest.fixture
def plant(encoders: Any, tmp_path: Path) -> Plant:
    made = Plant(encoders, tmp_path)
    for n in range(N):
        made.shop.send(TOPICS.items, f"i{n}", Item(item_id=f"i{n}", title=f"film {n}"))
    return made


def test_items_get_both_vectors_then_the_new_alone_and_nothing_is_encoded_again(
    plant: Plant, fusion: FusionModel
):
    shop = plant.shop
    with shop.worker() as worker:
        rollout = plant.following(worker)
        shop.turn(worker, until=lambda: settled(worker))
        assert plant.spaces() == {(OLD, "")}
        before, seen = shop.items(), shop.seen("text")

        plant.put(plant.card(fusion))
        shop.turn(worker, until=lambda: worker.shelf.both and settled(worker))
        assert plant.spaces() == {(OLD, fusion.version)}
        after = shop.items()
        assert after.keys() == before.keys()
        for name, vectors in after.items():  # of another batch: equal to the last bits
            now, then = (np.frombuffer(v.fused, "<f4") for v in (vectors, before[name]))
            np.testing.assert_allclose(now, then, atol=1e-5)
        assert all(v.fused_next and v.fused_next != v.fused for v in shop.items().values())
        assert shop.seen("text") == seen

        shop.send(TOPICS.items, "new", Item(item_id="new", title="another"))
        shop.send(
            TOPICS.events, "ann", Query(event_id="q", user_id="ann", at_ms=NOW, text="rain")
        )
        shop.turn(worker, until=lambda: settled(worker))
        both = shop.items()
        assert plant.spaces() == {(OLD, fusion.version)}
        assert shop.signals()["q#q"].encoder == fusion.version

        plant.put(replace(plant.card(fusion), state=CONFIRMED))
        shop.turn(worker, until=lambda: worker.shelf.next is None and settled(worker))
        assert plant.spaces() == {(fusion.version, "")}
        for name, alone in shop.items().items():  # in other batches, so as numbers
            torch.testing.assert_close(vector(alone.fused), vector(both[name].fused_next))
        assert shop.seen("text") == seen + 2
        rollout.models.close()


def test_items_are_fused_again_while_content_never_ends(plant: Plant, fusion: FusionModel):
    shop = plant.shop
    with shop.worker(batch=2) as worker:
        rollout = plant.following(worker)
        shop.turn(worker, until=lambda: settled(worker))
        plant.put(plant.card(fusion))
        sent, turns = 0, 0

        def both_or_many_turns() -> bool:
            nonlocal sent, turns
            turns += 1
            if worker.preparing is None or not worker.gathered.jobs:
                for n in range(sent, sent + 4):
                    item = Item(item_id=f"more{n}", title=f"one more, number {n}")
                    shop.send(TOPICS.items, item.item_id, item)
                sent += 4
            return bool(worker.shelf.both) or turns > 300

        shop.turn(worker, until=both_or_many_turns)
        assert worker.shelf.both, (
            f"{sent} more items came, and the first {N} stay as they were"
        )
        assert sent > 8
        rollout.models.close()


def test_going_back_before_it_is_confirmed_swaps_the_two_spaces(
    plant: Plant, fusion: FusionModel
):
    shop = plant.shop
    with shop.worker() as worker:
        rollout = plant.following(worker)
        plant.put(plant.card(fusion))
        shop.turn(worker, until=lambda: worker.shelf.both and settled(worker))
        back = ModelCard(name=FUSION, version=OLD, uri="config:weighted", sha256="")
        plant.put(back)
        shop.turn(
            worker,
            until=lambda: (
                worker.fusion.version != OLD and worker.shelf.both and settled(worker)
            ),
        )
        assert plant.spaces() == {(fusion.version, OLD)}
        plant.put(replace(back, state=CONFIRMED))
        shop.turn(worker, until=lambda: worker.shelf.next is None and settled(worker))
        assert plant.spaces() == {(OLD, "")}
        rollout.models.close()


def test_the_new_space_is_confirmed_after_both_were_written_for_long_enough(
    plant: Plant, fusion: FusionModel
):
    shop = plant.shop
    with shop.worker() as worker:
        rollout = plant.following(worker, both_s=0.05)
        plant.put(plant.card(fusion))
        shop.turn(
            worker,
            until=lambda: (
                plant.current().state == CONFIRMED
                and worker.shelf.next is None
                and settled(worker)
            ),
        )
        assert plant.spaces() == {(fusion.version, "")}
        rollout.models.close()


def test_a_fusion_that_fits_few_items_is_not_confirmed_by_itself(
    plant: Plant, encoders: Any, tmp_path: Path
):
    """It reads pictures, and the items are texts."""
    torch.manual_seed(6)
    slots = (SlotSpec("image", 16, "another-encoder"),)
    net = NetSettings(kind="weighted", width=32, hidden=16)
    other = FusionModel.of(FusionNet(slots, net), slots=slots, net=net)
    other.save(tmp_path / "made.safetensors")
    shop, seconds = plant.shop, iter(range(1, 1_000))
    with shop.worker() as worker:
        rollout = plant.following(worker, both_s=0.05)
        plant.put(plant.card(other))
        shop.turn(
            worker,
            until=lambda: worker.shelf.both and settled(worker) and next(seconds) > 50,
        )
        assert plant.current().state != CONFIRMED
        assert plant.spaces() == {(OLD, other.version)}
        assert all(v.fused and v.fused_next is None for v in shop.items().values())
        plant.put(replace(plant.card(other), state=CONFIRMED))  # a person, who means it
        shop.turn(worker, until=lambda: worker.shelf.next is None and settled(worker))
        assert {v.encoder for v in shop.items().values()} == {other.version}
        rollout.models.close()


def test_a_worker_that_starts_later_begins_in_the_space_that_was_confirmed(
    plant: Plant, fusion: FusionModel
):
    plant.put(replace(plant.card(fusion), state=CONFIRMED))
    shop = plant.shop
    with shop.worker() as worker:
        rollout = plant.following(worker)
        shop.turn(worker, until=lambda: settled(worker))
        assert plant.spaces() == {(fusion.version, "")}
        rollout.models.close()


def test_a_fusion_that_is_not_what_its_card_says_changes_nothing(
    plant: Plant, fusion: FusionModel
):
    shop = plant.shop
    plant.put(replace(plant.card(fusion), version="another"))
    with shop.worker() as worker:
        rollout = plant.following(worker)
        shop.turn(worker, until=lambda: settled(worker))
        assert plant.spaces() == {(OLD, "")}
        rollout.models.close()
