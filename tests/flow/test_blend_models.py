"""Models in blended lists: handed over, refused, alone, and in one space."""

import numpy as np
import pytest
import torch

from encoders.law import hash64
from ranking.blend import blend_tensors, untrained
from tests.support.house import SPACE, WIDTH, House, ids
from tests.support.town import NAMES, chains, click, handed, model
from workers.config import ListConfig
from workers.model_files import Model


def test_a_model_handed_over_between_two_batches_is_named_and_in_force(town):
    town.tell(*chains())
    (before,) = town.tell(click("ann", "i03", n=50))
    handed(town, model("m1", likes="i22"))
    after = town.ask("ann", "v1")
    assert before.versions["model"] == "replay"
    assert after.versions["model"] == "m1"
    assert ids(after)[0] == "i22"
    handed(town, model("m2", likes="i08"))
    last = town.ask("ann", "v2")
    assert (last.versions["model"], ids(last)[0]) == ("m2", "i08")


def test_a_model_alone_is_enough_to_blend(town):
    handed(town, model("m1", likes="i22"))
    (slate,) = town.tell(click("ann", "i03"))
    assert slate.versions == {"encoder": SPACE, "model": "m1", "ranker": "blend-1"}
    assert ids(slate)[0] == "i22"


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param({"items": torch.zeros(3, dtype=torch.int32)}, id="items"),
        pytest.param({"ease.to": torch.full((30, 1), 99)}, id="a row that is not there"),
        pytest.param({"blend.linear.weight": torch.zeros(1, 3)}, id="other features"),
        pytest.param({"tower.settings": torch.zeros(2, dtype=torch.uint8)}, id="a tower"),
    ],
)
def test_a_model_that_does_not_fit_leaves_the_one_before_and_is_not_named(town, broken):
    town.tell(*chains())
    handed(town, model("good", likes="i22"), model("bad", likes="i08", **broken))
    town.ask("bob", "v0")
    slate = town.ask("ann", "v1")
    assert slate.versions["model"] == "good"
    (slate,) = town.tell(click("ann", "i03", n=50))
    assert ids(slate)[0] == "i22"


def test_a_models_items_that_are_not_here_are_never_listed(town):
    hash_M = np.array([hash64(n) for n in ["never", *NAMES[1:]]], np.uint64)
    odd = model("m1", items=torch.from_numpy(hash_M.view(np.int64)))
    to_MK = torch.zeros(len(NAMES), 1, dtype=torch.int32)  # all speak for what never comes
    handed(town, Model(odd.card, {**odd.tensors, "ease.to": to_MK}, {}))
    (slate,) = town.tell(click("ann", "i03"))
    assert "never" not in ids(slate)
    assert len(slate.items) == 10
    town.house.item("never")
    (slate,) = town.tell(click("bob", "i05"))
    assert ids(slate)[0] == "never"


def tower_model(version: str, *, encoder: str) -> Model:
    from encoders.tower import Tower, TowerSettings
    from encoders.tower_model import TowerModel
    from ranking.model import tower_tensors

    torch.manual_seed(3)
    net = Tower(
        TowerSettings(width=8, heads=2, blocks=1, length=5, content_width=WIDTH), items=30
    )
    hash_M = np.array([hash64(name) for name in NAMES], np.uint64)
    made = tower_tensors([TowerModel.of(net, hash_M)])
    weigher = untrained()
    weigher.linear.weight.zero_()
    weigher.linear.weight[0, 4] = weigher.prior_F[4] = 10.0  # sequence
    return model(version, likes="", encoder=encoder, **made, **blend_tensors(weigher))


@pytest.mark.parametrize("encoder", [SPACE, "another-space"], ids=["same space", "another"])
def test_a_tower_speaks_only_in_the_space_that_it_was_trained_in(town, encoder):
    town.tell(*chains())
    handed(town, tower_model("t1", encoder=encoder))
    (slate,) = town.tell(click("ann", "i03", n=50))
    assert slate.versions["model"] == "t1"
    assert len(slate.items) == 10
    blending = town.worker.lists.blending
    assert bool(blending.sources.model.towers) == (encoder == SPACE)
    if encoder == SPACE:
        assert blending.sources.model.vector_NV[: len(NAMES)].any(dim=1).all()
        town.house.item("brand-new", categories=["odd"])
        town.ask("ann", "v1")
        assert len(blending.sources.model.vector_NV) == blending.items.catalogue.size
        blending.items.encoder = "another-space"  # a space is rolled out
        blending.refresh()
        assert not blending.sources.model.towers


def test_a_ranker_of_content_alone_can_still_be_chosen():
    house = House(lists=ListConfig(ranker="content"))
    for name in NAMES:
        house.item(name)
    worker = house.hire()
    house.tell(click("ann", "i03"))
    house.turn(worker, 4)
    assert {s.versions["ranker"] for s in house.slates()} == {"cosine-1"}
