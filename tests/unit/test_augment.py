"""Augmentation: the same seed gives the same bytes, and nothing but the content changes."""

from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from encoders import augment as a
from encoders.content import AudioContent, ImageContent, SensorContent, TextContent

IMAGE = (a.crop, a.flip, a.rotate, a.scale, a.colour, a.noise)
SOUND = (a.hiss, a.gain, a.shift)
SENSOR = (a.jitter, a.rescale, a.warp_time)
SEEDS = st.integers(0, 2**31)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def picture(seed: int, height: int, width: int) -> ImageContent:
    return ImageContent(
        torch.randint(256, (3, height, width), dtype=torch.uint8, generator=seeded(seed))
    )


def readings(seed: int, channels: int, length: int) -> SensorContent:
    values_CT = torch.randn(channels, length, generator=seeded(seed))
    return SensorContent(values_CT, 10.0, tuple(map(str, range(channels))))


@pytest.mark.parametrize("step", IMAGE, ids=lambda f: f.__name__)
@given(seed=SEEDS, height=st.integers(1, 40), width=st.integers(1, 40))
@settings(max_examples=25, deadline=None)
def test_a_picture_stays_a_picture_of_its_size(step, seed, height, width):
    before = picture(seed, height, width)
    kept = before.pixels_3HW.clone()
    after = step(before, generator=seeded(seed)).pixels_3HW
    assert (after.shape, after.dtype) == (kept.shape, torch.uint8)
    assert torch.equal(after, step(before, generator=seeded(seed)).pixels_3HW)
    assert torch.equal(before.pixels_3HW, kept), "what was given is left alone"


@pytest.mark.parametrize("step", SOUND, ids=lambda f: f.__name__)
@given(seed=SEEDS, length=st.integers(1, 3000), loud=st.floats(0, 1))
@settings(max_examples=25, deadline=None)
def test_a_sound_stays_a_sound_within_full_scale(step, seed, length, loud):
    wave_T = (torch.rand(length, generator=seeded(seed)) * 2 - 1) * loud
    before = AudioContent(wave_T, 16_000, cut=True)
    after = step(before, generator=seeded(seed))
    assert after.waveform_T.shape == wave_T.shape
    assert after.waveform_T.dtype == torch.float32
    assert after.waveform_T.isfinite().all()
    assert float(after.waveform_T.abs().max()) <= 1.0
    assert (after.sample_rate, after.cut) == (16_000, True)
    again = step(before, generator=seeded(seed))
    assert torch.equal(after.waveform_T, again.waveform_T)


@pytest.mark.parametrize("step", SENSOR, ids=lambda f: f.__name__)
@given(seed=SEEDS, channels=st.integers(1, 4), length=st.integers(1, 60))
@settings(max_examples=25, deadline=None)
def test_readings_stay_readings_of_their_shape(step, seed, channels, length):
    before = readings(seed, channels, length)
    after = step(before, generator=seeded(seed))
    assert after.values_CT.shape == before.values_CT.shape
    assert after.values_CT.dtype == torch.float32
    assert after.values_CT.isfinite().all()
    again = step(before, generator=seeded(seed))
    assert torch.equal(after.values_CT, again.values_CT)
    assert (after.rate_hz, after.names) == (before.rate_hz, before.names)


@given(seed=SEEDS, bands=st.integers(1, 80), frames=st.integers(1, 200))
@settings(max_examples=50, deadline=None)
def test_spec_augment_masks_no_more_than_its_share_and_changes_nothing_else(
    seed, bands, frames
):
    mel_MF = torch.randn(bands, frames, generator=seeded(seed))
    out_MF = a.spec_augment(mel_MF, generator=seeded(seed))
    assert out_MF.shape == mel_MF.shape
    changed_MF = out_MF != mel_MF
    assert float(changed_MF.all(dim=1).float().mean()) <= 0.5 or frames == 1
    assert torch.allclose(out_MF[changed_MF], mel_MF.mean())
    assert torch.equal(out_MF, a.spec_augment(mel_MF, generator=seeded(seed)))


@given(seed=SEEDS, text=st.text(max_size=200), share=st.floats(0, 1))
@settings(max_examples=100, deadline=None)
def test_words_are_dropped_in_order_and_one_stays(seed, text, share):
    step = partial(a.drop_words, share=share)
    after = step(TextContent(text), generator=seeded(seed)).text
    left = iter(text.split())
    assert all(word in left for word in after.split()), "another word, or another order"
    assert bool(after.split()) == bool(text.split())
    assert after == step(TextContent(text), generator=seeded(seed)).text


def test_another_seed_gives_another_picture():
    before = picture(0, 32, 32)
    made = [a.crop(before, generator=seeded(n)).pixels_3HW for n in range(5)]
    assert len({m.numpy().tobytes() for m in made}) > 1


def test_a_quarter_turn_of_the_square_is_the_picture_turned():
    before = picture(3, 16, 16)
    turned = a._warped(before, angle=torch.pi / 2, zoom=1.0).pixels_3HW
    expected = (torch.rot90(before.pixels_3HW, k, (1, 2)) for k in (1, 3))
    assert any(torch.equal(turned, other) for other in expected)


def test_a_turned_wide_picture_is_not_stretched():
    pixels_3HW = torch.zeros(3, 40, 120, dtype=torch.uint8)
    pixels_3HW[:, 10:30, 50:70] = 255  # a square of 20 x 20 in the middle
    turned = a._warped(ImageContent(pixels_3HW), angle=torch.pi / 2, zoom=1.0).pixels_3HW
    assert torch.equal(turned, pixels_3HW)


def test_warping_keeps_the_first_and_the_last_reading_and_their_order():
    content = SensorContent(torch.arange(50.0)[None], 1.0, ("0",))
    warped_T = a.warp_time(content, generator=seeded(1)).values_CT[0]
    assert float(warped_T[0]) == 0.0
    assert float(warped_T[-1]) == pytest.approx(49.0)
    assert (warped_T.diff() > 0).all()
    assert not torch.equal(warped_T, content.values_CT[0])


def test_gaps_in_readings_stay_gaps():
    values_CT = torch.randn(2, 20, generator=seeded(0))
    values_CT[0, 5] = torch.nan
    content = SensorContent(values_CT, 1.0, ("0", "1"))
    for step in (a.jitter, a.rescale):
        after_CT = step(content, generator=seeded(1)).values_CT
        assert torch.equal(after_CT.isnan(), values_CT.isnan())


def test_steps_come_in_their_order_and_a_chance_of_none_changes_nothing():
    before = picture(0, 24, 24)
    both = a.compose([a.crop, a.noise])(before, generator=seeded(7))
    generator = seeded(7)
    by_hand = a.noise(a.crop(before, generator=generator), generator=generator)
    assert torch.equal(both.pixels_3HW, by_hand.pixels_3HW)
    never = a.compose([a.crop, a.noise], chance=0.0)(before, generator=seeded(7))
    assert never is before


@pytest.mark.parametrize("level_db", [10.0, 30.0])
def test_hiss_is_as_far_below_the_sound_as_asked(level_db):
    wave_T = 0.2 * torch.sin(torch.arange(16_000) * 0.1)
    content = AudioContent(wave_T, 16_000)
    added_T = a.hiss(content, generator=seeded(0), least_db=level_db).waveform_T - wave_T
    ratio = float(wave_T.square().mean() / added_T.square().mean())
    assert 10 ** (level_db / 10) * 0.9 <= ratio <= 10 ** ((level_db + 30) / 10) * 1.1
