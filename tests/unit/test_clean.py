"""What is taken off content before it is encoded, what is refused, and what is left alone."""

import math

import msgspec
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from encoders.clean import clean, distinct
from encoders.clean_audio import clipped_share, level_db, trimmed
from encoders.clean_image import keep_frames, same_picture
from encoders.clean_sensor import clean_readings, fill_gaps, hampel, stuck
from encoders.content import (
    AudioContent,
    ImageContent,
    SensorContent,
    TextContent,
    VideoContent,
)
from encoders.preparation import PrepareConfig, Unusable, prepare_version

ON = PrepareConfig()
OFF = PrepareConfig(
    text_markup=False, text_repair=False, text_repeats=False, image_blank=False,
    audio_silent=False, audio_trim=False, video_black=False, sensor_outliers=False,
    sensor_max_gap=0, duplicates=False,
)  # fmt: skip
NAN = math.nan


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(height: int = 48, width: int = 64, seed: int = 0) -> ImageContent:
    """Blobs and not single pixels, as in pictures."""
    small = torch.rand(1, 3, 6, 8, generator=seeded(seed)) * 255
    large = torch.nn.functional.interpolate(small, (height, width), mode="bilinear")
    return ImageContent(large[0].to(torch.uint8))


def plain(level: int) -> ImageContent:
    return ImageContent(torch.full((3, 32, 32), level, dtype=torch.uint8))


def tone(seconds: float, loud: float = 0.5) -> torch.Tensor:
    return loud * torch.sin(torch.arange(round(16_000 * seconds)) * 0.3)


def refused(content, config=ON) -> str:
    with pytest.raises(Unusable) as caught:
        clean(content, config)
    return caught.value.reason


# --- pictures and videos -------------------------------------------------------------------


@pytest.mark.parametrize("level", [0, 128, 255], ids=["black", "grey", "white"])
def test_a_picture_of_one_colour_is_refused(level):
    assert refused(plain(level)) == "blank"
    assert clean(plain(level), OFF).content.pixels_3HW.sum() == 3 * 32 * 32 * level


def test_a_mark_on_white_paper_is_a_picture():
    page = plain(255)
    page.pixels_3HW[:, 10:14, 10:14] = 0
    assert clean(page, ON).content is page


def test_the_same_picture_in_another_size_and_quality_counts_once():
    whole = noise(96, 128)
    half = ImageContent(whole.pixels_3HW[:, ::2, ::2])
    worse = noise(96, 128)
    drawn = torch.randn(worse.pixels_3HW.shape, generator=seeded(1)) * 4
    worse = ImageContent((worse.pixels_3HW + drawn).clamp(0, 255).to(torch.uint8))
    assert distinct([whole, noise(seed=1), half, None, worse, None]) == [0, 1, 3, 5]


def test_a_shirt_in_red_and_in_blue_is_two_pictures():
    red, blue = noise().pixels_3HW // 2, noise().pixels_3HW // 2
    red[0] += 100
    blue[2] += 100
    assert not same_picture(red, blue)


def test_black_frames_and_frames_of_one_colour_are_left_out():
    night = (noise().pixels_3HW // 12)[:, :32, :32]  # dark, and nothing in it to see
    stars = torch.zeros(3, 32, 32, dtype=torch.uint8)
    stars[:, ::5, ::5] = 200  # dark too, but there is light in it
    shown = noise(32, 32).pixels_3HW
    frames = [plain(0).pixels_3HW, shown, night, stars, plain(255).pixels_3HW, shown]
    assert keep_frames(torch.stack(frames)).tolist() == [1, 3, 5]
    assert keep_frames(torch.stack(frames[:1])).tolist() == []


def test_a_video_keeps_its_frames_that_show_something_and_their_times():
    frames = torch.stack([plain(0).pixels_3HW, noise(32, 32).pixels_3HW])
    silent = AudioContent(torch.zeros(16_000), 16_000)
    video = VideoContent(frames, torch.tensor([0.0, 1.0]), silent)
    cleaned = clean(video, ON)
    assert cleaned.content.times_T.tolist() == [1.0]
    assert torch.equal(cleaned.content.frames_T3HW, frames[1:])
    assert cleaned.content.sound is None
    assert cleaned.dropped == ("black_frame", "silent")
    assert refused(VideoContent(frames[:1], torch.zeros(1))) == "blank"


# --- sounds --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wave_T",
    [torch.zeros(16_000), torch.full((16_000,), 0.3), torch.randn(16_000) * 3e-4],
    ids=["nothing", "a constant", "the noise of a switched-off microphone"],
)
def test_a_silent_sound_is_refused(wave_T):
    assert refused(AudioContent(wave_T, 16_000)) == "silent"
    assert clean(AudioContent(wave_T, 16_000), OFF).content.waveform_T is wave_T


def test_silence_at_the_ends_is_taken_off_with_a_tenth_of_a_second_left():
    wave_T = torch.cat([torch.zeros(16_000), tone(1.0), torch.zeros(32_000)])
    cleaned = clean(AudioContent(wave_T, 16_000, cut=True), ON)
    seconds = len(cleaned.content.waveform_T) / 16_000
    assert seconds == pytest.approx(1.2, abs=0.05)
    assert cleaned.content.cut
    assert cleaned.changes == ("trimmed",)


def test_a_quiet_sound_is_trimmed_as_a_loud_one_is():
    wave_T = torch.cat([torch.zeros(8_000), tone(0.5), torch.zeros(8_000)])
    loud, quiet = (
        trimmed(wave_T * level, sample_rate=16_000, quiet_db=50) for level in (1.0, 0.01)
    )
    assert len(loud) == len(quiet) < len(wave_T)


def test_an_offset_is_taken_off():
    cleaned = clean(AudioContent(tone(0.5) + 0.2, 16_000), ON)
    assert abs(float(cleaned.content.waveform_T.mean())) < 1e-6
    assert cleaned.changes == ("offset",)


def test_clipping_is_noted_and_the_sound_kept():
    wave_T = (3 * tone(0.5)).clamp(-1, 1)
    assert clipped_share(wave_T) > 0.3
    assert "clipped" in clean(AudioContent(wave_T, 16_000), ON).changes
    assert clipped_share(tone(0.5, loud=1.0)) == 0.0, "loud is not cut off"


@given(length=st.integers(1, 5_000), loud=st.floats(0.01, 1), seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_cleaning_a_sound_twice_is_cleaning_it_once(length, loud, seed):
    wave_T = (torch.rand(length, generator=seeded(seed)) - 0.5) * loud
    wave_T = torch.cat([torch.zeros(length % 777), wave_T])
    if level_db(wave_T - wave_T.mean()) < -60:
        return
    once = clean(AudioContent(wave_T, 16_000), ON).content
    twice = clean(once, ON).content
    assert 0 < len(once.waveform_T) <= len(wave_T)
    assert len(once.waveform_T) - len(twice.waveform_T) <= 320  # the offset moved a little


# --- readings ------------------------------------------------------------------------------


def test_a_reading_far_from_its_neighbours_becomes_their_median():
    wave_T = torch.sin(torch.arange(100) * 0.1)
    wrong_CT = torch.stack([wave_T, wave_T]).clone()
    wrong_CT[0, 40], wrong_CT[1, 70] = 50.0, -50.0
    cleaned = clean_readings(wrong_CT)
    assert cleaned.outlier_CT.nonzero().tolist() == [[0, 40], [1, 70]]
    assert torch.allclose(cleaned.value_CT[0], wave_T, atol=0.2)


def test_the_filter_is_that_of_the_paper():
    value_T = torch.tensor([1.0, 2.0, 3.0, 100.0, 5.0, 6.0, 7.5, 8.0, 9.0, 10.0, 11.0])
    out, outlier = hampel(value_T[None], half=2, sigmas=3.0)
    window = [2.0, 3.0, 100.0, 5.0, 6.0]
    median = sorted(window)[2]
    spread = 1.4826 * sorted(abs(v - median) for v in window)[2]
    assert abs(100.0 - median) > 3 * spread
    assert outlier[0].nonzero().flatten().tolist() == [3]
    assert float(out[0, 3]) == median


def test_a_door_that_is_open_for_a_moment_is_no_outlier():
    door_T = torch.zeros(200)
    door_T[50], door_T[120:123] = 1.0, 1.0
    assert torch.equal(clean_readings(door_T[None]).value_CT[0], door_T)


def test_a_step_is_no_outlier():
    step_T = torch.cat([torch.zeros(50), torch.full((50,), 20.0)])
    step_T += 0.1 * torch.randn(100, generator=seeded())
    cleaned = clean_readings(step_T[None]).value_CT[0]
    assert float((cleaned - step_T).abs().max()) < 1.0


def test_short_gaps_are_filled_in_a_straight_line_and_long_ones_stay():
    value_CT = torch.tensor(
        [[NAN, 1.0, NAN, NAN, 4.0, NAN], [0.0, NAN, NAN, NAN, 4.0, 5.0]]
    )
    full_CT, filled_CT = fill_gaps(value_CT, max_gap=2)
    assert full_CT[0].tolist() == [1.0, 1.0, 2.0, 3.0, 4.0, 4.0]
    assert filled_CT[0].tolist() == [True, False, True, True, False, True]
    assert int(full_CT[1].isnan().sum()) == 3


def test_stuck_channels_are_named_and_not_refused():
    value_CT = torch.stack(
        [torch.full((30,), 20.0), torch.arange(30.0), torch.full((30,), NAN)]
    )
    assert stuck(value_CT).tolist() == [True, False, True]
    cleaned = clean(SensorContent(value_CT, 1.0, ("a", "b", "c")), ON)
    assert cleaned.changes == ("stuck",)
    assert cleaned.content.values_CT.shape == value_CT.shape


@given(seed=st.integers(0, 999), channels=st.integers(1, 3), length=st.integers(1, 40))
@settings(max_examples=80, deadline=None)
def test_readings_keep_shape_and_type_and_what_is_not_touched(seed, channels, length):
    value_CT = torch.randn(channels, length, generator=seeded(seed))
    value_CT[torch.rand(channels, length, generator=seeded(seed)) < 0.2] = NAN
    cleaned = clean_readings(value_CT)
    assert (cleaned.value_CT.shape, cleaned.value_CT.dtype) == (
        value_CT.shape,
        torch.float32,
    )
    kept_CT = ~cleaned.outlier_CT & ~cleaned.filled_CT & ~value_CT.isnan()
    assert torch.equal(cleaned.value_CT[kept_CT], value_CT[kept_CT])
    assert not cleaned.value_CT.isinf().any()


# --- settings ------------------------------------------------------------------------------


def test_the_version_of_a_modality_follows_its_own_settings():
    louder = PrepareConfig(audio_silent_db=-50.0)
    assert prepare_version("audio", louder) != prepare_version("audio", ON)
    assert prepare_version("video", louder) != prepare_version("video", ON)
    assert prepare_version("text", louder) == prepare_version("text", ON)


@pytest.mark.parametrize("name", [f.name for f in msgspec.structs.fields(PrepareConfig)])
def test_every_setting_but_the_one_about_sets_belongs_to_a_modality(name):
    value = getattr(ON, name)
    other = msgspec.structs.replace(
        ON, **{name: not value if value in (True, False) else value * 2}
    )
    kinds = ("text", "image", "audio", "video", "sensor")
    moved = {k for k in kinds if prepare_version(k, other) != prepare_version(k, ON)}
    assert moved == set() if name == "duplicates" else name.split("_")[0] in moved


def test_switched_off_nothing_is_done():
    contents = [
        TextContent("A <b>film</b>"), noise(), AudioContent(torch.zeros(10), 16_000),
        VideoContent(torch.zeros(1, 3, 4, 4, dtype=torch.uint8), torch.zeros(1)),
    ]  # fmt: skip
    for content in contents:
        assert clean(content, OFF).content == content
