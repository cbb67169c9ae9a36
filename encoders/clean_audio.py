"""Sounds without offset, without silence at the ends; and whether there is anything to hear.

Shapes:  T = samples,  F = frames of 20 ms
"""

import torch
from torch import Tensor

_FRAME_S = 0.02
_MARGIN_S = 0.1
_FULL = 0.999  # of full scale, in a float32 waveform
_RUN = 3  # so many samples at full scale in a row are cut off; fewer are loud


def level_db(waveform_T: Tensor) -> float:
    """The root of the mean square in dB of full scale; -inf for digital silence."""
    mean = float(waveform_T.double().square().mean())
    return 10 * float(torch.tensor(mean, dtype=torch.float64).log10())


def without_offset(waveform_T: Tensor) -> Tensor:
    """The same sound around zero: a constant is not heard, but it is counted as loudness."""
    return waveform_T - waveform_T.double().mean().to(waveform_T.dtype)


def trimmed(waveform_T: Tensor, *, sample_rate: int, quiet_db: float) -> Tensor:
    """Without what is before the first and after the last frame that is less than `quiet_db`
    (a positive number of dB) below the loudest; a tenth of a second is left on either side."""
    frame = max(1, round(_FRAME_S * sample_rate))
    frames = len(waveform_T) // frame
    if frames < 2:
        return waveform_T
    power_F = waveform_T[: frames * frame].view(frames, frame).double().square().mean(dim=1)
    loud = torch.nonzero(power_F >= power_F.max() * 10 ** (-quiet_db / 10)).flatten()
    margin = round(_MARGIN_S * sample_rate)
    begin = max(0, int(loud[0]) * frame - margin)
    end = int(loud[-1]) + 1
    # What is left over at the end is shorter than a frame: it stays with a loud last one.
    until = len(waveform_T) if end == frames else end * frame + margin
    return waveform_T[begin:until]


def clipped_share(waveform_T: Tensor) -> float:
    """Which share of the samples lies in runs at full scale: the recording was too loud."""
    full_T = waveform_T.abs() >= _FULL
    if len(full_T) < _RUN:
        return 0.0
    run_T = full_T.unfold(0, _RUN, 1).all(dim=-1)
    in_run_T = torch.zeros_like(full_T)
    for shift in range(_RUN):
        in_run_T[shift : shift + len(run_T)] |= run_T
    return float(in_run_T.double().mean())
