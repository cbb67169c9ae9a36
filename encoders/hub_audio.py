"""Sounds into vectors by a hub's audio model.

| model | vector | paper |
| --- | --- | --- |
| CLAP | the audio tower's, comparable with its text tower's; mean over pieces of 10 s | Wu et al. 2022, "Large-scale contrastive language-audio pretraining" |
| wav2vec2, HuBERT, WavLM, ... | mean over time of the last layer | Baevski et al. 2020, "wav2vec 2.0" |

The feature extractor of the folder says rate and scale. Sounds are padded with nothing: those
of one length go together, since in many of these models what pads a sound changes it.

Shapes:  E = sounds,  T = samples,  F = frames
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize, pad

from encoders.content import AudioContent
from encoders.hub import Opened, Precision, model_type, open_model, open_part
from encoders.specs import Weights

_SECONDS_A_BATCH = {"cpu": 60, "cuda": 600}
_SHORTEST_S = 0.1  # below it, the convolutions of these models have nothing to say


@dataclass(frozen=True, slots=True)
class HubAudioEncoder:
    """Holds `Encoder[AudioContent]`; build it by `load_hub_audio`. Costs milliseconds."""

    name: str
    width: int
    model: Opened
    extractor: Any
    piece_s: float | None
    device: torch.device
    dtype: torch.dtype
    modality: str = "audio"

    def cost(self, content: AudioContent) -> int:
        return max(1, 1000 * len(content.waveform_T) // content.sample_rate)

    def encode(self, batch: Sequence[AudioContent]) -> Tensor:
        if not batch:
            return torch.empty(0, self.width)
        rate = int(self.extractor.sampling_rate)
        pieces = [self._pieces(at_rate(content, rate), rate) for content in batch]
        flat = [piece_T for of_sound in pieces for piece_T in of_sound]
        feature_PW = torch.zeros(len(flat), self.width)
        alike = defaultdict(list)
        for at, piece_T in enumerate(flat):
            alike[len(piece_T)].append(at)
        for length, rows in alike.items():
            together = max(1, int(_SECONDS_A_BATCH[self.device.type] * rate / length))
            for first in range(0, len(rows), together):
                some = rows[first : first + together]
                feature_PW[some] = self.features(
                    torch.stack([flat[at] for at in some])
                ).cpu()
        counts = [len(of_sound) for of_sound in pieces]
        means = [part.mean(dim=0) for part in normalize(feature_PW, dim=-1).split(counts)]
        return normalize(torch.stack(means), dim=-1)

    def features(self, waveform_ET: Tensor) -> Tensor:
        """E x W as the model gives them, of sounds of one length at the model's rate."""
        told = self.extractor(
            list(waveform_ET.numpy()),
            sampling_rate=int(self.extractor.sampling_rate),
            return_tensors="pt",
        )
        asked = (
            {"input_features": told["input_features"]} if "input_features" in told else {}
        )
        asked = asked or {"input_values": told["input_values"]}
        # The extractor would call one of them longer than it is, by chance.
        longer = {"is_longer": torch.zeros(len(waveform_ET), 1, dtype=torch.bool)}
        asked |= longer if "is_longer" in told else {}
        moved = {
            name: tensor.to(self.device, self.dtype if tensor.is_floating_point() else None)
            for name, tensor in asked.items()
        }
        hidden = self.model(**moved)
        return hidden.mean(dim=1) if hidden.ndim == 3 else hidden

    def _pieces(self, waveform_T: Tensor, rate: int) -> list[Tensor]:
        short = int(_SHORTEST_S * rate) - len(waveform_T)
        waveform_T = pad(waveform_T, (0, max(0, short)))
        if self.piece_s is None:
            return [waveform_T]
        pieces = list(waveform_T.split(int(self.piece_s * rate)))
        told = [p for p in pieces if len(p) >= rate]  # a rest under a second tells little
        return told or pieces[:1]


def at_rate(content: AudioContent, rate: int) -> Tensor:
    """The waveform at this rate."""
    if content.sample_rate == rate:
        return content.waveform_T
    from torchaudio.functional import resample

    waveform_T: Tensor = resample(content.waveform_T, content.sample_rate, rate)
    return waveform_T


def load_hub_audio(
    weights: Weights, *, name: str, device: torch.device, precision: Precision = "float32"
) -> HubAudioEncoder:
    """The audio encoder of a folder of transformers. Raises SpecError."""
    kind = model_type(weights.folder)
    extractor = open_part(weights, "AutoFeatureExtractor")
    encoder = HubAudioEncoder(
        name=name,
        width=0,
        model=open_model(weights, "audio", device=device, precision=precision),
        extractor=extractor,
        piece_s=float(extractor.max_length_s) if kind == "clap" else None,
        device=device,
        dtype=getattr(torch, precision),
    )
    silence_1T = torch.zeros(1, int(extractor.sampling_rate))
    return replace(encoder, width=encoder.features(silence_1T).shape[1])
