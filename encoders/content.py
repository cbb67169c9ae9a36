"""What an encoder reads: decoded, checked, and in memory.

Shapes:  H, W = height and width in pixels,  T = samples or frames,
C = channels
"""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class TextContent:
    text: str


@dataclass(frozen=True, slots=True)
class ImageContent:
    pixels_3HW: Tensor  # uint8, RGB, upright


@dataclass(frozen=True, slots=True)
class AudioContent:
    waveform_T: Tensor  # float32, mono, finite, not empty
    sample_rate: int
    cut: bool = False  # this is the beginning of a longer sound


@dataclass(frozen=True, slots=True)
class VideoContent:
    """Frames that were chosen of a video, and its sound track if it has one."""

    frames_T3HW: Tensor  # uint8, RGB, upright; at least one
    times_T: Tensor  # float32, seconds from the beginning, rising
    sound: AudioContent | None = None


@dataclass(frozen=True, slots=True)
class SensorContent:
    """Several channels at one rate; what was not measured is NaN."""

    values_CT: Tensor  # float32; finite or NaN, and of each channel something is finite
    rate_hz: float
    names: tuple[str, ...]  # of the channels; "0", "1", ... where nobody named them


Content = TextContent | ImageContent | AudioContent | VideoContent | SensorContent
