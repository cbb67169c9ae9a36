"""`rec encoders fit`: a catalogue's words into one file of weights, and the spec that names it.

items.jsonl -> texts, as the encode worker makes and cleans them -> fit -> DIR/model.safetensors
"""

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import torch

from encoders import tf_idf, word2vec
from encoders.clean import clean
from encoders.content import TextContent
from encoders.preparation import Unusable
from encoders.word_file import WordFile, write
from schemas import DecodeError, Item, decode
from workers.config import Config, load_config
from workers.contents import item_text
from workers.embeddings import WIDEST
from workers.terminal import CommandError, Exit, console, say_json

FILE = "model.safetensors"
_WIDTHS = {"tf-idf": 2048, "word2vec": 64}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """What is to be fitted, on what. `width` 0: the method's default."""

    method: str
    items: Path
    out: Path
    width: int = 0
    epochs: int = 40
    seed: int = 0
    as_json: bool = False


def fit_encoder(wanted: Fit) -> int:
    """Writes the file; says its spec, with the hash: another fit is another space."""
    _check(wanted)
    config = load_config(os.environ)
    texts = list(texts_of(wanted.items, config))
    with _progress(f"fitting {wanted.method}", show=not wanted.as_json) as on_progress:
        try:
            fitted = _fitted(wanted, texts, config.encoders.max_tokens, on_progress)
        except ValueError as error:
            raise CommandError(f"{wanted.items}: {error}", Exit.USAGE) from error
    wanted.out.mkdir(parents=True, exist_ok=True)
    file = wanted.out / FILE
    write(fitted, file)
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    spec = f"path:{wanted.out.resolve()}@sha256={sha256}"
    words, size = len(fitted.vocabulary), file.stat().st_size
    if wanted.as_json:
        say_json({"spec": spec, "texts": len(texts), "words": words, "file": str(file)})
        return Exit.DONE
    say = console()
    told = f"{wanted.method} on {len(texts):,} texts: {words:,} words, {size:,} bytes in {file}"
    say.print(told, markup=False, soft_wrap=True)
    say.print("set, for every worker:", markup=False)
    say.print(f"STREAMREC_ENCODERS__TEXT={spec}", markup=False, soft_wrap=True)
    return Exit.DONE


def texts_of(items: Path, config: Config) -> Iterator[str]:
    """What each item of the lines says of itself, cleaned."""
    for item in items_of(items):
        if text := item_text(item):
            yield from _cleaned(text, config)


def items_of(items: Path) -> Iterator[Item]:
    """The items of the lines. Raises CommandError that names a bad line."""
    with items.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                if not line.strip() or not _is_item(line):
                    continue
                item = decode("items", line, "application/json")
            except DecodeError as error:
                raise CommandError(
                    f"{items}, line {number}: {error}", Exit.USAGE
                ) from error
            if isinstance(item, Item):
                yield item


def _cleaned(text: str, config: Config) -> Iterator[str]:
    """The text as the worker cleans it; none where it is refused there too."""
    try:
        content = clean(TextContent(text), config.prepare).content
    except Unusable:
        return
    if isinstance(content, TextContent):
        yield content.text


def _is_item(line: bytes) -> bool:
    try:
        tree = msgspec.json.decode(line)
    except msgspec.DecodeError as error:
        raise DecodeError("unreadable", f"not JSON: {error}; one record a line") from error
    return isinstance(tree, dict) and tree.get("type") == "item"


def _fitted(
    wanted: Fit, texts: list[str], max_tokens: int, on_progress: Callable[[float], None]
) -> WordFile:
    width = wanted.width or _WIDTHS[wanted.method]
    if wanted.method == "tf-idf":
        fitted = tf_idf.fit(texts, width=width, max_tokens=max_tokens)
        on_progress(1.0)
        return fitted
    settings = word2vec.Word2VecSettings(
        width=width, epochs=wanted.epochs, max_tokens=max_tokens
    )
    generator = torch.Generator().manual_seed(wanted.seed)
    return word2vec.fit(
        texts, settings=settings, generator=generator, on_progress=on_progress
    )


def _check(wanted: Fit) -> None:
    if wanted.method not in _WIDTHS:
        raise CommandError(
            f"{wanted.method!r} cannot be fitted; {', '.join(_WIDTHS)} can, and labels",
            Exit.USAGE,
        )
    if not wanted.items.is_file():
        raise CommandError(f"there is no file {wanted.items}", Exit.USAGE)
    if not 0 <= wanted.width <= WIDEST:
        raise CommandError(
            f"--width is 1 to {WIDEST}: a vector travels in one record", Exit.USAGE
        )
    if wanted.epochs < 1 or wanted.seed < 0:
        raise CommandError("--epochs is 1 or more, --seed 0 or more", Exit.USAGE)


@contextmanager
def _progress(what: str, *, show: bool) -> Iterator[Callable[[float], None]]:
    """A function to be told the share that is done; a bar on a terminal."""
    from rich.progress import Progress

    out = console(stderr=True)
    if not show or not out.is_terminal:
        yield lambda _: None
        return
    with Progress(console=out, transient=True) as progress:
        task = progress.add_task(what, total=1.0)
        yield lambda share: progress.update(task, completed=share)
