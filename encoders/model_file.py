"""A model of ours as ONE file: safetensors, with what it is made of as one entry of metadata.

Nothing in such a file is executed. Equal models give equal bytes: with more than one entry the
library writes them in whatever order.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from encoders.specs import SpecError


def write(weights: Mapping[str, Tensor], told: str, file: Path, *, format_name: str) -> str:
    """Write weights and what is told of them; gives the file's sha256."""
    from safetensors.torch import save

    whole = {name: tensor.contiguous() for name, tensor in weights.items()}
    data = save(whole, metadata={format_name: told})
    file.write_bytes(data)
    return hashlib.sha256(data).hexdigest()


def read(
    file: Path, *, what: str, format_name: str, sha256: str | None
) -> tuple[str, dict[str, Tensor]]:
    """What was told, and the weights. Raises SpecError where there is no such file, where it
    is not of this format, or where its sha256 is another."""
    from safetensors import SafetensorError, safe_open
    from safetensors.torch import load

    try:
        data = file.read_bytes()
        with safe_open(file, framework="pt") as opened:
            said = opened.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise SpecError(
            f"{what} {file}: {error}; give the file that training wrote"
        ) from error
    found = hashlib.sha256(data).hexdigest()
    if sha256 is not None and found != sha256:
        raise SpecError(f"{what} {file}: sha256 {found[:12]}…, expected {sha256[:12]}…")
    if format_name not in said:
        raise SpecError(
            f"{what} {file}: its metadata are {sorted(said)}, expected {format_name}; train it "
            "anew"
        )
    return said[format_name], load(data)
