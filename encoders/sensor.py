"""Sensor readings into vectors: statistics and spectra of their windows; no weights.

Windows of 128 samples, each half over the next, as in Anguita et al. 2013 ("A public domain
dataset for human activity recognition using smartphones"). Of each: the statistics that
tsfresh (Christ et al. 2018) and the activity literature share, and the power in 16 bands
(Welch 1967). Over the windows of a channel: the mean and the deviation. Over the channels: the
same, in whatever order they come (Zaheer et al. 2017, "Deep sets"), and beside it a sum in
which every channel's name turns its numbers its own way, so that a temperature is compared
with a temperature.

Shapes:  C = channels,  T = samples,  N = windows,  L = samples a window,  B = bands,
F = numbers a window,  G = numbers a channel
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from encoders.content import SensorContent
from encoders.fusion import projection

WINDOW = 128
BANDS = 16
WIDTH = 256
_STATISTICS = 12
_OF_CHANNEL = 6
_G = 2 * (_STATISTICS + BANDS) + _OF_CHANNEL
_NAMED = WIDTH - 2 * _G - 4  # the four are of how channels move together
_TINY = 1e-6
_LOWEST = 1 / 64  # of half the sampling rate: what is below is the first band


@dataclass(frozen=True, slots=True)
class WindowsEncoder:
    """Holds `Encoder[SensorContent]`: WIDTH numbers, each content alone. Costs values."""

    device: torch.device
    name: str = (
        "sensor/windows@1"  # another number when the numbers above, or below, change
    )
    modality: str = "sensor"
    width: int = WIDTH

    def cost(self, content: SensorContent) -> int:
        return content.values_CT.numel()

    def encode(self, batch: Sequence[SensorContent]) -> Tensor:
        if not batch:
            return torch.empty(0, WIDTH)
        with torch.inference_mode():
            rows = [_row(content, self.device) for content in batch]
            vector_EW = normalize(torch.stack(rows), dim=-1).cpu()
        return vector_EW.clone()  # outside inference mode: a tensor like any other


def _row(content: SensorContent, device: torch.device) -> Tensor:
    values_CT = content.values_CT.to(device).double()
    observed_C = values_CT.isfinite().double().mean(dim=-1)
    filled_CT = filled(values_CT)
    told_CG = torch.cat(
        [of_windows(filled_CT), _of_channels(filled_CT, observed_C, content.rate_hz)],
        dim=-1,
    )
    mean_G, std_G = told_CG.mean(dim=0), told_CG.std(dim=0, correction=0)
    named = torch.stack(
        [
            told_G @ projection(f"sensor/{name}", _G, width=_NAMED, seed=0).to(told_G)
            for name, told_G in zip(content.names, told_CG, strict=True)
        ]
    ).mean(dim=0)
    return torch.cat([mean_G, std_G, named, _together(filled_CT)]).float()


def filled(values_CT: Tensor) -> Tensor:
    """Gaps bridged by straight lines, ends held; a channel has something finite."""
    known_CT = values_CT.isfinite()
    if bool(known_CT.all()):
        return values_CT
    at_T = torch.arange(values_CT.shape[1], device=values_CT.device)
    last = values_CT.shape[1]
    before_CT = torch.where(known_CT, at_T, -1).cummax(dim=-1).values
    after_CT = torch.where(known_CT, at_T, last).flip(-1).cummin(dim=-1).values.flip(-1)
    left_CT = torch.where(before_CT >= 0, before_CT, after_CT)
    right_CT = torch.where(after_CT < last, after_CT, before_CT)
    share_CT = (at_T - left_CT) / (right_CT - left_CT).clamp_min(1)
    low_CT, high_CT = values_CT.gather(-1, left_CT), values_CT.gather(-1, right_CT)
    return low_CT + (high_CT - low_CT) * share_CT


def of_windows(values_CT: Tensor) -> Tensor:
    """C x 2F: the mean and the deviation over a channel's windows."""
    length = min(WINDOW, values_CT.shape[1])
    window_CNL = values_CT.unfold(-1, length, max(1, length // 2))
    told_CNF = torch.cat([_statistics(window_CNL), _bands(_standard(window_CNL))], dim=-1)
    return torch.cat([told_CNF.mean(dim=1), told_CNF.std(dim=1, correction=0)], dim=-1)


def _standard(window_CNL: Tensor) -> Tensor:
    """Without level and scale; a window that stands still is zero."""
    centred_CNL = window_CNL - window_CNL.mean(dim=-1, keepdim=True)
    scale_CN1 = centred_CNL.square().mean(dim=-1, keepdim=True).sqrt()
    floor_CN1 = _TINY * window_CNL.abs().amax(dim=-1, keepdim=True) + 1e-30
    return torch.where(scale_CN1 > floor_CN1, centred_CNL / scale_CN1.clamp_min(1e-30), 0.0)


def _statistics(window_CNL: Tensor) -> Tensor:
    """C x N x 12, each about -1 to 1 for ordinary readings."""
    z_CNL = _standard(window_CNL)
    length = z_CNL.shape[-1]
    step_CNL = z_CNL.diff(dim=-1) if length > 1 else z_CNL
    turn_CNL = step_CNL.diff(dim=-1) if length > 2 else step_CNL
    time_L = torch.linspace(-1, 1, length, device=z_CNL.device, dtype=z_CNL.dtype)
    told = [
        z_CNL.pow(3).mean(dim=-1) / 2,  # skewness
        (z_CNL.pow(4).mean(dim=-1) + _TINY).log() / 2,  # kurtosis
        z_CNL.amax(dim=-1) / 4,
        -z_CNL.amin(dim=-1) / 4,
        z_CNL.median(dim=-1).values,
        (z_CNL.abs() < 0.5).to(z_CNL).mean(dim=-1),
        (z_CNL * time_L).mean(dim=-1),  # trend
        _repeats(z_CNL, 1),
        _repeats(z_CNL, length // 8),
        step_CNL.abs().mean(dim=-1),
        turn_CNL.abs().mean(dim=-1) / 2,
        (step_CNL.sign().diff(dim=-1) != 0).to(z_CNL).sum(dim=-1)
        / length,  # turning points
    ]
    return torch.stack(told, dim=-1)


def _repeats(z_CNL: Tensor, lag: int) -> Tensor:
    """Autocorrelation at a lag."""
    if not 0 < lag < z_CNL.shape[-1]:
        return z_CNL.new_zeros(z_CNL.shape[:-1])
    return (z_CNL[..., lag:] * z_CNL[..., :-lag]).mean(dim=-1)


def _bands(z_CNL: Tensor) -> Tensor:
    """C x N x B: the logarithm of the share of power in each band, about -1 to 1."""
    length = z_CNL.shape[-1]
    taper_L = torch.hann_window(length, periodic=False, device=z_CNL.device).to(z_CNL)
    power_CNK = torch.fft.rfft(z_CNL * taper_L).abs().square()[..., 1:]
    share_CNK = power_CNK / power_CNK.sum(dim=-1, keepdim=True).clamp_min(_TINY)
    bins = share_CNK.shape[-1]
    frequency_K = torch.arange(1, bins + 1, device=z_CNL.device) / max(1, length / 2)
    band_K = (1 - frequency_K.clamp(_LOWEST, 1).log() / math.log(_LOWEST)) * BANDS
    band_K = band_K.long().clamp(0, BANDS - 1)
    share_CNB = z_CNL.new_zeros(*z_CNL.shape[:2], BANDS).index_add(-1, band_K, share_CNK)
    return (share_CNB + 1e-4).log() / 4 + 1


def _of_channels(filled_CT: Tensor, observed_C: Tensor, rate_hz: float) -> Tensor:
    """C x 6: level, spread, what was observed, and how fast and long it was."""
    level_C = filled_CT.mean(dim=-1)
    spread_C = filled_CT.std(dim=-1, correction=0)
    samples = filled_CT.shape[1]
    same = torch.ones_like(level_C)
    told = [
        level_C.asinh() / 5,
        spread_C.asinh() / 5,
        (spread_C > _TINY * level_C.abs()).to(level_C),
        observed_C,
        same * math.log10(rate_hz) / 3,
        same * math.log10(samples / rate_hz) / 5,
    ]
    return torch.stack(told, dim=-1)


def _together(filled_CT: Tensor) -> Tensor:
    """Four numbers of how the channels move together: their correlations."""
    channels, samples = filled_CT.shape
    if channels < 2 or samples < 2:
        return filled_CT.new_zeros(4)
    z_CT = _standard(filled_CT[:, None])[:, 0]
    correlation_CC = z_CT @ z_CT.T / samples
    upper = torch.triu_indices(channels, channels, 1, device=filled_CT.device)
    pair_P = correlation_CC[upper[0], upper[1]]
    return torch.stack(
        [pair_P.mean(), pair_P.std(correction=0), pair_P.amin(), pair_P.amax()]
    )
