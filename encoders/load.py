"""The encoders that configuration asks for, by modality, warm and ready."""

from collections.abc import Mapping
from typing import Any

import torch

from encoders.config import EncoderConfig
from encoders.content import (
    AudioContent,
    Content,
    ImageContent,
    SensorContent,
    TextContent,
    VideoContent,
)
from encoders.encoder import Encoder
from encoders.load_media import load_audio, load_image, load_sensor, load_video
from encoders.load_text import OpenEndpoint, load_text
from encoders.specs import SpecError

Encoders = Mapping[str, Encoder[Any]]


def load_encoders(
    config: EncoderConfig, *, open_endpoint: OpenEndpoint | None = None
) -> dict[str, Encoder[Any]]:
    """One encoder a modality; a modality whose spec is "none" has none. Raises SpecError.

    `open_endpoint`: makes the encoder of an `endpoint:` spec, which takes a network, and this
    room has none; without it such a spec is refused.
    Sets how many threads torch takes for one operation, for the whole process.
    """
    if config.threads:
        torch.set_num_threads(config.threads)
    device = _device(config.device)
    encoders: dict[str, Encoder[Any]] = {}
    if config.text != "none":
        encoders["text"] = load_text(
            config.text, config=config, device=device, open_endpoint=open_endpoint
        )
    if config.image != "none":
        encoders["image"] = load_image(config, device)
    if config.audio != "none":
        encoders["audio"] = load_audio(config, device)
    if config.video != "none" and (video := load_video(config, device, encoders)):
        encoders["video"] = video
    if config.sensor != "none":
        encoders["sensor"] = load_sensor(config, device)
    return encoders


def warm_up(encoders: Encoders) -> None:
    """Run each once, so that the first record does not wait for lazy imports and kernels."""
    for modality, encoder in encoders.items():
        encoder.encode([_SAMPLES[modality]])


def sample(modality: str) -> Content:
    """Something short of this modality: what an encoder is warmed up with."""
    return _SAMPLES[modality]


_SAMPLES: Mapping[str, Content] = {
    "text": TextContent("A quiet film about a long journey."),
    "image": ImageContent(torch.full((3, 64, 64), 127, dtype=torch.uint8)),
    "audio": AudioContent(torch.sin(torch.arange(16_000) / 10), 16_000),
    "video": VideoContent(
        torch.full((2, 3, 64, 64), 127, dtype=torch.uint8),
        torch.tensor([0.0, 1.0]),
        AudioContent(torch.sin(torch.arange(16_000) / 10), 16_000),
    ),
    "sensor": SensorContent(torch.sin(torch.arange(512) / 10)[None], 50.0, ("0",)),
}


def _device(wanted: str) -> torch.device:
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if wanted == "cuda" and not torch.cuda.is_available():
        raise SpecError("device cuda: torch sees none; use auto or cpu")
    return torch.device(wanted)
