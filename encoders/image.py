"""Pictures into vectors: EfficientNet-Lite0, in plain torch (torchvision takes 8 s to import).

The pooled features of such a net are never negative, so any two pictures would look alike by
their cosine. They are centred by what the weights themselves say of the average picture: the
last batch norm knows each channel's mean and spread.

Shapes:  E = pictures,  C = channels,  H, W = height and width in pixels
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, interpolate, pad
from torch.nn.utils.fusion import fuse_conv_bn_eval

from encoders.content import ImageContent
from encoders.encoder import encode_by_cost
from encoders.specs import SpecError, Weights

WIDTH = 1280
SIDE = 224
_PICTURES_A_BATCH = {"cpu": 8, "cuda": 128}  # a CPU's caches hold no more: 16 are slower

# repeats, kernel, stride, expansion, channels in, channels out
_STAGES = (
    (1, 3, 1, 1, 32, 16),
    (2, 3, 2, 6, 16, 24),
    (2, 5, 2, 6, 24, 40),
    (3, 3, 2, 6, 40, 80),
    (3, 5, 1, 6, 80, 112),
    (4, 5, 2, 6, 112, 192),
    (1, 3, 1, 6, 192, 320),
)


@dataclass(frozen=True, slots=True)
class ImageEncoder:
    """Holds `Encoder[ImageContent]`; build it by `load_image_encoder`."""

    name: str
    model: "LiteNet"
    average_C: Tensor
    device: torch.device
    dtype: torch.dtype = torch.float32
    width: int = WIDTH
    modality: str = "image"

    def cost(self, content: ImageContent) -> int:
        del content  # of any picture, SIDE x SIDE is what the net sees
        return SIDE * SIDE

    def encode(self, batch: Sequence[ImageContent]) -> Tensor:
        def run(rows: list[int]) -> Tensor:
            pixels_ECHW = torch.stack([squared(batch[row].pixels_3HW) for row in rows])
            pixels_ECHW = pixels_ECHW.to(self.device, memory_format=torch.channels_last)
            with torch.inference_mode(), torch.backends.cudnn.flags(allow_tf32=False):
                scaled_ECHW = ((pixels_ECHW.float() - 127.0) / 128.0).to(self.dtype)
                feature_EC: Tensor = self.model(scaled_ECHW)
                return feature_EC.float() - self.average_C

        costs = [self.cost(content) for content in batch]
        budget = _PICTURES_A_BATCH[self.device.type] * SIDE * SIDE
        return encode_by_cost(costs, budget=budget, width=WIDTH, run=run)


def squared(pixels_3HW: Tensor) -> Tensor:
    """The whole picture as SIDE x SIDE, uint8: what is squeezed is still seen, what is cut not."""
    if pixels_3HW.shape[-2:] == (SIDE, SIDE):
        return pixels_3HW
    return interpolate(pixels_3HW[None], (SIDE, SIDE), mode="bilinear", antialias=True)[0]


class Same(nn.Conv2d):
    """A convolution padded as TensorFlow pads: an odd pixel goes right and below."""

    def forward(self, hidden_ECHW: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        high, wide = (
            max(kernel - (n % stride or stride), 0) for n in hidden_ECHW.shape[-2:]
        )
        if wide % 2 or high % 2:
            hidden_ECHW = pad(hidden_ECHW, (0, wide % 2, 0, high % 2))
        return conv2d(
            hidden_ECHW,
            self.weight,
            self.bias,
            self.stride,
            (high // 2, wide // 2),
            1,
            self.groups,
        )


class Block(nn.Module):
    """Inverted residual: widen, look around, narrow; no squeeze-and-excite in the Lite nets."""

    def __init__(
        self, *, kernel: int, stride: int, expansion: int, inside: int, outside: int
    ) -> None:
        super().__init__()
        middle = inside * expansion
        self.residual = stride == 1 and inside == outside
        self.expand = _conv(inside, middle, 1) if expansion > 1 else nn.Identity()
        self.depthwise = _conv(middle, middle, kernel, stride=stride, groups=middle)
        self.project = _conv(middle, outside, 1, active=False)

    def forward(self, hidden_ECHW: Tensor) -> Tensor:
        output_ECHW: Tensor = self.project(self.depthwise(self.expand(hidden_ECHW)))
        return output_ECHW + hidden_ECHW if self.residual else output_ECHW


class LiteNet(nn.Module):
    """EfficientNet-Lite0 up to its pooled features."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = _conv(3, 32, 3, stride=2)
        self.blocks = nn.ModuleList()
        for repeats, kernel, stride, expansion, inside, outside in _STAGES:
            for repeat in range(repeats):
                block = Block(
                    kernel=kernel,
                    stride=1 if repeat else stride,
                    expansion=expansion,
                    inside=outside if repeat else inside,
                    outside=outside,
                )
                self.blocks.append(block)
        self.head = _conv(320, WIDTH, 1)

    def forward(self, pixels_ECHW: Tensor) -> Tensor:
        hidden_ECHW = self.stem(pixels_ECHW)
        for block in self.blocks:
            hidden_ECHW = block(hidden_ECHW)
        pooled_EC: Tensor = self.head(hidden_ECHW).mean(dim=(2, 3))
        return pooled_EC


def _conv(
    inside: int,
    outside: int,
    kernel: int,
    *,
    stride: int = 1,
    groups: int = 1,
    active: bool = True,
) -> nn.Sequential:
    parts = [
        Same(inside, outside, kernel, stride=stride, groups=groups, bias=False),
        nn.BatchNorm2d(outside, eps=1e-3),
    ]
    return nn.Sequential(*parts, *([nn.ReLU6()] if active else []))


def load_image_encoder(
    weights: Weights,
    *,
    name: str,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
) -> ImageEncoder:
    model = LiteNet()
    try:
        ours = from_efficientnet_pytorch(weights.tensors())
        model.load_state_dict(ours)
    except (RuntimeError, KeyError, ValueError) as error:
        raise SpecError(
            f"image weights {weights.file}: not an EfficientNet-Lite0"
        ) from error
    model.eval().requires_grad_(False)
    # A batch norm gives N(bias, weight^2) on the pictures that it was trained with.
    average_C = average_activation(ours["head.1.bias"], ours["head.1.weight"])
    for module in [model, *model.blocks]:
        _fold_batch_norms(module)
    return ImageEncoder(
        name=name,
        model=model.to(device, dtype).to(memory_format=torch.channels_last),
        average_C=average_C.to(device),
        device=device,
        dtype=dtype,
    )


def from_efficientnet_pytorch(theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A checkpoint of lukemelas/EfficientNet-PyTorch under the names of `LiteNet`."""
    parts = {
        "_conv_stem": "stem.0",
        "_bn0": "stem.1",
        "_conv_head": "head.0",
        "_bn1": "head.1",
    }
    ours = {}
    for name, tensor in theirs.items():
        if name.startswith("_fc."):
            continue
        if name.startswith("_blocks."):
            _, number, part, rest = name.split(".", 3)
            ours[f"blocks.{number}.{_BLOCK_PARTS[part]}.{rest}"] = tensor
        else:
            part, rest = name.split(".", 1)
            ours[f"{parts[part]}.{rest}"] = tensor
    return ours


_BLOCK_PARTS = {
    "_expand_conv": "expand.0",
    "_bn0": "expand.1",
    "_depthwise_conv": "depthwise.0",
    "_bn1": "depthwise.1",
    "_project_conv": "project.0",
    "_bn2": "project.1",
}


def average_activation(mean_C: Tensor, spread_C: Tensor) -> Tensor:
    """What ReLU6 gives on average of N(mean, spread^2)."""
    spread_C = spread_C.abs().clamp_min(1e-6)

    def above(level: float) -> Tensor:  # E[max(x - level, 0)]
        z_C = (mean_C - level) / spread_C
        density_C = torch.exp(-z_C.square() / 2) / math.sqrt(2 * math.pi)
        above_C: Tensor = spread_C * (z_C * torch.special.ndtr(z_C) + density_C)
        return above_C

    return above(0.0) - above(6.0)


def _fold_batch_norms(module: nn.Module) -> None:
    """Each convolution takes its batch norm in: the same function, a third less work."""
    for name, part in module.named_children():
        if isinstance(part, nn.Sequential):
            conv, norm, *rest = part
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(module, name, nn.Sequential(fuse_conv_bn_eval(conv, norm), *rest))
