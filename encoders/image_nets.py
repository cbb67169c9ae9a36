"""Pictures into vectors: VGG, ResNet and EfficientNet as torchvision has them.

| architecture | width | paper |
| --- | --- | --- |
| vgg11, vgg13, vgg16, vgg19 (and _bn) | 4096: the last hidden layer | Simonyan and Zisserman 2014, "Very deep convolutional networks" |
| resnet18, resnet34 | 512: the pooled features | He et al. 2015, "Deep residual learning" |
| resnet50, resnet101, resnet152 | 2048: the same | the same |
| efficientnet_b0 | 1280: the same | Tan and Le 2019, "EfficientNet" |

Which of them the weights are is told by `{"architecture": "resnet50"}`, in config.json beside
them or in the metadata of the safetensors file; their names are torchvision's. The last layer,
which names classes, is left out, and need not be there.

Shapes:  E = pictures,  H = W = 224 pixels
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from encoders.content import ImageContent
from encoders.encoder import encode_by_cost
from encoders.image import SIDE, squared
from encoders.specs import SpecError, Weights

ARCHITECTURES = (
    *(f"vgg{depth}{norm}" for depth in (11, 13, 16, 19) for norm in ("", "_bn")),
    *(f"resnet{depth}" for depth in (18, 34, 50, 101, 152)),
    "efficientnet_b0",
)
_PICTURES_A_BATCH = {"cpu": 8, "cuda": 128}
# Of the pictures that all of them were trained with (ImageNet): mean and deviation of R, G, B.
_MEAN = (0.485, 0.456, 0.406)
_DEVIATION = (0.229, 0.224, 0.225)


@dataclass(frozen=True, slots=True)
class NetEncoder:
    """Holds `Encoder[ImageContent]`; build it by `load_net_encoder`. Costs pixels."""

    name: str
    model: nn.Module
    width: int
    device: torch.device
    dtype: torch.dtype
    modality: str = "image"

    def cost(self, content: ImageContent) -> int:
        del content  # of any picture, SIDE x SIDE is what the net sees
        return SIDE * SIDE

    def encode(self, batch: Sequence[ImageContent]) -> Tensor:
        mean_311 = torch.tensor(_MEAN, device=self.device).view(3, 1, 1)
        deviation_311 = torch.tensor(_DEVIATION, device=self.device).view(3, 1, 1)

        def run(rows: list[int]) -> Tensor:
            pixels_E3HW = torch.stack([squared(batch[row].pixels_3HW) for row in rows])
            scaled_E3HW = pixels_E3HW.to(self.device).float() / 255
            input_E3HW = ((scaled_E3HW - mean_311) / deviation_311).to(self.dtype)
            with torch.inference_mode(), torch.backends.cudnn.flags(allow_tf32=False):
                feature_EW: Tensor = self.model(input_E3HW)
                return feature_EW.float()

        costs = [self.cost(content) for content in batch]
        budget = _PICTURES_A_BATCH[self.device.type] * SIDE * SIDE
        return encode_by_cost(costs, budget=budget, width=self.width, run=run)


def load_net_encoder(
    weights: Weights,
    *,
    architecture: str,
    name: str,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
) -> NetEncoder:
    """The net of this architecture with these weights. Raises SpecError."""
    model, width = net(architecture)
    tensors = dict(weights.tensors())
    wanted = model.state_dict().keys()
    try:
        model.load_state_dict({n: t for n, t in tensors.items() if n in wanted})
    except RuntimeError as error:
        told = str(error).splitlines()[1:2]
        raise SpecError(
            f"image weights {weights.file}: no {architecture} of torchvision {told}"
        ) from error
    model.eval().requires_grad_(False)
    return NetEncoder(name, model.to(device, dtype), width, device, dtype)


def net(architecture: str) -> tuple[nn.Module, int]:
    """The untrained net up to the layer before its last, and how wide that is."""
    if architecture not in ARCHITECTURES:
        raise SpecError(
            f"image architecture {architecture!r}: expected one of {', '.join(ARCHITECTURES)}"
        )
    try:
        from torchvision import models
    except ImportError as error:
        raise SpecError(
            f"image architecture {architecture}: pip install 'streamrec[vision]'"
        ) from error
    build: Callable[..., Any] = getattr(models, architecture)
    with torch.random.fork_rng(devices=[]):  # its first weights are drawn, and not wanted
        model = build(weights=None)
    if architecture.startswith("vgg"):
        width = model.classifier[-1].in_features
        model.classifier = nn.Sequential(*list(model.classifier)[:-1])
    elif architecture.startswith("resnet"):
        width, model.fc = model.fc.in_features, nn.Identity()
    else:
        width, model.classifier = model.classifier[-1].in_features, nn.Identity()
    return model, width
