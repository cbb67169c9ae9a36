"""The same content, a little otherwise: for training only, never on the way of an event.

Each function takes content and a generator and gives content of the same kind, size and dtype:
`f(content, *, generator) -> content`. The same seed gives the same bytes. `compose` puts several
into one; `functools.partial` sets how strong one is.

Shapes:  H, W = height and width,  T = samples or readings,  M = mel bands,  F = frames,
         C = channels
"""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol, TypeVar

import torch
from torch import Generator, Tensor
from torch.nn.functional import affine_grid, grid_sample, interpolate

from encoders.content import AudioContent, ImageContent, SensorContent, TextContent

Content = TypeVar("Content")


class Augment(Protocol[Content]):
    """One way to change content at random."""

    def __call__(self, content: Content, *, generator: Generator) -> Content: ...


def compose(
    steps: Sequence[Callable[..., Content]], *, chance: float = 1.0
) -> Augment[Content]:
    """All steps in their order, each left out with a probability of 1 - `chance`."""

    def composed(content: Content, *, generator: Generator) -> Content:
        for step in steps:
            if chance >= 1.0 or _uniform(generator) < chance:
                content = step(content, generator=generator)
        return content

    return composed


# --- pictures ------------------------------------------------------------------------------


def crop(
    content: ImageContent, *, generator: Generator, least: float = 0.6
) -> ImageContent:
    """A part of at least `least` of the area, of the picture's shape, brought back to its size
    (Szegedy 2015, without the change of shape)."""
    side = math.sqrt(_uniform(generator, least, 1.0))
    height, width = content.pixels_3HW.shape[1:]
    part_h, part_w = max(1, round(height * side)), max(1, round(width * side))
    top = _whole(generator, height - part_h + 1)
    left = _whole(generator, width - part_w + 1)
    part_3HW = content.pixels_3HW[:, top : top + part_h, left : left + part_w]
    resized = interpolate(
        part_3HW[None].float(), (height, width), mode="bilinear", align_corners=False
    )
    return _picture(resized[0])


def flip(content: ImageContent, *, generator: Generator) -> ImageContent:
    """Left for right, or not, at equal odds."""
    mirrored = _uniform(generator) < 0.5
    return ImageContent(content.pixels_3HW.flip(2)) if mirrored else content


def rotate(
    content: ImageContent, *, generator: Generator, degrees: float = 15.0
) -> ImageContent:
    """Turned by up to so much to either side; the corners show what was at the edge."""
    angle = math.radians(_uniform(generator, -degrees, degrees))
    return _warped(content, angle=angle, zoom=1.0)


def scale(
    content: ImageContent, *, generator: Generator, most: float = 1.3
) -> ImageContent:
    """Nearer or further by a factor of up to `most`, about the middle."""
    zoom = math.exp(_uniform(generator, -math.log(most), math.log(most)))
    return _warped(content, angle=0.0, zoom=zoom)


def colour(
    content: ImageContent, *, generator: Generator, most: float = 0.3
) -> ImageContent:
    """Brightness, contrast and each channel by factors within 1 - `most` .. 1 + `most`."""
    light, contrast, *channels = (
        1 + _uniform(generator, -most, most) * share for share in (1, 1, 0.3, 0.3, 0.3)
    )
    pixels_3HW = content.pixels_3HW.float()
    middle = pixels_3HW.mean()
    pixels_3HW = (pixels_3HW - middle) * contrast + middle * light
    return _picture(pixels_3HW * torch.tensor(channels)[:, None, None])


def noise(
    content: ImageContent, *, generator: Generator, sigma: float = 12.0
) -> ImageContent:
    """Gaussian noise in each pixel and channel, of up to this deviation (of 255)."""
    drawn_3HW = torch.randn(content.pixels_3HW.shape, generator=generator)
    return _picture(content.pixels_3HW + drawn_3HW * _uniform(generator, 0.0, sigma))


# --- sounds --------------------------------------------------------------------------------


def hiss(
    content: AudioContent, *, generator: Generator, least_db: float = 10.0
) -> AudioContent:
    """White noise, `least_db` .. `least_db` + 30 dB below the sound."""
    ratio_db = _uniform(generator, least_db, least_db + 30)
    level = float(content.waveform_T.square().mean().sqrt()) * 10 ** (-ratio_db / 20)
    drawn_T = torch.randn(content.waveform_T.shape, generator=generator)
    return _sound(content, content.waveform_T + level * drawn_T)


def gain(
    content: AudioContent, *, generator: Generator, most_db: float = 12.0
) -> AudioContent:
    """Louder or softer by up to so much; what is over full scale is cut off, as recorders do."""
    factor = 10 ** (_uniform(generator, -most_db, most_db) / 20)
    return _sound(content, content.waveform_T * factor)


def shift(
    content: AudioContent, *, generator: Generator, share: float = 0.2
) -> AudioContent:
    """Earlier or later by up to this share of its length; the end goes on at the beginning."""
    most = round(len(content.waveform_T) * share)
    by = _whole(generator, 2 * most + 1) - most
    return _sound(content, content.waveform_T.roll(by))


def spec_augment(
    mel_MF: Tensor,
    *,
    generator: Generator,
    bands: int = 8,
    frames: int = 20,
    masks: int = 2,
    share: float = 0.5,
) -> Tensor:
    """SpecAugment (Park 2019) on a log-mel spectrogram: `masks` stripes of up to `bands` bands
    and as many of up to `frames` frames are set to the mean. All stripes of a kind together take
    at most `share` of the spectrogram. (Its time warping is left out: the paper finds that it
    matters least and costs most.)"""
    out_MF, mean = mel_MF.clone(), mel_MF.mean()
    for axis, most in ((0, bands), (1, frames)):
        size = mel_MF.shape[axis]
        limit = min(most, int(size * share / masks))
        for _ in range(masks):
            width = _whole(generator, limit + 1)
            begin = _whole(generator, size - width + 1)
            out_MF.narrow(axis, begin, width).copy_(mean)
    return out_MF


# --- texts ---------------------------------------------------------------------------------


def drop_words(
    content: TextContent, *, generator: Generator, share: float = 0.15
) -> TextContent:
    """Each word is left out with this probability (Iyyer 2015); one of them stays at least."""
    pieces = re.findall(r"\S+\s*", content.text)
    if len(pieces) < 2:
        return content
    kept_P = torch.rand(len(pieces), generator=generator) >= share
    if not kept_P.any():
        kept_P[_whole(generator, len(pieces))] = True
    kept = [piece for piece, stays in zip(pieces, kept_P.tolist(), strict=True) if stays]
    return TextContent("".join(kept).strip())


# --- sensors -------------------------------------------------------------------------------


def jitter(
    content: SensorContent, *, generator: Generator, sigma: float = 0.05
) -> SensorContent:
    """Gaussian noise of this share of each channel's deviation (Um 2017). Gaps stay gaps."""
    values_CT = content.values_CT
    spread_C1 = _deviation(values_CT)
    drawn_CT = torch.randn(values_CT.shape, generator=generator)
    return replace(content, values_CT=values_CT + sigma * spread_C1 * drawn_CT)


def rescale(
    content: SensorContent, *, generator: Generator, sigma: float = 0.1
) -> SensorContent:
    """Each channel stretched about its mean by a factor drawn around 1 (Um 2017)."""
    values_CT = content.values_CT
    drawn_C1 = torch.randn(len(values_CT), 1, generator=generator).clamp(-3, 3)
    mean_C1 = values_CT.nanmean(dim=1, keepdim=True)
    return replace(
        content, values_CT=(values_CT - mean_C1) * (1 + sigma * drawn_C1) + mean_C1
    )


def warp_time(
    content: SensorContent, *, generator: Generator, knots: int = 4, most: float = 0.5
) -> SensorContent:
    """Faster here, slower there (Um 2017): speed between `knots` is 1 - `most` .. 1 + `most`,
    begin and end stay. Between two readings the line is taken; next to a gap is a gap."""
    length = content.values_CT.shape[1]
    if length < 3:
        return content
    speed_K = 1 + (2 * torch.rand(knots, generator=generator) - 1) * most
    speed_T = interpolate(
        speed_K[None, None], length - 1, mode="linear", align_corners=True
    )[0, 0]
    at_T = torch.cat([torch.zeros(1), speed_T.cumsum(0)])
    at_T = (at_T * ((length - 1) / at_T[-1])).clamp(0, length - 1)
    low_T = at_T.floor().long().clamp(max=length - 2)
    part_T = at_T - low_T
    left_CT, right_CT = content.values_CT[:, low_T], content.values_CT[:, low_T + 1]
    between_CT = left_CT + (right_CT - left_CT) * part_T
    whole_CT = torch.where(
        part_T == 0, left_CT, torch.where(part_T == 1, right_CT, between_CT)
    )
    return replace(content, values_CT=whole_CT.to(content.values_CT.dtype))


# --- drawing and putting back ---------------------------------------------------------------


def _uniform(generator: Generator, low: float = 0.0, high: float = 1.0) -> float:
    return low + (high - low) * float(torch.rand((), generator=generator))


def _whole(generator: Generator, below: int) -> int:
    return int(torch.randint(max(1, below), (), generator=generator))


def _deviation(values_CT: Tensor) -> Tensor:
    mean_C1 = values_CT.nanmean(dim=1, keepdim=True)
    return (values_CT - mean_C1).square().nanmean(dim=1, keepdim=True).sqrt()


def _warped(content: ImageContent, *, angle: float, zoom: float) -> ImageContent:
    height, width = content.pixels_3HW.shape[1:]
    shape = width / height  # the grid is square, the picture need not be
    cos, sin = math.cos(angle) / zoom, math.sin(angle) / zoom
    matrix_123 = torch.tensor([[[cos, -sin / shape, 0.0], [sin * shape, cos, 0.0]]])
    grid = affine_grid(matrix_123, [1, 3, height, width], align_corners=False)
    pixels = content.pixels_3HW[None].float()
    turned = grid_sample(pixels, grid, padding_mode="border", align_corners=False)
    return _picture(turned[0])


def _picture(pixels_3HW: Tensor) -> ImageContent:
    return ImageContent(pixels_3HW.round().clamp(0, 255).to(torch.uint8))


def _sound(content: AudioContent, waveform_T: Tensor) -> AudioContent:
    return replace(content, waveform_T=waveform_T.clamp(-1, 1).contiguous())
