"""Sounds into vectors: statistics of the log-mel spectrogram; no weights, no training.

For each of 64 mel bands, over time: how loud it is, how much that varies, how fast it
changes, and how much of the change is sudden. A start for cold items; a trained encoder
takes the same place.

Shapes:  T = samples,  F = frames,  M = mel bands,  W = 4 x M
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import normalize

from encoders.content import AudioContent

SAMPLE_RATE = 16_000
BANDS = 64
WIDTH = 4 * BANDS
_WINDOW = 400  # 25 ms
_HOP = 160  # 10 ms
_QUIET = 1e-6

# What log-mel statistics of ordinary recordings (speech, music, animals; at the level below)
# look like: centre at the lowest band, centre at the highest, spread.
_LEVEL = 0.1
_USUAL = (
    (-2.3, -8.4, 3.0),  # mean
    (2.8, 2.8, 1.1),  # deviation
    (1.2, 1.0, 0.26),  # deviation of the change from frame to frame
    (0.86, 0.68, 0.19),  # size of that change
)


@dataclass(frozen=True, slots=True)
class LogMelEncoder:
    """Holds `Encoder[AudioContent]`. Each sound alone: nothing to pad, no neighbours."""

    device: torch.device
    name: str = "audio/log-mel@1"  # another number when the numbers above, or below, change
    modality: str = "audio"
    width: int = WIDTH

    def cost(self, content: AudioContent) -> int:
        return max(1, 1000 * len(content.waveform_T) // content.sample_rate)

    def encode(self, batch: Sequence[AudioContent]) -> Tensor:
        if not batch:
            return torch.empty(0, WIDTH)
        with torch.inference_mode():
            rows = [statistics(at_our_rate(content).to(self.device)) for content in batch]
            vector_EW = normalize(torch.stack(rows), dim=-1).cpu()
        return vector_EW.clone()  # outside inference mode: a tensor like any other


def statistics(waveform_T: Tensor) -> Tensor:
    """The 4 x M statistics, standardised by what is usual; the sound's level is left out."""
    mel_FM = log_mel(waveform_T)
    change_FM = mel_FM.diff(dim=0) if len(mel_FM) > 1 else torch.zeros_like(mel_FM)
    told_4M = torch.stack(
        [
            mel_FM.mean(dim=0),
            mel_FM.std(dim=0, correction=0),
            change_FM.std(dim=0, correction=0),
            change_FM.abs().mean(dim=0),
        ]
    )
    centre_4M, spread_41 = _usual()
    standard_4M = (told_4M - centre_4M.to(told_4M)) / spread_41.to(told_4M)
    return standard_4M.flatten()


def log_mel(waveform_T: Tensor) -> Tensor:
    """F x M, a frame each 10 ms, of a sound at SAMPLE_RATE brought to one level."""
    level = waveform_T.square().mean().sqrt()
    waveform_T = waveform_T * (_LEVEL / (level + _QUIET))
    spectrum_GF = torch.stft(
        waveform_T,
        _WINDOW,
        _HOP,
        window=torch.hann_window(_WINDOW, device=waveform_T.device),
        pad_mode="constant",
        return_complex=True,
    )
    power_FG = spectrum_GF.abs().square().T
    mel_FM: Tensor = (power_FG @ _filters().to(waveform_T.device) + _QUIET).log()
    return mel_FM


def standard_log_mel(waveform_T: Tensor) -> Tensor:
    """The same, each band about -1 to 1: what trainable nets hear."""
    centre_4M, spread_41 = _usual()
    mel_FM = log_mel(waveform_T)
    return (mel_FM - centre_4M[0].to(mel_FM)) / spread_41[0].to(mel_FM)


@lru_cache(maxsize=1)
def _filters() -> Tensor:
    from torchaudio.functional import melscale_fbanks

    filter_GM: Tensor = melscale_fbanks(_WINDOW // 2 + 1, 20.0, 8_000.0, BANDS, SAMPLE_RATE)
    return filter_GM


@lru_cache(maxsize=1)
def _usual() -> tuple[Tensor, Tensor]:
    tilt_M = torch.linspace(0, 1, BANDS)
    centre_4M = torch.stack([low + (high - low) * tilt_M for low, high, _ in _USUAL])
    return centre_4M, torch.tensor([[spread] for _, _, spread in _USUAL])


def at_our_rate(content: AudioContent) -> Tensor:
    """The waveform at SAMPLE_RATE."""
    if content.sample_rate == SAMPLE_RATE:
        return content.waveform_T
    from torchaudio.functional import resample

    waveform_T: Tensor = resample(content.waveform_T, content.sample_rate, SAMPLE_RATE)
    return waveform_T
