"""Sounds of the scenarios: a voice by source and filter, and what is heard behind it.

A stack of harmonics with resonances (Fant 1960, "Acoustic theory of speech production"), in
syllables; behind it noise around one frequency. No words are spoken: who speaks, and where, is
what can be heard.

Shapes:  T = samples,  H = harmonics
"""

import io
import math
from typing import Annotated

import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

RATE_HZ = 16_000
FLAC = "audio/flac"
Hertz = Annotated[float, Meta(ge=40, le=7_500)]


class Timbre(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A voice's pitch, resonances and pace, and the noise behind it (its share and centre)."""

    pitch_hz: Hertz
    formants_hz: Annotated[list[Hertz], Meta(min_length=1, max_length=5)]
    syllables_per_s: Annotated[float, Meta(gt=0, le=12)] = 4.0
    noise: Annotated[float, Meta(ge=0, le=1)] = 0.1
    noise_hz: Hertz = 1_000.0


def voice(
    timbre: Timbre, *, seconds: float, draw: np.random.Generator
) -> NDArray[np.float32]:
    """T samples at RATE_HZ, within -1..1."""
    time_T = np.arange(int(RATE_HZ * seconds)) / RATE_HZ
    spoken_T = _spoken(timbre, time_T, draw)
    behind_T = _noise(timbre.noise_hz, len(time_T), draw)
    mixed_T = (1 - timbre.noise) * _level(spoken_T) + timbre.noise * _level(behind_T)
    loud_T: NDArray[np.float32] = (0.5 * mixed_T / np.abs(mixed_T).max()).astype(np.float32)
    return loud_T


def flac(sound_T: NDArray[np.float32]) -> bytes:
    """The sound as a file."""
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, sound_T, RATE_HZ, format="FLAC")
    return file.getvalue()


def _spoken(
    timbre: Timbre, time_T: NDArray[np.float64], draw: np.random.Generator
) -> NDArray[np.float64]:
    pitch = timbre.pitch_hz * draw.normal(1, 0.02)
    melody_T = 1 + 0.05 * np.sin(math.tau * 0.7 * time_T + draw.uniform(0, math.tau))
    phase_T = math.tau * np.cumsum(pitch * melody_T) / RATE_HZ
    hertz_H = pitch * np.arange(1, int(4_000 / pitch) + 1)
    loud_H = sum(
        np.exp(-(((hertz_H - f) / (0.15 * f)) ** 2)) for f in timbre.formants_hz
    ) + 0.02 / np.arange(1, len(hertz_H) + 1)
    wave_T = np.zeros_like(time_T)
    for number, loud in enumerate(np.asarray(loud_H).tolist(), start=1):
        wave_T += loud * np.sin(number * phase_T)
    beat = math.pi * timbre.syllables_per_s * time_T + draw.uniform(0, math.pi)
    syllables_T: NDArray[np.float64] = wave_T * np.abs(np.sin(beat)) ** 1.5
    return syllables_T


def _noise(
    centre_hz: float, samples: int, draw: np.random.Generator
) -> NDArray[np.float64]:
    """Noise within about a third of its centre."""
    spectrum = np.fft.rfft(draw.standard_normal(samples))
    hertz = np.fft.rfftfreq(samples, 1 / RATE_HZ)
    shaped = spectrum * np.exp(-(((hertz - centre_hz) / (0.35 * centre_hz)) ** 2))
    noise: NDArray[np.float64] = np.fft.irfft(shaped, samples)
    return noise


def _level(wave_T: NDArray[np.float64]) -> NDArray[np.float64]:
    levelled: NDArray[np.float64] = wave_T / (np.sqrt(np.mean(wave_T**2)) + 1e-9)
    return levelled
