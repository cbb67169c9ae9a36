"""Model files: one safetensors file a model, named by its content, checked before it is used.

    tensors -> bytes -> sha256 -> <name>-<sha256>.safetensors, renamed into place -> card
    card -> bytes by file: or https: -> sha256 -> tensors, dims

Nothing in a file is executed. It is refused as a whole: a model is right or it is not there.
"""

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from torch import Tensor

from schemas import MediaRef, ModelCard
from workers.media import fetch
from workers.media_limits import MediaError, MediaLimits

FORMAT = "streamrec-model-1"
VERSION_CHARS = 12
REASONS: Mapping[str, str] = {
    "not_allowed": "not_allowed",
    "too_large": "too_large",
    "hash_mismatch": "wrong_sha256",
    "unreachable": "unreachable",
    "too_slow": "unreachable",
    "empty": "unreadable",
}


class ModelError(Exception):
    """This model can't be used; `reason` is of the closed set MODEL_REFUSALS in
    metric_table.py, the message says what to do."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """A model that is ready: its card, its tensors by name (`ease.*`, `cf.*`, `tower.*`,
    `blend.*`, `items`), and what its file says of itself."""

    card: ModelCard
    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, str]

    @property
    def version(self) -> str:
        """What lists name in `versions.model`."""
        return self.card.version

    @property
    def encoder(self) -> str:
        """The space whose vectors it learned from; parts that read vectors hold in no other."""
        return self.metadata.get("encoder", "")


def write_model(
    tensors: Mapping[str, Tensor],
    *,
    folder: Path,
    name: str,
    encoder: str,
    width: int,
    at_ms: int,
) -> ModelCard:
    """The model as a file in this folder, there whole or not at all; gives its card. Equal
    tensors give one file and one version."""
    from safetensors.torch import save

    # one entry: several are written in whatever order, and the sha256 would tell them apart
    said = json.dumps({"format": FORMAT, "name": name, "encoder": encoder})
    whole = {key: tensor.contiguous() for key, tensor in tensors.items()}
    data = save(whole, metadata={"streamrec": said})
    items = {"items": len(tensors["items"])} if "items" in tensors else {}
    return keep(
        data,
        folder=folder,
        name=name,
        version="",
        dims={"width": width, **items},
        at_ms=at_ms,
    )


def keep(
    data: bytes, *, folder: Path, name: str, version: str, dims: dict[str, int], at_ms: int
) -> ModelCard:
    """These bytes under a name that is made of their sha256; gives the card. `version` empty:
    the sha256's beginning."""
    sha256 = hashlib.sha256(data).hexdigest()
    folder.mkdir(parents=True, exist_ok=True)
    path = (folder / f"{name}-{sha256}.safetensors").resolve()
    if not path.exists() or path.stat().st_size != len(data):
        half = path.with_suffix(".half")
        with half.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        half.replace(path)
    return ModelCard(
        name=name,
        version=version or sha256[:VERSION_CHARS],
        uri=path.as_uri(),
        sha256=sha256,
        dims=dims,
        at_ms=at_ms,
    )


def load_model(
    card: ModelCard,
    *,
    width: int,
    max_bytes: int,
    allow: Sequence[str] = (),
    wait: Callable[[float], object] | None = None,
) -> Model:
    """The model that a card names, checked. `allow`: prefixes of URIs; empty: every `file:`,
    and `https:` of the card's own host. Raises ModelError."""
    data = read_file(card, max_bytes=max_bytes, allow=allow, wait=wait)
    tensors, metadata = parse(data, card)
    if card.dims.get("width", width) != width:
        raise ModelError(
            "wrong_dims",
            f"model {card.version} has width {card.dims['width']}, this worker {width}; "
            "train with this worker's STREAMREC_ENCODERS__WIDTH",
        )
    items = len(tensors["items"]) if "items" in tensors else 0
    if card.dims.get("items", items) != items:
        raise ModelError(
            "wrong_dims",
            f"model {card.version} has {items} items and its card says "
            f"{card.dims['items']}; publish the file anew",
        )
    return Model(card, tensors, metadata)


def read_file(
    card: ModelCard,
    *,
    max_bytes: int,
    allow: Sequence[str] = (),
    wait: Callable[[float], object] | None = None,
) -> bytes:
    """The bytes of a card's file, as its sha256 says. Raises ModelError."""
    parts = urlsplit(card.uri)
    if parts.scheme not in ("file", "https") or not card.sha256:
        raise ModelError(
            "not_allowed",
            f"uri {card.uri[:80]!r} with sha256 {card.sha256[:12]!r}: publish models as file: "
            "or https:, with their sha256",
        )
    own = "file:///" if parts.scheme == "file" else f"https://{parts.netloc}/"
    limits = MediaLimits(allow=list(allow) or [own], max_bytes=max_bytes, total_s=300.0)
    ref = MediaRef(kind="text", uri=card.uri, sha256=card.sha256)
    try:
        if wait is None:
            return fetch(ref, limits=limits, field="card")
        return fetch(ref, limits=limits, field="card", wait=wait)
    except MediaError as error:
        raise ModelError(REASONS.get(error.reason, "unreadable"), str(error)) from error


def parse(data: bytes, card: ModelCard) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file. Raises ModelError."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        said: dict[str, str] = json.loads(
            header.get("__metadata__", {}).get("streamrec", "{}")
        )
        return load(data), said
    except (SafetensorError, ValueError, AttributeError, KeyError, TypeError) as error:
        raise ModelError(
            "unreadable",
            f"model {card.version} is no safetensors file ({error}); publish it anew",
        ) from error


def path_of(card: ModelCard) -> Path | None:
    """Where a `file:` card's file is on this machine; None for another card."""
    parts = urlsplit(card.uri)
    return Path(unquote(parts.path)) if parts.scheme == "file" else None
