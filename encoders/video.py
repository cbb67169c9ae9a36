"""Videos into vectors: their frames through the image encoder, their sound through the audio
encoder.

The frames' vectors are pooled over time: their mean (Karpathy et al. 2014, "Large-scale video
classification with convolutional neural networks": late fusion), or the mean beside the
maximum of each number (Ng et al. 2015, "Beyond short snippets": max-pooling keeps what is
seen but for a moment). The sound stands beside them with a quarter of the weight; a video
without a sound track has zeros there, and all of its weight in what is seen, so that it is
compared by that alone.

One slot and not two: an upload changes its slot as a whole, and a sound track that came as an
"audio" slot would stay behind when the video is replaced by a silent one.

Shapes:  E = videos,  T = frames,  W = width of the image encoder,  A = of the audio encoder
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize

from encoders.content import AudioContent, ImageContent, VideoContent
from encoders.encoder import Encoder
from encoders.specs import SpecError

Pooling = Literal["mean", "mean+max"]
_HEARD = 0.25  # of the squared length, where something is heard
_WIDEST = 8_192  # numbers of a slot on the wire


@dataclass(frozen=True, slots=True)
class FramesEncoder:
    """Holds `Encoder[VideoContent]`; build it by `frames_encoder`. Costs pixels, as the image
    encoder counts them, of all frames."""

    name: str
    width: int
    image: Encoder[ImageContent]
    audio: Encoder[AudioContent] | None
    pooling: Pooling
    modality: str = "video"

    def cost(self, content: VideoContent) -> int:
        frames = len(content.frames_T3HW)
        return frames * self.image.cost(ImageContent(content.frames_T3HW[0]))

    def encode(self, batch: Sequence[VideoContent]) -> Tensor:
        if not batch:
            return torch.empty(0, self.width)
        seen_EW = self._seen(batch)
        if self.audio is None:
            return normalize(seen_EW, dim=-1)
        heard_EA = torch.zeros(len(batch), self.audio.width)
        sounds = {e: v.sound for e, v in enumerate(batch) if v.sound is not None}
        if sounds:
            heard_EA[list(sounds)] = self.audio.encode(list(sounds.values()))
        share_E1 = heard_EA.square().sum(dim=-1, keepdim=True) * _HEARD
        beside = [seen_EW * (1 - share_E1).sqrt(), heard_EA * share_E1.sqrt()]
        return normalize(torch.cat(beside, dim=-1), dim=-1)

    def _seen(self, batch: Sequence[VideoContent]) -> Tensor:
        frames = [ImageContent(frame) for video in batch for frame in video.frames_T3HW]
        counts = [len(video.frames_T3HW) for video in batch]
        parts = self.image.encode(frames).split(counts)
        mean_EW = normalize(torch.stack([part.mean(dim=0) for part in parts]), dim=-1)
        if self.pooling == "mean":
            return mean_EW
        most_EW = normalize(torch.stack([part.amax(dim=0) for part in parts]), dim=-1)
        return normalize(torch.cat([mean_EW, most_EW], dim=-1), dim=-1)


def frames_encoder(
    image: Encoder[ImageContent], audio: Encoder[AudioContent] | None, pooling: Pooling
) -> FramesEncoder:
    """The encoder over these two; its name is made of theirs. Raises SpecError where the
    vector would be wider than a slot."""
    seen = image.width * (2 if pooling == "mean+max" else 1)
    width = seen + (0 if audio is None else audio.width)
    if width > _WIDEST:
        raise SpecError(
            f"video_pooling {pooling!r} of {image.name} makes {width} numbers, {_WIDEST} are "
            "allowed; use mean, or a narrower image encoder"
        )
    heard = "silent" if audio is None else audio.name
    return FramesEncoder(
        name=f"video/frames-{pooling}+{image.name}+{heard}",
        width=width,
        image=image,
        audio=audio,
        pooling=pooling,
    )
