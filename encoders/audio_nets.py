"""Sounds into vectors by nets that are trained on labelled sounds (audio_train.py).

All hear the log-mel spectrogram, 64 bands, a frame each 10 ms, and give 128 numbers:

| architecture | layers | parameters | paper |
| --- | --- | --- | --- |
| log-mel-cnn | four 3 x 3 convolutions (8, 16, 32, 64 channels), each halving time and bands; mean and maximum over time | 90 k | Hershey et al. 2017, "CNN architectures for large-scale audio classification"; Kong et al. 2020, "PANNs" |
| log-mel-lstm | four frames a step, one LSTM of 128; mean over time of its states | 214 k | Hochreiter and Schmidhuber 1997, "Long short-term memory" |
| log-mel-gru | the same with a GRU | 165 k | Cho et al. 2014, "Learning phrase representations using RNN encoder-decoder" |

Sounds of a batch are padded to the longest, and padding changes no row: after each layer what
stands behind a sound's end is set to nothing again.

Shapes:  E = sounds,  F = frames,  M = 64 bands,  K = channels,  D = 128
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool2d, pad, relu
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from encoders.audio import BANDS, at_our_rate, standard_log_mel
from encoders.content import AudioContent
from encoders.encoder import encode_by_cost
from encoders.specs import SpecError, Weights

WIDTH = 128
_CHANNELS = (8, 16, 32, 64)
_STEP = 4  # frames that a recurrent net takes at once
_FEWEST = 16  # frames: shorter sounds are filled up with silence
_FRAMES_A_BATCH = {"cpu": 6_000, "cuda": 200_000}


class ConvolutionalNet(nn.Module):
    """log-mel-cnn."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList()
        inside = 1
        for outside in _CHANNELS:
            convolution = nn.Conv2d(inside, outside, 3, padding=1, bias=False)
            self.layers.append(nn.Sequential(convolution, nn.BatchNorm2d(outside)))
            inside = outside
        left = BANDS // 2 ** len(_CHANNELS)
        self.embed = nn.Linear(2 * inside * left, WIDTH)

    def forward(self, mel_EFM: Tensor, length_E: Tensor) -> Tensor:
        hidden_EKFM = mel_EFM[:, None]
        for layer in self.layers:
            hidden_EKFM = relu(layer(hidden_EKFM)) * inside(hidden_EKFM, length_E)
            hidden_EKFM, length_E = max_pool2d(hidden_EKFM, 2), length_E // 2
            hidden_EKFM = hidden_EKFM * inside(hidden_EKFM, length_E)
        mean_EKM = hidden_EKFM.sum(dim=2) / length_E[:, None, None]
        most_EKM = hidden_EKFM.amax(dim=2)  # never below zero, as what is outside
        told_ED: Tensor = self.embed(torch.cat([mean_EKM, most_EKM], dim=1).flatten(1))
        return told_ED


class RecurrentNet(nn.Module):
    """log-mel-lstm and log-mel-gru, by the kind of cell."""

    def __init__(self, cell: type[nn.LSTM] | type[nn.GRU]) -> None:
        super().__init__()
        self.cell = cell(_STEP * BANDS, WIDTH, batch_first=True)
        self.embed = nn.Linear(WIDTH, WIDTH)

    def forward(self, mel_EFM: Tensor, length_E: Tensor) -> Tensor:
        step_E = length_E // _STEP
        steps = int(step_E.max())
        step_ESM = mel_EFM[:, : steps * _STEP].reshape(len(mel_EFM), steps, -1)
        packed = pack_padded_sequence(
            step_ESM, step_E.cpu(), batch_first=True, enforce_sorted=False
        )
        state_ESD, _ = pad_packed_sequence(self.cell(packed)[0], batch_first=True)
        told_ED: Tensor = self.embed(state_ESD.sum(dim=1) / step_E[:, None])
        return told_ED


def inside(hidden_EKFM: Tensor, length_E: Tensor) -> Tensor:
    """E x 1 x F x 1: one where the sound is, zero behind its end."""
    frame_F = torch.arange(hidden_EKFM.shape[2], device=hidden_EKFM.device)
    return (frame_F < length_E[:, None]).to(hidden_EKFM)[:, None, :, None]


def net(architecture: str) -> nn.Module:
    """The untrained net. Raises SpecError for an unknown one."""
    if architecture == "log-mel-cnn":
        return ConvolutionalNet()
    cells = {"log-mel-lstm": nn.LSTM, "log-mel-gru": nn.GRU}
    if architecture not in cells:
        raise SpecError(
            f"audio architecture {architecture!r}: expected log-mel-cnn, log-mel-lstm or "
            "log-mel-gru"
        )
    return RecurrentNet(cells[architecture])


def heard(content: AudioContent) -> Tensor:
    """F x M: what the nets hear of a sound, on the CPU."""
    mel_FM = standard_log_mel(at_our_rate(content))
    return pad(mel_FM, (0, 0, 0, max(0, _FEWEST - len(mel_FM))))


def together(mels: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """E x F x M with zeros behind the shorter ones, and their lengths."""
    length_E = torch.tensor([len(mel_FM) for mel_FM in mels])
    return nn.utils.rnn.pad_sequence(list(mels), batch_first=True), length_E


@dataclass(frozen=True, slots=True)
class NetEncoder:
    """Holds `Encoder[AudioContent]`; build it by `load_net_encoder`. Costs milliseconds."""

    name: str
    model: nn.Module
    device: torch.device
    dtype: torch.dtype
    width: int = WIDTH
    modality: str = "audio"

    def cost(self, content: AudioContent) -> int:
        return max(1, 1000 * len(content.waveform_T) // content.sample_rate)

    def encode(self, batch: Sequence[AudioContent]) -> Tensor:
        with torch.inference_mode():
            mels = [heard(content) for content in batch]

        def run(rows: list[int]) -> Tensor:
            mel_EFM, length_E = together([mels[row] for row in rows])
            moved = mel_EFM.to(self.device, self.dtype), length_E.to(self.device)
            with torch.inference_mode(), torch.backends.cudnn.flags(allow_tf32=False):
                vector_ED: Tensor = self.model(*moved)
                return vector_ED.float()

        costs = [len(mel_FM) for mel_FM in mels]
        budget = _FRAMES_A_BATCH[self.device.type]
        return encode_by_cost(costs, budget=budget, width=WIDTH, run=run)


def load_net_encoder(
    weights: Weights,
    *,
    architecture: str,
    name: str,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
) -> NetEncoder:
    """The trained net of a file that audio_train.py wrote. Raises SpecError."""
    model = net(architecture)
    tensors = {n: t for n, t in weights.tensors().items() if not n.startswith("head.")}
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise SpecError(
            f"audio weights {weights.file}: no {architecture} of ours"
        ) from error
    model.eval().requires_grad_(False)
    return NetEncoder(name, model.to(device, dtype), device, dtype)
