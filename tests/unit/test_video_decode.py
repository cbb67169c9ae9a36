"""Videos: which frames stand for one, and what is refused before it is decoded."""

from fractions import Fraction

import numpy as np
import pytest

from encoders.content import VideoContent
from schemas import MediaRef
from tests.support.clips import BLACK, BLUE, GREEN, RED, clip
from workers.media_decode import decode
from workers.media_limits import MediaError, MediaLimits
from workers.video_sampling import by_scene, cuts, evenly, lit


def read(data: bytes, **limits) -> VideoContent:
    return decode(MediaRef(kind="video"), data, limits=MediaLimits(**limits))


def refusal(data: bytes, **limits) -> MediaError:
    with pytest.raises(MediaError) as caught:
        read(data, **limits)
    return caught.value


def thumbs(*scenes: tuple[tuple[int, int, int], int]) -> np.ndarray:
    return np.concatenate([np.full((n, 8, 8, 3), c, np.uint8) for c, n in scenes])


def colours(content: VideoContent) -> list[str]:
    names = ["red", "green", "blue"]
    return [names[at] for at in content.frames_T3HW.float().mean((2, 3)).argmax(1).tolist()]


def test_every_scene_is_seen_however_short():
    data = clip([(RED, 3.0), (GREEN, 0.3), (BLUE, 3.0)])
    assert set(colours(read(data, video_frames=3))) == {"red", "green", "blue"}
    uniform = read(data, video_frames=3, video_sampling="uniform")
    assert uniform.times_T.tolist() == pytest.approx([1.0, 3.1, 5.2], abs=0.15)


def test_black_frames_are_left_out_unless_there_is_nothing_else():
    data = clip([(BLACK, 1.0), (RED, 1.0)])
    content = read(data, video_frames=8)
    assert float(content.times_T[0]) >= 1.0
    assert set(colours(content)) == {"red"}
    assert len(read(clip([(BLACK, 0.5)])).frames_T3HW) == 5


def test_the_sound_track_comes_along_and_a_silent_video_has_none():
    assert read(clip([(RED, 1.0)])).sound is None
    sound = read(clip([(RED, 1.0)], tone=0.3)).sound
    assert sound is not None
    assert len(sound.waveform_T) == pytest.approx(16_000, abs=2_048)


@pytest.mark.parametrize(
    ("kind", "codec"), [("mp4", "mpeg4"), ("matroska", "mpeg4"), ("avi", "mpeg4")]
)
def test_containers_are_known_by_their_bytes(kind, codec):
    content = read(clip([(RED, 0.5)], kind=kind, codec=codec))
    assert content.frames_T3HW.shape[1:] == (3, 48, 64)


def test_frames_are_brought_down_to_the_side_that_is_asked_for():
    data = clip([(RED, 0.3)], size=(320, 240))
    assert read(data, image_side=60).frames_T3HW.shape[2:] == (60, 80)


def test_ten_hours_are_refused_by_the_header():
    error = refusal(clip([(RED, 36_000)], rate=Fraction(1, 9_000)))
    assert error.reason == "too_large"
    assert "1200 s are allowed" in str(error)


def test_of_a_video_with_too_many_frames_only_key_frames_are_looked_at():
    content = read(clip([(RED, 2.0), (BLUE, 2.0)]), max_video_frames=30)
    assert 1 <= len(content.frames_T3HW) <= 30
    assert content.times_T.diff().min() > 0.15 if len(content.times_T) > 1 else True


def test_large_frames_are_refused_before_they_are_decoded():
    error = refusal(clip([(RED, 0.3)], size=(320, 240)), max_video_pixels=320 * 240 - 1)
    assert error.reason == "too_many_pixels"
    assert "320 x 240" in str(error)


def test_a_sound_alone_is_no_video():
    import io

    import av

    stream = io.BytesIO()
    with av.open(stream, "w", format="mp4") as container:
        track = container.add_stream("aac", rate=16_000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.rate = 16_000
        container.mux(track.encode(frame))
        container.mux(track.encode())
    error = refusal(stream.getvalue())
    assert error.reason == "empty"
    assert "no video track" in str(error)


@pytest.mark.parametrize("share", [0.1, 0.4, 0.7])
@pytest.mark.parametrize("kind", ["mp4", "matroska", "avi"])
def test_a_truncated_video_is_refused_with_the_remedy(kind, share):
    data = clip([(RED, 2.0), (BLUE, 2.0)], kind=kind)
    error = refusal(data[: int(share * len(data))])
    assert error.reason in ("undecodable", "empty")
    assert "send" in str(error)


@pytest.mark.parametrize("seed", range(20))
def test_whatever_the_bytes_are_it_is_a_refusal_or_a_video(seed):
    generator = np.random.default_rng(seed)
    data = bytearray(clip([(RED, 0.5)], kind=["mp4", "matroska", "avi"][seed % 3]))
    for at in generator.integers(0, len(data), 20):
        data[at] = generator.integers(0, 256)
    try:
        frames = len(read(bytes(data)).frames_T3HW)
    except MediaError:
        frames = 1
    assert frames > 0


# --- choosing ------------------------------------------------------------------------------


def test_cuts_are_where_the_colours_change():
    assert cuts(thumbs((RED, 10), (GREEN, 5), (BLUE, 7))).tolist() == [10, 15]
    assert cuts(thumbs((RED, 30))).tolist() == []
    assert cuts(thumbs((RED, 1))).tolist() == []


def test_longer_scenes_give_more_frames_and_the_longest_where_there_are_too_many():
    chosen = by_scene(thumbs((RED, 30), (GREEN, 10)), wanted=4)
    assert [int((chosen < 30).sum()), int((chosen >= 30).sum())] == [3, 1]
    chosen = by_scene(thumbs((RED, 30), (GREEN, 2), (BLUE, 20)), wanted=2)
    assert chosen.tolist() == [15, 42]


@pytest.mark.parametrize("frames", [1, 2, 7, 16, 17, 100])
def test_frames_are_chosen_once_and_in_order(frames):
    for wanted in (1, 4, 16):
        for chosen in (
            evenly(frames, wanted=wanted),
            by_scene(thumbs((RED, frames)), wanted=wanted),
        ):
            assert len(chosen) == min(frames, wanted)
            assert (np.diff(chosen) > 0).all()
            assert 0 <= chosen.min() <= chosen.max() < frames


def test_a_black_thumbnail_with_a_lit_corner_is_not_black():
    thumb = thumbs((BLACK, 3))
    thumb[1, :2, :2] = 200
    assert lit(thumb).tolist() == [1]
    assert lit(thumbs((BLACK, 2))).tolist() == [0, 1]
