"""Readings without outliers and small gaps; channels that are stuck are named.

Shapes:  C = channels,  T = readings in time,  K = readings in a window.  NaN is "no reading".
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

_TO_SIGMA = 1.4826  # of the median absolute deviation, for normal noise
_LEVELS = 8  # a channel of so few values is a switch: a short "on" is no outlier


@dataclass(frozen=True, slots=True)
class Readings:
    """Clean readings. `outlier_CT`: which were replaced; `filled_CT`: which were interpolated;
    `stuck_C`: channels that never change, or have no reading."""

    value_CT: Tensor
    outlier_CT: Tensor
    filled_CT: Tensor
    stuck_C: Tensor


def clean_readings(
    value_CT: Tensor, *, half: int = 3, sigmas: float = 3.0, max_gap: int = 5
) -> Readings:
    """Outliers replaced (`half`, `sigmas`: see `hampel`), gaps of up to `max_gap` readings
    interpolated; longer ones stay NaN. Infinite readings are gaps. dtype and shape are kept."""
    finite_CT = torch.where(value_CT.isfinite(), value_CT, torch.nan)
    smooth_CT, outlier_CT = hampel(finite_CT, half=half, sigmas=sigmas)
    full_CT, filled_CT = fill_gaps(smooth_CT, max_gap=max_gap)
    return Readings(full_CT, outlier_CT, filled_CT, stuck(finite_CT))


def hampel(value_CT: Tensor, *, half: int, sigmas: float) -> tuple[Tensor, Tensor]:
    """Readings further than `sigmas` robust deviations from the median of the 2 x `half` + 1
    around them become that median (Hampel 1974; as a filter: Pearson 2002). Returns the
    readings and which were replaced. Where more than half of a window are one value, its
    deviation is 0 and the channel's own is taken instead; switches are left alone."""
    window_CTK = pad(value_CT, (half, half), value=torch.nan).unfold(1, 2 * half + 1, 1)
    median_CT = window_CTK.nanmedian(dim=-1).values
    spread_CT = (window_CTK - median_CT[:, :, None]).abs().nanmedian(dim=-1).values
    whole_C1 = value_CT.nanmedian(dim=1, keepdim=True).values
    own_C1 = (value_CT - whole_C1).abs().nanmedian(dim=1, keepdim=True).values
    scale_CT = _TO_SIGMA * torch.where(spread_CT > 0, spread_CT, own_C1)
    far_CT = (value_CT - median_CT).abs() > sigmas * scale_CT
    switch_C = torch.tensor([len(c[c.isfinite()].unique()) <= _LEVELS for c in value_CT])
    outlier_CT = far_CT & (scale_CT > 0) & ~switch_C.to(far_CT.device)[:, None]
    return torch.where(outlier_CT, median_CT, value_CT), outlier_CT


def fill_gaps(value_CT: Tensor, *, max_gap: int) -> tuple[Tensor, Tensor]:
    """Runs of at most `max_gap` NaN between two readings interpolated in a straight line; at the
    ends the nearest reading is repeated. Returns the readings and which were filled."""
    full_CT, filled_CT = value_CT.clone(), torch.zeros_like(value_CT, dtype=torch.bool)
    for channel, (row_T, out_T) in enumerate(zip(value_CT, full_CT, strict=True)):
        known = torch.nonzero(row_T.isfinite()).flatten().tolist()
        for before, after in zip([-1, *known], [*known, len(row_T)], strict=True):
            gap = after - before - 1
            if not 0 < gap <= max_gap or not known:
                continue
            left = row_T[before] if before >= 0 else row_T[after]
            right = row_T[after] if after < len(row_T) else row_T[before]
            step_G = torch.arange(1, gap + 1, device=row_T.device) / (gap + 1)
            out_T[before + 1 : after] = left + (right - left) * step_G.to(row_T.dtype)
            filled_CT[channel, before + 1 : after] = True
    return full_CT, filled_CT


def stuck(value_CT: Tensor) -> Tensor:
    """C, bool: whether all readings of a channel are one value, or there are none. (A reading
    alone tells nothing of its channel, and is stuck too.)"""
    low_C = torch.where(value_CT.isnan(), torch.inf, value_CT).amin(dim=1)
    high_C = torch.where(value_CT.isnan(), -torch.inf, value_CT).amax(dim=1)
    return high_C <= low_C
