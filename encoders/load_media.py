"""Which image, audio, video or sensor encoder a spec asks for. What lies in a folder is told by
its files, never by how it is called.

builtin: by name | package:, path:, hub: by config.json (`model_type`: of transformers;
`architecture`: of torchvision, or ours) or the metadata of the safetensors file
"""

from collections.abc import Mapping
from typing import Any

import torch

from encoders.audio import LogMelEncoder
from encoders.config import EncoderConfig
from encoders.content import AudioContent, ImageContent, SensorContent, VideoContent
from encoders.encoder import Encoder
from encoders.hub import config_of, hub_weights, model_type, tower_name
from encoders.image import load_image_encoder
from encoders.sensor import WindowsEncoder
from encoders.specs import SpecError, Weights, encoder_name, find_weights
from encoders.video import frames_encoder


def load_image(config: EncoderConfig, device: torch.device) -> Encoder[ImageContent]:
    """The image encoder of `config.image`. Raises SpecError."""
    weights = hub_weights(config.image)
    if model_type(weights.folder):
        from encoders.hub_image import load_hub_image

        name = tower_name("image", config.image, weights, config.precision)
        return load_hub_image(weights, name=name, device=device, precision=config.precision)
    name = encoder_name("image", config.image, weights.digest, precision=config.precision)
    dtype = getattr(torch, config.precision)
    if architecture := architecture_of(weights):
        from encoders.image_nets import load_net_encoder

        return load_net_encoder(
            weights, architecture=architecture, name=name, device=device, dtype=dtype
        )
    return load_image_encoder(weights, name=name, device=device, dtype=dtype)


def load_audio(config: EncoderConfig, device: torch.device) -> Encoder[AudioContent]:
    """The audio encoder of `config.audio`. Raises SpecError."""
    if config.audio == "builtin:log-mel":
        return LogMelEncoder(device)
    if ":" not in config.audio or config.audio.startswith("builtin:"):
        raise SpecError(
            f"audio encoder {config.audio!r}: expected builtin:log-mel, package:resemblyzer, "
            "path:DIR, hub:ORG/NAME or none"
        )
    weights = hub_weights(config.audio)
    if model_type(weights.folder):
        from encoders.hub_audio import load_hub_audio

        name = tower_name("audio", config.audio, weights, config.precision)
        return load_hub_audio(weights, name=name, device=device, precision=config.precision)
    name = encoder_name("audio", config.audio, weights.digest, precision=config.precision)
    if architecture := architecture_of(weights):
        from encoders.audio_nets import load_net_encoder

        dtype = getattr(torch, config.precision)
        return load_net_encoder(
            weights, architecture=architecture, name=name, device=device, dtype=dtype
        )
    from encoders.audio_voice import load_voice_encoder

    # Its recurrent net is small: bfloat16 would save nothing.
    name = encoder_name("audio", config.audio, weights.digest)
    return load_voice_encoder(weights, name=name, device=device)


def load_video(
    config: EncoderConfig, device: torch.device, others: Mapping[str, Encoder[Any]]
) -> Encoder[VideoContent] | None:
    """The video encoder of `config.video`; over the image and audio encoders among `others`
    where it is builtin:frames, and none without an image encoder. Raises SpecError."""
    if config.video == "builtin:frames":
        image = others.get("image")
        if image is None:
            return None
        return frames_encoder(image, others.get("audio"), config.video_pooling)
    if ":" not in config.video or config.video.startswith("builtin:"):
        raise SpecError(
            f"video encoder {config.video!r}: expected builtin:frames, path:DIR, "
            "hub:ORG/NAME or none"
        )
    from encoders.hub_image import load_hub_video

    weights = hub_weights(config.video)
    name = encoder_name("video", config.video, weights.digest, precision=config.precision)
    return load_hub_video(weights, name=name, device=device, precision=config.precision)


def load_sensor(config: EncoderConfig, device: torch.device) -> Encoder[SensorContent]:
    """The sensor encoder of `config.sensor`. Raises SpecError."""
    if config.sensor == "builtin:sensor-windows":
        return WindowsEncoder(device)
    if ":" not in config.sensor or config.sensor.startswith("builtin:"):
        raise SpecError(
            f"sensor encoder {config.sensor!r}: expected builtin:sensor-windows, "
            "package:fracast, path:DIR or none"
        )
    from encoders.sensor_fracast import load_fracast_encoder

    weights = find_weights(config.sensor)
    name = encoder_name("sensor", config.sensor, weights.digest)
    return load_fracast_encoder(weights, name=name, device=device)


def architecture_of(weights: Weights) -> str:
    """What config.json beside the weights, or their own metadata, says they are; "" if
    neither does."""
    told = config_of(weights.folder).get("architecture")
    return str(told or weights.metadata().get("architecture", ""))
