"""Small videos and sensor readings, made here."""

from __future__ import annotations

import io
from collections.abc import Sequence
from fractions import Fraction

import av
import numpy as np

Colour = tuple[int, int, int]
RED, GREEN, BLUE = (220, 20, 20), (20, 200, 20), (20, 20, 220)
BLACK = (0, 0, 0)


def clip(
    scenes: Sequence[tuple[Colour, float]],
    *,
    size: tuple[int, int] = (64, 48),
    rate: int = 10,
    tone: float | None = None,
    kind: str = "mp4",
    codec: str = "mpeg4",
) -> bytes:
    """A video of plain scenes (colour, seconds); with a tone of this step it is heard."""
    stream = io.BytesIO()
    with av.open(stream, "w", format=kind) as container:
        video = container.add_stream(codec, rate=rate)
        video.width, video.height, video.pix_fmt = *size, "yuv420p"
        audio = None if tone is None else container.add_stream("aac", rate=16_000)
        for number, colour in enumerate(
            colour for colour, seconds in scenes for _ in range(round(seconds * rate))
        ):
            pixels = np.broadcast_to(np.uint8(colour), (size[1], size[0], 3)).copy()
            pixels[:8, number % size[0]] = 128  # something moves
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, rate)
            container.mux(video.encode(frame))
        container.mux(video.encode())
        if audio is not None:
            seconds = sum(seconds for _, seconds in scenes)
            wave = 0.5 * np.sin(np.arange(int(16_000 * seconds)) * tone)
            for at in range(0, len(wave) - 1023, 1024):
                block = np.float32(wave[at : at + 1024])[None]
                sound = av.AudioFrame.from_ndarray(block, format="fltp", layout="mono")
                sound.rate, sound.pts = 16_000, at
                container.mux(audio.encode(sound))
            container.mux(audio.encode())
    return stream.getvalue()


def readings(channels: int = 2, samples: int = 300, pitch: float = 0.2) -> bytes:
    """Readings as CSV, at 50 Hz, with a time column."""
    names = ",".join(["time", *(f"sensor_{c}" for c in range(channels))])
    lines = [
        ",".join(
            [f"{t / 50:.2f}", *(f"{np.sin(t * pitch + c):.4f}" for c in range(channels))]
        )
        for t in range(samples)
    ]
    return "\n".join([names, *lines]).encode()


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()
