"""Fusion: what is absent takes no part; what is present decides alone."""

import msgspec
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from encoders.config import EncoderConfig
from encoders.fusion import (
    SlotColumn,
    columns_of,
    fuse,
    fusion_version,
    projection,
    sketch,
)

WIDTHS = {"text": 384, "image": 1280, "audio": 256, "clip": 512, "tiny": 3}
KINDS = ("weighted", "concatenation")


def vectors(seed: int, names=tuple(WIDTHS)) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(WIDTHS[name], generator=generator) for name in names}


def fused(rows, config):
    return fuse(columns_of(rows), rows=len(rows), config=config)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=30, deadline=None)
@given(st.lists(st.sets(st.sampled_from(sorted(WIDTHS))), min_size=1, max_size=6))
def test_a_row_is_the_same_whatever_its_neighbours(kind, present):
    config = EncoderConfig(fusion=kind)
    rows = [vectors(i, sorted(names)) for i, names in enumerate(present)]
    together = fused(rows, config)
    for e, row in enumerate(rows):
        alone = fused([row], config)
        torch.testing.assert_close(
            together.vector_ED[e], alone.vector_ED[0], atol=1e-5, rtol=0
        )
        assert together.present_E[e] == alone.present_E[0] == bool(row)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_have_length_one_and_the_configured_width(kind):
    result = fused([vectors(0), vectors(1, ["tiny"])], EncoderConfig(fusion=kind, width=64))
    assert result.vector_ED.shape == (2, 64)
    torch.testing.assert_close(result.vector_ED.norm(dim=-1), torch.ones(2))


def test_a_name_in_two_widths_is_two_columns():
    rows = [{"clip": torch.ones(3)}, {"clip": torch.ones(5)}]
    together = fused(rows, EncoderConfig())
    for e, row in enumerate(rows):
        torch.testing.assert_close(
            together.vector_ED[e], fused([row], EncoderConfig()).vector_ED[0]
        )


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_without_a_slot_is_reported_absent(kind):
    rows = [{}, vectors(1, ["text"]), {"text": torch.zeros(384)}]
    result = fused(rows, EncoderConfig(fusion=kind))
    assert result.present_E.tolist() == [False, True, False]


@pytest.mark.parametrize("kind", KINDS)
def test_what_stands_under_a_mask_is_never_read(kind):
    config = EncoderConfig(fusion=kind)
    row = vectors(3, ["text", "image"])
    nothing = SlotColumn("audio", torch.full((1, 256), torch.nan), torch.tensor([False]))
    masked = [*columns_of([row]), nothing]
    result = fuse(masked, rows=1, config=config)
    torch.testing.assert_close(result.vector_ED, fused([row], config).vector_ED)


def test_a_missing_slot_does_not_shrink_the_influence_of_the_others():
    alone = fused([vectors(4, ["text"])], EncoderConfig())
    expected = vectors(4, ["text"])["text"] @ projection("text", 384, width=256, seed=0)
    cosine = torch.cosine_similarity(alone.vector_ED[0], expected, dim=0)
    assert float(cosine) == pytest.approx(1.0, abs=1e-5)


def test_a_slot_of_great_length_counts_no_more_than_its_weight():
    row = vectors(5, ["text", "clip"])
    loud = row | {"clip": row["clip"] * 1000}
    for kind in KINDS:
        config = EncoderConfig(fusion=kind)
        torch.testing.assert_close(
            fused([row], config).vector_ED, fused([loud], config).vector_ED
        )


def test_weights_say_how_much_of_a_slot_is_in_the_result():
    row = vectors(6, ["text", "image"])
    text = fused([vectors(6, ["text"])], EncoderConfig()).vector_ED[0]
    near = [
        float(fused([row], EncoderConfig(weights={"text": w})).vector_ED[0] @ text)
        for w in (0.1, 1.0, 10.0)
    ]
    assert near == sorted(near)
    assert near[-1] > 0.99


@pytest.mark.parametrize(("width", "into"), [(3, 256), (256, 256), (1280, 256)])
def test_projections_keep_lengths(width, into):
    matrix = projection("x", width, width=into, seed=0)
    unit = torch.nn.functional.normalize(torch.randn(200, width), dim=-1)
    lengths = (unit @ matrix).norm(dim=-1)
    assert float((lengths.mean() - 1).abs()) < 0.03
    if width <= into:
        torch.testing.assert_close(lengths, torch.ones(200), atol=1e-5, rtol=0)


def test_projections_are_the_same_on_every_machine():
    matrix = projection("text", 384, width=256, seed=0)
    expected = torch.tensor(GOLDEN_PROJECTION)
    torch.testing.assert_close(matrix[0, :6], expected, atol=1e-5, rtol=0)


def test_modalities_do_not_share_directions():
    text = fused([vectors(i, ["text"]) for i in range(50)], EncoderConfig()).vector_ED
    image = fused([vectors(i, ["image"]) for i in range(50)], EncoderConfig()).vector_ED
    assert float((text @ image.T).abs().mean()) < 0.1


def test_sketches_tell_which_modality_is_alike():
    base = torch.randn(200, 384, generator=torch.Generator().manual_seed(0))
    near = base + 0.3 * torch.randn(200, 384, generator=torch.Generator().manual_seed(1))
    a, b = sketch("text", base), sketch("text", near)
    assert a.dtype == torch.float16
    assert a.shape == (200, 32)
    alike = (a.float() * b.float()).sum(-1)
    apart = (a.float() * b.float().roll(1, 0)).sum(-1)
    assert float((alike > apart).float().mean()) > 0.99


@pytest.mark.parametrize(
    "change",
    [
        {"fusion": "concatenation"},
        {"width": 128},
        {"seed": 1},
        {"weights": {"text": 2.0}},
        {"image": "none"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_whatever_moves_the_fused_space_renames_it(change):
    config = EncoderConfig()
    assert fusion_version(config) == fusion_version(EncoderConfig())
    assert fusion_version(msgspec.structs.replace(config, **change)) != fusion_version(
        config
    )


def test_what_does_not_move_the_fused_space_keeps_its_name():
    assert fusion_version(EncoderConfig(threads=2, device="cpu")) == fusion_version(
        EncoderConfig()
    )


GOLDEN_PROJECTION = [0.0135885, -0.0421400, 0.0799045, -0.0340177, -0.0228561, -0.0006377]
