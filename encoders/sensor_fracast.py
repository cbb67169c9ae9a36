"""Sensor readings into vectors: the hidden states of a forecasting model.

Fracast-0 (2026, 85,001 parameters; no paper, its repository is its source): one causal
dilated convolution, shared over a ladder of ten time scales, trained to forecast series of
all kinds. Of its states over the last 2,048 samples two are told: the last, which has seen all
and knows how it goes on, and the mean. Channels are seen one by one, as the model was trained,
and pooled whatever their order: mean and deviation.

Shapes:  R = rows (channels of all contents),  C = channels,  L = 2,048 samples,  D = 64
"""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from encoders.content import SensorContent
from encoders.specs import SpecError, Weights

_ROWS = {"cpu": 8, "cuda": 256}  # channels a batch


@dataclass(frozen=True, slots=True)
class FracastEncoder:
    """Holds `Encoder[SensorContent]`: 4 x D numbers; build it by `load_fracast_encoder`."""

    name: str
    core: nn.Module
    length: int
    width: int
    device: torch.device
    modality: str = "sensor"

    def cost(self, content: SensorContent) -> int:
        return len(content.values_CT) * self.length

    def encode(self, batch: Sequence[SensorContent]) -> Tensor:
        if not batch:
            return torch.empty(0, self.width)
        rows = [self._row(values_T) for content in batch for values_T in content.values_CT]
        state_R2D = torch.cat([self._states(rows[at : at + _ROWS[self.device.type]])
                               for at in range(0, len(rows), _ROWS[self.device.type])])  # fmt: skip
        told = []
        for state_C2D in state_R2D.split([len(content.values_CT) for content in batch]):
            mean, deviation = state_C2D.mean(dim=0), state_C2D.std(dim=0, correction=0)
            told.append(torch.cat([mean, deviation]).flatten())
        return normalize(torch.stack(told), dim=-1)

    def _row(self, values_T: Tensor) -> tuple[Tensor, Tensor]:
        """The last L samples, 0 to 1 between their extremes, and which of them there are;
        what is missing is before."""
        tail_T = values_T[-self.length :].double()
        known_T = tail_T.isfinite()
        low = tail_T[known_T].min() if bool(known_T.any()) else tail_T.new_zeros(())
        high = tail_T[known_T].max() if bool(known_T.any()) else low
        scaled_T = torch.where(known_T, (tail_T - low) / (high - low).clamp_min(1e-5), 0.0)
        value_L = torch.zeros(self.length)
        valid_L = torch.zeros(self.length, dtype=torch.bool)
        value_L[self.length - len(tail_T) :] = scaled_T.float()
        valid_L[self.length - len(tail_T) :] = known_T
        return value_L, valid_L

    def _states(self, rows: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
        """R x 2 x D: the last state and the mean over what was observed."""
        value_R1L = torch.stack([value_L for value_L, _ in rows])[:, None].to(self.device)
        valid_R1L = torch.stack([valid_L for _, valid_L in rows])[:, None].to(self.device)
        with torch.inference_mode(), torch.backends.cudnn.flags(allow_tf32=False):
            state_RLD = self.core(value_R1L, valid_R1L, valid_R1L.float())
            weight_RL1 = valid_R1L[:, 0, :, None].to(state_RLD)
            mean_RD = (state_RLD * weight_RL1).sum(dim=1) / weight_RL1.sum(dim=1).clamp_min(
                1
            )
            told_R2D = torch.stack([state_RLD[:, -1], mean_RD], dim=1)
        return told_R2D.float().cpu().clone()


def load_fracast_encoder(
    weights: Weights, *, name: str, device: torch.device
) -> FracastEncoder:
    """By the package's own code, which is of torch alone. Raises SpecError."""
    try:
        library = importlib.import_module("fracast.inference")
    except ImportError as error:
        raise SpecError("sensor encoder fracast: pip install --no-deps fracast") from error
    try:
        core, _ = library.load_fracast(weights.folder, weights="fp32", device=device)
    except (RuntimeError, KeyError, OSError, ValueError) as error:
        raise SpecError(f"sensor weights {weights.file}: no Fracast ({error})") from error
    core.requires_grad_(False)
    return FracastEncoder(
        name=name, core=core, length=core.W, width=4 * core.d, device=device
    )
