"""Pictures into vectors by a hub's image tower or image model, and videos by a VideoMAE.

| model | vector | paper |
| --- | --- | --- |
| CLIP, SigLIP | the image tower's, comparable with the text tower's | Radford et al. 2021, "Learning transferable visual models from natural language supervision"; Zhai et al. 2023, "Sigmoid loss for language image pre-training" |
| ViT, DINOv2, ... | mean over the patches | Dosovitskiy et al. 2020; Oquab et al. 2023 |
| VideoMAE | mean over the patches of its frames (16) | Tong et al. 2022, "VideoMAE" |

Pixels are prepared by the folder's own preprocessor. Width: the model's.

Shapes:  E = pictures or videos,  T = frames,  H, W = pixels,  P = patches
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from encoders.content import ImageContent, VideoContent
from encoders.encoder import encode_by_cost
from encoders.hub import Opened, Precision, model_type, open_model, open_part
from encoders.specs import SpecError, Weights

_PIXELS_A_BATCH = {"cpu": 8 * 224 * 224, "cuda": 512 * 224 * 224}
_SIDE = 224  # what most of them see; the cost is an estimate


@dataclass(frozen=True, slots=True)
class HubImageEncoder:
    """Holds `Encoder[ImageContent]`; build it by `load_hub_image`. Costs pixels."""

    name: str
    width: int
    model: Opened
    processor: Any
    device: torch.device
    dtype: torch.dtype
    modality: str = "image"

    def cost(self, content: ImageContent) -> int:
        del content  # all are brought to one size
        return _SIDE * _SIDE

    def encode(self, batch: Sequence[ImageContent]) -> Tensor:
        return encode_by_cost(
            [_SIDE * _SIDE] * len(batch),
            budget=_PIXELS_A_BATCH[self.device.type],
            width=self.width,
            run=lambda rows: self.features([batch[row] for row in rows]),
        )

    def features(self, batch: Sequence[ImageContent]) -> Tensor:
        """E x W as the model gives them, of a batch that fits."""
        pictures = [content.pixels_3HW for content in batch]
        told = self.processor(images=pictures, return_tensors="pt")
        pixels_E3HW = told["pixel_values"].to(self.device, self.dtype)
        return _row_each(self.model(pixel_values=pixels_E3HW))


@dataclass(frozen=True, slots=True)
class HubVideoEncoder:
    """Holds `Encoder[VideoContent]`; build it by `load_hub_video`. Costs pixels. Sees as many
    frames as it was trained with, evenly from those chosen, some twice where there are fewer:
    evenly chosen ones (media.video_sampling) are nearest to what it knows."""

    name: str
    width: int
    model: Opened
    processor: Any
    frames: int
    device: torch.device
    dtype: torch.dtype
    modality: str = "video"

    def cost(self, content: VideoContent) -> int:
        del content
        return self.frames * _SIDE * _SIDE

    def encode(self, batch: Sequence[VideoContent]) -> Tensor:
        return encode_by_cost(
            [self.cost(content) for content in batch],
            budget=_PIXELS_A_BATCH[self.device.type],
            width=self.width,
            run=lambda rows: self.features([batch[row] for row in rows]),
        )

    def features(self, batch: Sequence[VideoContent]) -> Tensor:
        """E x W as the model gives them, of a batch that fits."""
        videos = [list(self._spread(content.frames_T3HW)) for content in batch]
        told = [self.processor(video, return_tensors="pt") for video in videos]
        pixels_ET3HW = torch.cat([one["pixel_values"] for one in told])
        pixels_ET3HW = pixels_ET3HW.to(self.device, self.dtype)
        return _row_each(self.model(pixel_values=pixels_ET3HW))

    def _spread(self, frames_T3HW: Tensor) -> Tensor:
        have = len(frames_T3HW)
        at_T = (torch.arange(self.frames) + 0.5) * have / self.frames
        return frames_T3HW[at_T.long()]


def load_hub_image(
    weights: Weights, *, name: str, device: torch.device, precision: Precision = "float32"
) -> HubImageEncoder:
    """The image encoder of a folder of transformers. Raises SpecError."""
    processor = open_part(weights, "AutoImageProcessor")
    encoder = HubImageEncoder(
        name=name,
        width=0,
        model=open_model(weights, "image", device=device, precision=precision),
        processor=processor,
        device=device,
        dtype=getattr(torch, precision),
    )
    grey = ImageContent(torch.full((3, 64, 64), 127, dtype=torch.uint8))
    return replace(encoder, width=encoder.features([grey]).shape[1])


def load_hub_video(
    weights: Weights, *, name: str, device: torch.device, precision: Precision = "float32"
) -> HubVideoEncoder:
    """The VideoMAE of a folder of transformers. Raises SpecError."""
    if (kind := model_type(weights.folder)) != "videomae":
        raise SpecError(
            f"video weights {weights.file}: model_type {kind!r}; expected a VideoMAE, or "
            "builtin:frames over an image encoder"
        )
    opened = open_model(weights, "video", device=device, precision=precision)
    encoder = HubVideoEncoder(
        name=name,
        width=0,
        model=opened,
        processor=open_part(weights, "AutoImageProcessor"),
        frames=int(opened.model.config.num_frames),
        device=device,
        dtype=getattr(torch, precision),
    )
    grey = VideoContent(torch.full((1, 3, 64, 64), 127, dtype=torch.uint8), torch.zeros(1))
    return replace(encoder, width=encoder.features([grey]).shape[1])


def _row_each(hidden: Tensor) -> Tensor:
    """E x W: of patches their mean."""
    return hidden.mean(dim=1) if hidden.ndim == 3 else hidden
