"""What is fitted on a catalogue's words, in one safetensors file: the tensors, and in its
metadata, under "streamrec", JSON with the kind and the vocabulary.

One entry: the library writes several in an order of chance, and the same fit is to be the same
bytes.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from encoders.specs import SpecError, Weights

ENTRY = "streamrec"


@dataclass(frozen=True, slots=True)
class WordFile:
    """`kind` is the method and the version of its format; row w of a tensor is word w's."""

    kind: str
    vocabulary: tuple[str, ...]
    tensors: Mapping[str, Tensor]

    def tensor(self, name: str, rows: int) -> Tensor:
        """The tensor of this name. Raises SpecError if it is missing, has other rows or
        numbers that are none."""
        tensor = self.tensors.get(name)
        if tensor is None or len(tensor) != rows or not bool(tensor.isfinite().all()):
            raise SpecError(
                f"weights of kind {self.kind!r}: {name} is missing or not {rows} rows of finite "
                "numbers; fit them again with `rec encoders fit`"
            )
        return tensor.float()


def write(told: WordFile, file: Path) -> None:
    """Written beside, then moved into place: a reader sees the old file or the new one."""
    from safetensors.torch import save_file

    entry = json.dumps(
        {"kind": told.kind, "vocabulary": told.vocabulary}, ensure_ascii=False
    )
    beside = file.with_suffix(".part")
    save_file(dict(told.tensors), beside, metadata={ENTRY: entry})
    beside.replace(file)


def read(weights: Weights) -> WordFile | None:
    """What a file holds; None if it is another program's. Raises SpecError if it is broken."""
    entry = weights.metadata().get(ENTRY)
    if entry is None:
        return None
    try:
        told = json.loads(entry)
        kind, vocabulary = str(told["kind"]), tuple(map(str, told["vocabulary"]))
    except (ValueError, KeyError, TypeError) as error:
        raise SpecError(
            f"weights in {weights.file}: metadata `{ENTRY}` has no kind and vocabulary; fit "
            "them again with `rec encoders fit`"
        ) from error
    return WordFile(kind, vocabulary, weights.tensors())
