"""`rec encoders fit labels`: a catalogue's categories into label heads, one a slot.

items.jsonl -> texts (without the categories) and pictures, cleaned -> encoders -> heads -> DIR
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from msgspec.structs import replace
from torch import Tensor

from encoders import augment
from encoders.clean import clean
from encoders.content import Content, TextContent
from encoders.label_fit import Fit, FitSettings, Rows, fit_labels
from encoders.load import load_encoders
from encoders.preparation import Unusable
from encoders.specs import SpecError
from schemas import Item
from workers.config import Config, load_config
from workers.contents import item_text
from workers.embeddings import open_endpoint
from workers.encoders_fit import items_of
from workers.media import MediaError, fetch
from workers.media_decode import decode
from workers.terminal import CommandError, Exit, console, say_json

_BATCH = 64
_SLOTS = ("text", "image")


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelFit:
    """On what heads are to be fitted, and where they go. `copies`: of each text, with words left
    out, beside it."""

    items: Path
    out: Path
    copies: int = 0
    seed: int = 0
    as_json: bool = False


def fit_label_heads(wanted: LabelFit) -> int:
    """Writes DIR/SLOT.safetensors for each slot that items have; says the setting for it."""
    config = load_config(os.environ)
    if not wanted.items.is_file():
        raise CommandError(f"there is no file {wanted.items}", Exit.USAGE)
    if wanted.copies < 0 or wanted.seed < 0:
        raise CommandError("--copies and --seed are 0 or more", Exit.USAGE)
    items = [item for item in items_of(wanted.items) if item.categories]
    if not items:
        raise CommandError(f"{wanted.items}: no item in it has categories", Exit.USAGE)
    try:
        fits = fitted(items, config, wanted)
    except (ValueError, SpecError) as error:
        raise CommandError(f"{wanted.items}: {error}", Exit.USAGE) from error
    spec = f"path:{wanted.out.resolve()}"
    if wanted.as_json:
        heads = [
            {"slot": f.head.slot, "labels": f.head.labels, "items": f.items, "loss": f.loss,
             "loss_of_prior": f.loss_of_prior}
            for f in fits
        ]  # fmt: skip
        say_json({"labels": spec, "heads": heads})
        return Exit.DONE
    say = console()
    for f in fits:
        told = (
            f"{f.head.slot}: {len(f.head.labels)} labels of {f.items:,} items; cross-entropy "
            f"{f.loss:.4f} on items held out, {f.loss_of_prior:.4f} by how common they are"
        )
        say.print(told, markup=False, soft_wrap=True)
    say.print("set, for every encode worker:", markup=False)
    say.print(f"STREAMREC_ENCODERS__LABELS={spec}", markup=False, soft_wrap=True)
    return Exit.DONE


def fitted(items: Sequence[Item], config: Config, wanted: LabelFit) -> list[Fit]:
    """Heads of the slots that at least some items have, written to `wanted.out`."""
    encoders = load_encoders(config.encoders, open_endpoint=open_endpoint)
    generator = torch.Generator().manual_seed(wanted.seed)
    slots = {}
    for slot in _SLOTS:
        contents = [_content(item, slot, config) for item in items]
        here = [(n, content) for n, content in enumerate(contents) if content is not None]
        if slot not in encoders or len(here) < 2 * FitSettings().least:
            continue
        if slot == "text":
            here += [
                (n, augment.drop_words(content, generator=generator))
                for _ in range(wanted.copies)
                for n, content in here
                if isinstance(content, TextContent)
            ]
        slots[slot] = Rows(
            _encoded(encoders[slot], [content for _, content in here]),
            [items[n].categories for n, _ in here],
            torch.tensor([n for n, _ in here]),
        )
    if not slots:
        raise ValueError(
            f"fewer than {2 * FitSettings().least} items have a text or a picture"
        )
    names = {slot: encoders[slot].name for slot in slots}
    return fit_labels(slots, encoders=names, out=wanted.out, generator=generator)


def _content(item: Item, slot: str, config: Config) -> Content | None:
    """The item's text without its categories (else the answer stands in the question), or its
    first picture; None where there is none that the worker would encode."""
    try:
        if slot == "text":
            text = item_text(replace(item, categories=[]))
            return clean(TextContent(text), config.prepare).content if text else None
        ref = next((ref for ref in item.media if ref.kind == slot), None)
        if ref is None:
            return None
        data = fetch(ref, limits=config.media)
        return clean(decode(ref, data, limits=config.media), config.prepare).content
    except (MediaError, Unusable):
        return None


def _encoded(encoder: Any, contents: Sequence[Content]) -> Tensor:
    batches = [contents[at : at + _BATCH] for at in range(0, len(contents), _BATCH)]
    return torch.cat([encoder.encode(batch) for batch in batches])
