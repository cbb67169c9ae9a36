"""Label heads and zero-shot labels: what they promise of confidence, sources and files."""

import math
from dataclasses import dataclass, replace

import pytest
import torch
from torch.nn.functional import normalize

from encoders.config import EncoderConfig
from encoders.content import TextContent
from encoders.label_fit import (
    FitSettings,
    Rows,
    common_labels,
    fit_head,
    fit_labels,
    fit_temperature,
)
from encoders.labels import (
    LabelHead,
    Labeller,
    ZeroShot,
    load_head,
    open_labeller,
    zero_shots,
)
from encoders.specs import SpecError

WIDTH = 16


@dataclass(frozen=True)
class Encoder:
    """As many directions as there are words that begin otherwise."""

    name: str
    modality: str = "text"
    width: int = WIDTH

    def cost(self, content) -> int:
        return 1

    def encode(self, batch):
        rows = [torch.nn.functional.one_hot(torch.tensor(ord(c.text[0]) % WIDTH), WIDTH)
                for c in batch]  # fmt: skip
        return torch.stack(rows).float()


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def items(count: int = 300, seed: int = 0, noise: float = 0.6) -> Rows:
    """Items of three labels, each with a direction of its own; `rare` on one in twenty."""
    generator = seeded(seed)
    directions = torch.randn(3, WIDTH, generator=seeded(99))
    odds = torch.tensor([0.4, 0.3, 0.05])
    has_N3 = torch.rand(count, 3, generator=generator) < odds
    vector_NW = has_N3.float() @ directions
    vector_NW = vector_NW + noise * torch.randn(count, WIDTH, generator=generator)
    names = ("often", "sometimes", "rare")
    labels = [
        [n for n, has in zip(names, row, strict=True) if has] for row in has_N3.tolist()
    ]
    return Rows(vector_NW, labels, torch.arange(count))


def fitted(rows: Rows, seed: int = 0, **settings):
    return fit_head(
        rows,
        slot="text",
        encoder="t",
        generator=seeded(seed),
        settings=FitSettings(**settings),
    )


def test_a_head_knows_more_than_how_common_labels_are():
    fit = fitted(items())
    assert fit.head.labels == ("often", "rare", "sometimes")
    assert fit.loss <= fit.loss_uncalibrated
    assert fit.loss < 0.7 * fit.loss_of_prior
    asked = items(400, seed=1)
    said_NL = fit.head.confidence(asked.vector_NW)
    for at, name in enumerate(fit.head.labels):
        has_N = torch.tensor([name in labels for labels in asked.labels])
        assert said_NL[has_N, at].mean() > said_NL[~has_N, at].mean() + 0.2


def test_weighting_rare_labels_does_not_make_them_surer_than_they_are():
    rows, asked = items(1500), items(2000, seed=1)
    said_NL = fitted(rows).head.confidence(asked.vector_NW)
    share = sum("rare" in labels for labels in asked.labels) / 2000
    assert float(said_NL[:, 1].mean()) == pytest.approx(share, abs=0.03)


def test_the_same_seed_gives_the_same_file(tmp_path):
    for name in ("a", "b", "c"):
        fit_labels(
            {"text": items()},
            encoders={"text": "t"},
            out=tmp_path / name,
            generator=seeded(3),
        )
    written = {(tmp_path / n / "text.safetensors").read_bytes() for n in ("a", "b", "c")}
    assert len(written) == 1


def test_a_head_is_read_as_it_was_written(tmp_path):
    head = fitted(items()).head
    head.save(tmp_path / "x.safetensors")
    back = load_head(tmp_path / "x.safetensors")
    assert (back.labels, back.slot, back.encoder, back.temperature) == (
        head.labels, head.slot, head.encoder, head.temperature,
    )  # fmt: skip
    assert torch.equal(back.weight_WL, head.weight_WL)
    assert torch.equal(back.bias_L, head.bias_L)


def test_copies_of_an_item_are_held_out_together_and_count_once():
    rows = items(40)
    twice = Rows(
        torch.cat([rows.vector_NW] * 2), list(rows.labels) * 2, rows.item_N.repeat(2)
    )
    assert common_labels(twice, least=3) == common_labels(rows, least=3)
    assert fitted(twice, least=3).items == 40


def test_a_label_that_few_items_have_is_not_learned():
    assert fitted(items(200), least=30).head.labels == ("often", "sometimes")
    with pytest.raises(ValueError, match="give more items"):
        fitted(items(20), least=21)


@pytest.mark.parametrize("times", [0.6, 1.0, 4.0])
def test_the_temperature_undoes_what_logits_are_too_large_by(times):
    logit_NL = 2 * torch.randn(20_000, 1, generator=seeded())
    truth_NL = (torch.rand(20_000, 1, generator=seeded(1)) < logit_NL.sigmoid()).float()
    assert fit_temperature(logit_NL * times, truth_NL) == pytest.approx(times, rel=0.08)


# --- who says what -------------------------------------------------------------------------


def head(slot: str, logits: dict[str, float], encoder: str = "e") -> LabelHead:
    """A head that says the same of everything."""
    bias_L = torch.tensor(list(logits.values()))
    return LabelHead(tuple(logits), slot, encoder, torch.zeros(4, len(logits)), bias_L, 1.0)


ROW = {"text": ("e", torch.ones(4)), "image": ("e", torch.ones(4))}


def logit(share: float) -> float:
    return math.log(share / (1 - share))


def test_slots_are_averaged_and_the_surest_told_first():
    labeller = Labeller(
        heads=(head("text", {"a": logit(0.9), "b": logit(0.6)}), head("image", {"a": logit(0.7)})),
        threshold=0.5, most=5, version="1",
    )  # fmt: skip
    assert labeller.label([ROW]) == [{"a": pytest.approx(0.8), "b": pytest.approx(0.6)}]
    assert list(labeller.label([ROW])[0]) == ["a", "b"]
    assert labeller.label([{"text": ROW["text"]}])[0]["a"] == pytest.approx(0.9)


def test_no_more_labels_are_told_than_asked_for_and_none_that_is_unsure():
    said = {f"l{n}": logit(0.5 + n / 20) for n in range(1, 9)} | {"unsure": logit(0.3)}
    labeller = Labeller(heads=(head("text", said),), threshold=0.5, most=3, version="1")
    assert list(labeller.label([ROW])[0]) == ["l8", "l7", "l6"]


def test_a_slot_of_another_encoder_is_not_read():
    labeller = Labeller(heads=(head("text", {"a": 5.0}),), version="1")
    assert labeller.label([{"text": ("other", torch.ones(4))}, {}]) == [{}, {}]


def test_of_a_label_that_both_know_the_head_counts():
    prompts = torch.eye(4)[:2]
    zero = ZeroShot(("a", "c"), "text", "e", prompts, 0.01)
    labeller = Labeller(
        heads=(head("text", {"a": logit(0.1)}),),
        zero_shots=(zero,),
        threshold=0.05,
        version="1",
    )
    (said,) = labeller.label([{"text": ("e", torch.tensor([1.0, 0.2, 0.0, 0.0]))}])
    assert said == {"a": pytest.approx(0.1)}


def test_without_a_source_nothing_is_told():
    assert open_labeller(EncoderConfig(), {}).label([ROW, {}]) == [{}, {}]
    assert open_labeller(EncoderConfig(), {}).version == ""


# --- zero-shot -----------------------------------------------------------------------------


def test_a_label_fits_where_the_sentence_about_it_is_near():
    (zero,) = zero_shots(
        ["apple", "banana"], {"text": Encoder("t")}, template="{}", temperature=0.1
    )
    said = zero.confidence(
        Encoder("t").encode([TextContent("avocado"), TextContent("berry")])
    )
    assert said.argmax(dim=1).tolist() == [0, 1]
    assert torch.allclose(said.sum(dim=1), torch.ones(2))


def test_slots_in_the_space_of_the_text_encoder_are_labelled_and_no_others():
    encoders = {
        "text": Encoder("clip/x@1/text"),
        "image": replace(Encoder("clip/x@1/image"), modality="image"),
        "audio": replace(Encoder("audio/y@2"), modality="audio"),
    }
    found = zero_shots(["a", "b"], encoders, template="{}", temperature=0.1)
    assert [zero.slot for zero in found] == ["image", "text"]


@pytest.mark.parametrize(
    ("config", "encoders", "told"),
    [
        ({"labels": "hub:x"}, {"text": Encoder("t")}, "expected path:DIR"),
        ({"labels": "path:/nowhere/at/all"}, {"text": Encoder("t")}, "rec encoders fit labels"),
        ({"zero_shot": ["a"]}, {}, "text encoder"),
        ({"zero_shot": ["a"], "zero_shot_template": "x"}, {"text": Encoder("t")}, "where the label"),
    ],
)  # fmt: skip
def test_what_cannot_be_had_stops_the_start_with_the_remedy(config, encoders, told):
    with pytest.raises(SpecError, match=told):
        open_labeller(EncoderConfig(**config), encoders)


def test_the_version_moves_with_heads_and_settings(tmp_path):
    encoders = {"text": Encoder("t")}
    versions = set()
    for seed, settings in (
        (0, {}),
        (1, {}),
        (0, {"label_threshold": 0.6}),
        (0, {"max_labels": 2}),
    ):
        folder = tmp_path / str(seed)
        fit_labels(
            {"text": items(seed=seed)},
            encoders={"text": "t"},
            out=folder,
            generator=seeded(),
        )
        config = EncoderConfig(labels=f"path:{folder}", **settings)
        versions.add(open_labeller(config, encoders).version)
    assert len(versions) == 4


def test_heads_read_directions_and_not_lengths():
    fit = fitted(items())
    vector_NW = items(10, seed=5).vector_NW
    assert torch.allclose(
        fit.head.confidence(vector_NW),
        fit.head.confidence(3 * normalize(vector_NW, dim=-1)),
    )
