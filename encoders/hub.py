"""Models of a hub, by transformers, from a folder: never a download, never code from a folder,
never a pickle.

    hub_weights -> model_type -> open_model (one tower, checked that no weight is missing)

What is here is shared; hub_text.py, hub_image.py, hub_audio.py and hub_video.py hold the
encoders. The two towers of a joint model (CLIP, SigLIP, CLAP) get names that differ in their
last part only: `same_space` tells that their vectors may be compared.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from encoders.specs import (
    SpecError,
    Weights,
    encoder_name,
    find_place,
    find_weights,
    known_file,
)

Precision = Literal["float32", "bfloat16"]
_PREPROCESSORS = ("preprocessor_config.json", "processor_config.json")
_SHARDS = "model.safetensors.index.json"

# (model_type, modality) -> the joint model's method for that tower
TOWERS: Mapping[tuple[str, str], str] = {
    ("clip", "image"): "get_image_features",
    ("clip", "text"): "get_text_features",
    ("siglip", "image"): "get_image_features",
    ("siglip", "text"): "get_text_features",
    ("clap", "audio"): "get_audio_features",
    ("clap", "text"): "get_text_features",
}
_PARTS = {
    "text": ("text_model", "text_projection"),
    "image": ("vision_model", "visual_projection"),
    "audio": ("audio_model", "audio_projection"),
}
"""The parts of a joint model that are a modality's alone."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A model, how it is asked, and what of its answer is meant."""

    model: Any
    ask: Callable[..., Any]
    output: str

    def __call__(self, **asked: Tensor) -> Tensor:
        """E x W of a tower, E x T x W of another model; float32, where the model is."""
        with torch.inference_mode(), torch.backends.cudnn.flags(allow_tf32=False):
            answer = self.ask(**asked)
            hidden = answer if isinstance(answer, Tensor) else answer[self.output]
            return hidden.float()


def hub_weights(spec: str) -> Weights:
    """As `find_weights`, and of weights in several shards their index, with a digest of all."""
    place = find_place(spec)
    index = place / _SHARDS
    if not index.is_file() or (place / "model.safetensors").is_file():
        return find_weights(spec)
    try:
        shards = sorted(set(json.loads(index.read_text())["weight_map"].values()))
        told = [known_file(spec.partition("@sha256=")[0], place / name) for name in shards]
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise SpecError(f"weights {spec}: {_SHARDS} and its shards do not fit") from error
    digest = hashlib.sha256("".join(shard.digest for shard in told).encode()).hexdigest()
    return Weights(folder=place, file=index, digest=digest[:8])


def config_of(folder: Path) -> dict[str, Any]:
    """What config.json says; nothing where there is none. Raises SpecError for one that is
    broken."""
    file = folder / "config.json"
    if not file.is_file():
        return {}
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise SpecError(f"{file} is no JSON") from error
    return told if isinstance(told, dict) else {}


def model_type(folder: Path) -> str:
    """Which of transformers' models lies there; "" for another."""
    return str(config_of(folder).get("model_type", ""))


def tower_name(modality: str, spec: str, weights: Weights, precision: Precision) -> str:
    """clip/NAME@digest/image beside clip/NAME@digest/text; of other models as of any."""
    kind = model_type(weights.folder)
    if (kind, modality) not in TOWERS:
        return encoder_name(modality, spec, weights.digest, precision=precision)
    return f"{encoder_name(kind, spec, weights.digest, precision=precision)}/{modality}"


def same_space(one: str, other: str) -> bool:
    """Whether vectors of encoders of these names may be compared: of one encoder, or of the
    two towers of one joint model."""
    joint, _, _ = one.rpartition("/")
    return one == other or ("@" in joint and joint == other.rpartition("/")[0])


def open_model(
    weights: Weights, modality: str, *, device: torch.device, precision: Precision
) -> Opened:
    """The model, or of a joint one the tower of this modality. Raises SpecError where a weight
    is missing: transformers would make one up."""
    try:
        model, told = transformers().AutoModel.from_pretrained(
            str(weights.folder),
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            dtype=getattr(torch, precision),
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        raise SpecError(f"weights {weights.file}: {_first_line(error)}") from error
    if missing := sorted(name for name in told["missing_keys"] if not _unused(name)):
        raise SpecError(
            f"weights {weights.file}: lack {', '.join(missing[:3])} of a "
            f"{type(model).__name__}; take the folder of the whole model"
        )
    model.eval().requires_grad_(False)
    method = TOWERS.get((model_type(weights.folder), modality))
    if method is None:
        if getattr(model.config, "is_encoder_decoder", False):
            model = model.get_encoder()
        return Opened(model.to(device), model, "last_hidden_state")
    for other in {name for m, names in _PARTS.items() if m != modality for name in names}:
        if hasattr(model, other):  # half of the memory
            delattr(model, other)
    return Opened(model.to(device), getattr(model, method), "pooler_output")


def open_part(weights: Weights, class_name: str) -> Any:
    """A tokenizer or a preprocessor of the folder. Raises SpecError naming what is missing."""
    prepared = any((weights.folder / name).is_file() for name in _PREPROCESSORS)
    if class_name != "AutoTokenizer" and not prepared:
        raise SpecError(
            f"weights {weights.folder}: a {model_type(weights.folder)!r} with no "
            f"{_PREPROCESSORS[0]} sees and hears nothing; take a model of this modality"
        )
    try:
        return getattr(transformers(), class_name).from_pretrained(
            str(weights.folder), local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError, ImportError, KeyError, TypeError) as error:
        raise SpecError(
            f"weights {weights.folder}: its {class_name.removeprefix('Auto')} cannot be "
            f"read ({_first_line(error)}); take the folder of the whole model"
        ) from error


def transformers() -> Any:
    """The library, quiet. Raises SpecError naming the extra."""
    try:
        import transformers as library
    except ImportError as error:
        raise SpecError("models of a hub: pip install 'streamrec[hub]'") from error
    quiet: Any = library.logging
    quiet.set_verbosity_error()
    quiet.disable_progress_bar()
    return library


def _unused(name: str) -> bool:
    """What checkpoints may leave out: the pooler of a BERT, which we do not ask, and counters."""
    return name.startswith("pooler.") or name.endswith("position_ids")


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0][:300]
