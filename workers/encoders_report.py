"""`rec encoders`: which encoders work on this machine, how fast, and how to have the others.

known by name (encoders/known.py) + configured -> loaded one by one, run -> table
"""

import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, is_dataclass
from typing import Any

from msgspec.structs import replace
from rich.markup import escape
from torch import Tensor, nn

from encoders.config import EncoderConfig
from encoders.content import AudioContent, Content, SensorContent, VideoContent
from encoders.encoder import Encoder
from encoders.known import KNOWN, KnownEncoder
from encoders.load import load_encoders, sample
from encoders.specs import SpecError
from workers.config import load_config
from workers.embeddings import EndpointEncoder, open_endpoint
from workers.ports import FatalError, TransientError
from workers.terminal import Exit, console, say_json

MODALITIES = ("text", "image", "audio", "video", "sensor")
_NONE = dict.fromkeys(MODALITIES, "none")
_RATE_S = 0.5  # how long each is run
_BATCH = 16
UNITS = {
    "text": "texts/s",
    "image": "pictures/s",
    "audio": "s of sound/s",
    "video": "s of video/s",
    "sensor": "s of readings/s",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Works:
    """An encoder that can be used now. `rate` in the units of its modality; None: not measured.
    `parameters` None: not known."""

    known: KnownEncoder
    configured: bool
    name: str
    width: int
    parameters: int | None
    device: str
    rate: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """One that cannot be used, and why."""

    known: KnownEncoder
    configured: bool
    why: str


def report(*, rates: bool, as_json: bool) -> int:
    """The table, or one JSON value. Exit code 1: a configured one does not work."""
    config = load_config(os.environ).encoders
    found = [_tried(known, config, rates=rates) for known in asked(config)]
    works = [one for one in found if isinstance(one, Works)]
    missing = [one for one in found if isinstance(one, Missing)]
    if as_json:
        say_json({"works": [*map(_told, works)], "missing": [*map(_told, missing)]})
    else:
        _print(works, missing)
    return Exit.NO if any(one.configured for one in missing) else Exit.DONE


def asked(config: EncoderConfig) -> list[KnownEncoder]:
    """Those that are known, and those that configuration names besides; by modality."""
    specs = {(known.modality, known.spec) for known in KNOWN}
    own = [
        KnownEncoder(
            spec=spec,
            modality=modality,
            what="as configured",
            width=0,
            source="",
            licence="",
        )
        for modality in MODALITIES
        if (spec := getattr(config, modality)) != "none" and (modality, spec) not in specs
    ]
    return sorted([*KNOWN, *own], key=lambda known: MODALITIES.index(known.modality))


def _tried(known: KnownEncoder, config: EncoderConfig, *, rates: bool) -> Works | Missing:
    configured = getattr(config, known.modality) == known.spec
    if known.is_yours:
        return Missing(known=known, configured=False, why="names nothing by itself")
    # frames of a video go through the image encoder, its sound track through the audio encoder
    beside = {"image": config.image, "audio": config.audio}
    specs = {**_NONE, **(beside if known.modality == "video" else {})}
    try:
        encoder = load_encoders(
            replace(config, **{**specs, known.modality: known.spec}),
            open_endpoint=open_endpoint,
        ).get(known.modality)
        if encoder is None:
            return Missing(known=known, configured=configured, why="needs an image encoder")
        rate = rate_of(encoder, during_s=_RATE_S) if rates else None
    except (SpecError, TransientError, FatalError, ImportError) as error:
        return Missing(known=known, configured=configured, why=str(error))
    if isinstance(encoder, EndpointEncoder):
        encoder.close()
    return Works(
        known=known,
        configured=configured,
        name=encoder.name,
        width=encoder.width,
        parameters=parameters_of(encoder),
        device=str(getattr(encoder, "device", "cpu")),
        rate=rate,
    )


def rate_of(encoder: Encoder[Any], *, during_s: float) -> float:
    """Texts, pictures, or seconds of sound, video or readings a second, in batches of the
    sample that warms encoders up; the first batch is not counted."""
    batch = [sample(encoder.modality)] * _BATCH
    encoder.encode(batch)
    began_s, batches = time.perf_counter(), 0
    while (spent_s := time.perf_counter() - began_s) < during_s or not batches:
        encoder.encode(batch)
        batches += 1
    return batches * _BATCH * _amount(batch[0]) / spent_s


def parameters_of(encoder: Encoder[Any]) -> int | None:
    """How many numbers an encoder holds; None where they are somebody else's."""
    if isinstance(encoder, EndpointEncoder):
        return None
    return sum(size for _, size in {(id(part), size) for part, size in _held(encoder)})


def _held(part: Any) -> Iterator[tuple[Any, int]]:
    """Each tensor within, with its size."""
    if isinstance(part, nn.Module):
        yield from ((tensor, tensor.numel()) for tensor in part.parameters())
    elif isinstance(part, Tensor):
        yield part, part.numel()
    elif isinstance(told := getattr(part, "parameters", None), int):
        yield part, told
    elif is_dataclass(part) and not isinstance(part, type):
        for field in fields(part):
            yield from _held(getattr(part, field.name))


def _amount(content: Content) -> float:
    if isinstance(content, AudioContent):
        return len(content.waveform_T) / content.sample_rate
    if isinstance(content, VideoContent):
        return max(1.0, float(content.times_T[-1]))
    if isinstance(content, SensorContent):
        return content.values_CT.shape[1] / content.rate_hz
    return 1.0


def _told(one: Works | Missing) -> dict[str, Any]:
    """As JSON: what is known, and what was found."""
    told = asdict(one)
    known = told.pop("known")
    if isinstance(one, Works):
        told["rate_unit"] = UNITS[one.known.modality]
    return {**known, **told}


def _print(works: list[Works], missing: list[Missing]) -> None:
    from rich.table import Table

    table = Table("", "spec and name", "width", "parameters", "rate here", "device")
    for modality in MODALITIES:
        table.add_section()
        for one in (one for one in works if one.known.modality == modality):
            count = "the provider's" if one.parameters is None else f"{one.parameters:,}"
            rate = "" if one.rate is None else f"{one.rate:,.0f} {UNITS[modality]}"
            table.add_row(
                "*" if one.configured else "",
                f"{escape(one.known.spec)}\n  {escape(one.name)}",
                str(one.width), count, rate, one.device,
            )  # fmt: skip
    out = console()
    out.print(table)
    others = Table(
        "", "to be had", "what it is", "how", title="not here", title_justify="left"
    )
    for other in missing:
        how = other.why if other.configured else other.known.needs or other.why
        others.add_row(
            "*" if other.configured else "",
            f"{other.known.modality}\n  {escape(other.known.spec)}",
            escape(other.known.what),
            escape(how),
        )
    if missing:
        out.print(others)
    out.print("* configured (STREAMREC_ENCODERS__<MODALITY>=spec)", markup=False)
