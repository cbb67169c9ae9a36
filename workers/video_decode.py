"""From bytes to the frames of a video and its sound track.

Read twice: first every frame as a thumbnail, to choose by (video_sampling.py); then again, to
keep the chosen ones. Frames of a whole video at once would be gigabytes.

Shapes:  T = frames,  H, W = height and width in pixels
"""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from encoders.content import AudioContent, VideoContent
from workers.media_limits import MediaError, MediaLimits, MediaReason, path
from workers.video_sampling import by_scene, evenly, lit

_THUMB = 32  # pixels a side
_MISSING = 0.2  # of what its header promises may be missing at the end, and two frames more

Pixels = NDArray[np.uint8]
Sound = Callable[[bytes, str], AudioContent]
"""The sound track of a file in a container of this name."""


@dataclass(frozen=True, slots=True)
class _Told:
    """What the header says, checked against the limits."""

    seconds: float | None
    step_s: float
    sparse: bool  # more frames than are looked at: key frames only


def decode_video(
    data: bytes, limits: MediaLimits, field: str, *, sound: Sound
) -> VideoContent:
    """The chosen frames, upright, black ones left out, the shorter side at most
    `limits.image_side`; and the sound track, by `sound`. Raises MediaError."""
    with _opened(data, limits, field) as (container, told):
        looked = [
            (_time(frame, at), _thumbnail(frame))
            for at, frame in enumerate(_frames(container, limits, data, field))
        ]
        has_sound = bool(container.streams.audio)
    if not looked:
        raise _refused("empty", field, data, "send a video with at least one frame")
    _check_whole(told, looked[-1][0], field, data)
    thumb_THW3 = np.stack([thumb for _, thumb in looked])
    lit_T = lit(thumb_THW3)
    chosen = (
        by_scene(thumb_THW3[lit_T], wanted=limits.video_frames)
        if limits.video_sampling == "scenes"
        else evenly(len(lit_T), wanted=limits.video_frames)
    )
    kept = {int(at) for at in lit_T[chosen]}
    with _opened(data, limits, field) as (container, told):
        pixels = [
            _pixels(frame, limits.image_side)
            for at, frame in enumerate(_frames(container, limits, data, field))
            if at in kept
        ]
    frames_THW3 = np.stack([_like(each, pixels[0]) for each in pixels])
    return VideoContent(
        torch.from_numpy(frames_THW3).permute(0, 3, 1, 2).contiguous(),
        torch.tensor([looked[at][0] for at in sorted(kept)], dtype=torch.float32),
        _track(data, sound) if has_sound else None,
    )


@contextmanager
def _opened(data: bytes, limits: MediaLimits, field: str) -> Iterator[tuple[Any, _Told]]:
    import av

    container_format = _format_of(data)
    if not container_format:
        raise _refused("undecodable", field, data, _WANTED)
    with av.open(
        io.BytesIO(data), "r", format=container_format, metadata_errors="ignore"
    ) as container:
        if not container.streams.video:
            raise _refused("empty", field, data, f"it has no video track; {_WANTED}")
        stream = container.streams.video[0]
        told = _checked(container, stream, limits, field, data)
        if told.sparse:
            stream.codec_context.skip_frame = "NONKEY"
        yield container, told


def _checked(
    container: Any, stream: Any, limits: MediaLimits, field: str, data: bytes
) -> _Told:
    """Nothing is decoded before its header is within the limits."""
    width, height = stream.codec_context.width, stream.codec_context.height
    if width * height > limits.max_video_pixels:
        raise _refused(
            "too_many_pixels", field, data,
            f"frames of {width} x {height} pixels, {limits.max_video_pixels} are allowed; send a smaller one",
        )  # fmt: skip
    seconds = None
    if stream.duration is not None and stream.time_base:
        seconds = float(stream.duration * stream.time_base)
    elif container.duration is not None:
        seconds = container.duration / 1_000_000
    if seconds is not None and seconds > limits.max_video_s:
        raise _refused(
            "too_large", field, data,
            f"it is {seconds:.0f} s long, {limits.max_video_s:g} s are allowed; send a shorter one",
        )  # fmt: skip
    rate = float(stream.average_rate or 25)
    expected = stream.frames or (seconds or 0.0) * rate
    return _Told(seconds, 1 / rate, sparse=expected > limits.max_video_frames)


def _frames(container: Any, limits: MediaLimits, data: bytes, field: str) -> Iterator[Any]:
    """At most so many frames, whatever the header said of their number and size."""
    for at, frame in enumerate(container.decode(video=0)):
        if at >= limits.max_video_frames:
            return
        if frame.width * frame.height > limits.max_video_pixels:
            raise _refused(
                "too_many_pixels", field, data,
                f"a frame of {frame.width} x {frame.height} pixels, {limits.max_video_pixels} are allowed",
            )  # fmt: skip
        yield frame


def _check_whole(told: _Told, last_s: float, field: str, data: bytes) -> None:
    if (
        told.seconds is None or told.sparse
    ):  # the last key frame may stand far before the end
        return
    if told.seconds - last_s > _MISSING * told.seconds + 2 * told.step_s:
        raise _refused(
            "undecodable", field, data,
            f"it ends after {last_s:.1f} s of {told.seconds:.1f} s; send the whole file",
        )  # fmt: skip


def _time(frame: Any, at: int) -> float:
    return float(frame.time) if frame.time is not None else at / 25


def _thumbnail(frame: Any) -> Pixels:
    small = frame.reformat(width=_THUMB, height=_THUMB, format="rgb24")
    return np.asarray(small.to_ndarray(), dtype=np.uint8)


def _pixels(frame: Any, side: int) -> Pixels:
    scale = min(1.0, side / min(frame.width, frame.height))
    width, height = (
        min(4 * side, max(1, round(n * scale))) for n in (frame.width, frame.height)
    )
    scaled = frame.reformat(
        width=width, height=height, format="rgb24", interpolation="AREA"
    )
    turns = round(getattr(frame, "rotation", 0) / 90) % 4  # as the telephone was held
    return np.ascontiguousarray(np.rot90(scaled.to_ndarray(), k=turns))


def _like(pixels_HW3: Pixels, first_HW3: Pixels) -> Pixels:
    """A frame of another size than the first one: few streams change it on their way."""
    if pixels_HW3.shape == first_HW3.shape:
        return pixels_HW3
    from PIL import Image

    height, width = first_HW3.shape[:2]
    resized = Image.fromarray(pixels_HW3).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(resized)


def _track(data: bytes, sound: Sound) -> AudioContent | None:
    """A sound track that cannot be read is none: the pictures are still seen."""
    try:
        return sound(data, _format_of(data))
    except Exception:  # noqa: BLE001 - a decoder may raise anything on hostile bytes
        return None


def _format_of(data: bytes) -> str:
    """By the first bytes, and named: so that no play list is opened that leads elsewhere."""
    if data[4:8] in (b"ftyp", b"moov", b"mdat", b"wide"):
        return "mp4"
    if data[:4] == b"\x1aE\xdf\xa3":
        return "matroska"
    if data[:4] == b"RIFF" and data[8:12] == b"AVI ":
        return "avi"
    return ""


_WANTED = "send MP4, MOV, WebM, Matroska or AVI with a video track"


def _refused(reason: MediaReason, field: str, data: bytes, remedy: str) -> MediaError:
    return MediaError(reason, f"field `{path(field)}` begins {data[:16]!r}; {remedy}")
