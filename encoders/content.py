"""What an encoder reads: decoded, checked, and in memory.

Shapes:  H, W = height and width in pixels,  T = samples
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


Content = TextContent | ImageContent | AudioContent
