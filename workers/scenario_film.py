"""Lectures of the scenarios: a short MP4 in which a shape moves while somebody speaks."""

import io
from fractions import Fraction
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from workers.scenario_drawing import Shape, picture
from workers.scenario_sound import RATE_HZ, Timbre, voice

SIZE, FRAMES_PER_S = (128, 96), 5
_BLOCK = 1_024  # samples of one AAC frame


def film(
    shape: Shape,
    *,
    ink: str,
    ground: str,
    timbre: Timbre,
    seconds: float,
    draw: np.random.Generator,
) -> bytes:
    """The bytes of an MP4 with a picture and a sound track."""
    stream, layout = io.BytesIO(), int(draw.integers(1 << 30))
    # bitexact: no version and no time of day in the file
    with av.open(stream, "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        seen: Any = container.add_stream("mpeg4", rate=FRAMES_PER_S)
        seen.width, seen.height, seen.pix_fmt = *SIZE, "yuv420p"
        seen.thread_count = 1
        heard: Any = container.add_stream("aac", rate=RATE_HZ)
        for number in range(round(seconds * FRAMES_PER_S)):
            same = np.random.default_rng(layout)  # the same things, moved on
            image = picture(
                shape, ink=ink, ground=ground, draw=same, size=SIZE, shift=number * 0.02
            )
            frame = av.VideoFrame.from_ndarray(np.asarray(image), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, FRAMES_PER_S)
            container.mux(seen.encode(frame))
        container.mux(seen.encode())
        _sound_track(container, heard, voice(timbre, seconds=seconds, draw=draw))
    return stream.getvalue()


def _sound_track(container: Any, heard: Any, sound_T: NDArray[np.float32]) -> None:
    for at in range(0, len(sound_T) - _BLOCK + 1, _BLOCK):
        block = np.ascontiguousarray(sound_T[at : at + _BLOCK])[None]
        frame = av.AudioFrame.from_ndarray(block, format="fltp", layout="mono")
        frame.rate, frame.pts = RATE_HZ, at
        container.mux(heard.encode(frame))
    container.mux(heard.encode())
