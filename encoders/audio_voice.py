"""Voices into vectors: the speaker encoder of Resemblyzer (`package:resemblyzer`).

Wan et al. 2017, "Generalized end-to-end loss for speaker verification": three LSTM layers of
256 over the mel spectrogram (40 bands, 25 ms each 10 ms, 16 kHz, no logarithm), the last state
through a linear layer and a ReLU: 256 numbers, none negative. A sound is heard in pieces of
1.6 s, 1.3 of them begun a second, and their mean is told. The package trims silences by a voice
detector before; we do not (encoders/clean_audio.py takes silence out, where that is wanted).

Shapes:  E = sounds,  P = pieces,  F = frames,  M = 40 bands
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize, pad, relu

from encoders.audio import SAMPLE_RATE, at_our_rate
from encoders.content import AudioContent
from encoders.specs import SpecError, Weights

WIDTH = 256
BANDS = 40
_WINDOW, _HOP = 400, 160
_PIECE = 160  # frames
_STEP = 77  # frames: 1.3 pieces are begun a second
_COVERED = 0.75  # of a last piece must be sound, or it is left out
_LEAST_DB = -30.0  # what is quieter is made that loud
_PIECES_A_BATCH = {"cpu": 32, "cuda": 1_024}


class VoiceNet(nn.Module):
    """P x F x M into P x 256 unit rows, under the package's names."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(BANDS, WIDTH, 3, batch_first=True)
        self.linear = nn.Linear(WIDTH, WIDTH)

    def forward(self, mel_PFM: Tensor) -> Tensor:
        _, (state_LPD, _) = self.lstm(mel_PFM)
        return normalize(relu(self.linear(state_LPD[-1])), dim=-1)


@dataclass(frozen=True, slots=True)
class VoiceEncoder:
    """Holds `Encoder[AudioContent]`; build it by `load_voice_encoder`. Costs milliseconds."""

    name: str
    model: nn.Module
    device: torch.device
    width: int = WIDTH
    modality: str = "audio"

    def cost(self, content: AudioContent) -> int:
        return max(1, 1000 * len(content.waveform_T) // content.sample_rate)

    def encode(self, batch: Sequence[AudioContent]) -> Tensor:
        if not batch:
            return torch.empty(0, WIDTH)
        with torch.inference_mode(), torch.backends.cudnn.flags(allow_tf32=False):
            pieces = [pieces_of(at_our_rate(content)) for content in batch]
            size = _PIECES_A_BATCH[self.device.type]
            told = [
                self.model(some.to(self.device)).cpu()
                for some in torch.cat(pieces).split(size)
            ]
            parts = torch.cat(told).split([len(of_sound) for of_sound in pieces])
            vector_EW = normalize(torch.stack([part.mean(dim=0) for part in parts]), dim=-1)
        return vector_EW.clone()  # outside inference mode: a tensor like any other


def pieces_of(waveform_T: Tensor) -> Tensor:
    """P x F x M: the pieces of a sound at 16 kHz, the last one filled up with silence."""
    samples = len(waveform_T)
    frames = math.ceil((samples + 1) / _HOP)
    starts = list(range(0, max(1, frames - _PIECE + _STEP + 1), _STEP))
    covered = (samples - starts[-1] * _HOP) / (_PIECE * _HOP)
    if len(starts) > 1 and covered < _COVERED:
        starts.pop()
    missing = (starts[-1] + _PIECE) * _HOP - samples
    mel_FM = mel(pad(louder(waveform_T), (0, max(0, missing))))
    return torch.stack([mel_FM[start : start + _PIECE] for start in starts])


def louder(waveform_T: Tensor) -> Tensor:
    """At least at the level that the net was trained with; silence as it is."""
    level = waveform_T.square().mean().sqrt()
    wanted = 10 ** (_LEAST_DB / 20)
    return waveform_T * (wanted / level) if 0 < level < wanted else waveform_T


def mel(waveform_T: Tensor) -> Tensor:
    """F x M as librosa's melspectrogram gives it (power, Slaney's scale and norm)."""
    spectrum_GF = torch.stft(
        waveform_T,
        _WINDOW,
        _HOP,
        window=torch.hann_window(_WINDOW),
        pad_mode="constant",
        return_complex=True,
    )
    return spectrum_GF.abs().square().T @ _filters()


@lru_cache(maxsize=1)
def _filters() -> Tensor:
    from torchaudio.functional import melscale_fbanks

    filter_GM: Tensor = melscale_fbanks(
        _WINDOW // 2 + 1, 0.0, SAMPLE_RATE / 2, BANDS, SAMPLE_RATE, "slaney", "slaney"
    )
    return filter_GM


def load_voice_encoder(
    weights: Weights, *, name: str, device: torch.device
) -> VoiceEncoder:
    """The package's weights in our net; nothing of the package is run. Raises SpecError."""
    loaded: Mapping[str, Any] = weights.tensors()
    state = loaded.get("model_state", loaded)
    model = VoiceNet()
    try:
        ours = {n: t for n, t in state.items() if n.partition(".")[0] in ("lstm", "linear")}
        model.load_state_dict(ours)
    except (RuntimeError, AttributeError) as error:
        raise SpecError(
            f"audio weights {weights.file}: no voice encoder, and nothing beside them says what "
            "else they are (config.json: model_type, or architecture)"
        ) from error
    model.eval().requires_grad_(False)
    return VoiceEncoder(name, model.to(device), device)
