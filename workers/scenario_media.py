"""Pictures, sounds, lectures and sensor windows of the scenarios, made from recipes.

Nothing binary is committed: a recipe (a line of deploy/scenarios/*/media.jsonl) says what is
to be seen, heard or measured, and the same recipe makes the same bytes. What recipes have in
common is in their numbers, what tells them apart is drawn from `seed`: things of one kind
look, sound and move alike, and no two of them are the same.

Shapes:  T = samples
"""

import csv
import io
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from workers.scenario_drawing import Shape, picture, png
from workers.scenario_sound import FLAC, Timbre, flac, voice

Colour = Annotated[str, Meta(pattern="^#[0-9a-f]{6}$")]
File = Annotated[str, Meta(pattern=r"^[a-z0-9-]+\.(png|flac|mp4|csv|npy)$", max_length=80)]
Seed = Annotated[int, Meta(ge=0)]
MINUTES = 10
"""Between two readings of a sensor."""


class Picture(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="make",
              tag="picture"):  # fmt: skip
    """Things of one shape and colour on a ground."""

    file: File
    shape: Shape
    ink: Colour
    ground: Colour
    seed: Seed = 0


class Sound(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="make",
            tag="sound"):  # fmt: skip
    """Somebody who speaks, near enough, with something in the background."""

    file: File
    timbre: Timbre
    seconds: Annotated[float, Meta(gt=0, le=30)] = 3.0
    seed: Seed = 0


class Lecture(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="make",
              tag="lecture"):  # fmt: skip
    """A film in which a shape moves, and somebody speaks."""

    file: File
    shape: Shape
    ink: Colour
    ground: Colour
    timbre: Timbre
    seconds: Annotated[float, Meta(gt=0, le=30)] = 4.0
    seed: Seed = 0


class Channel(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One sensor over days: a level, a swing with its peak at an hour, a hum, bursts, noise."""

    level: float
    swing: float = 0.0
    peak_hour: Annotated[float, Meta(ge=0, lt=24)] = 14.0
    hum: float = 0.0
    hum_samples: Annotated[float, Meta(gt=2)] = 6.0  # its period
    bursts: Annotated[float, Meta(ge=0, le=48)] = 0.0  # a day
    burst: float = 0.0
    noise: Annotated[float, Meta(ge=0)] = 0.0


class Readings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="make",
               tag="readings"):  # fmt: skip
    """Channels by name, a reading every ten minutes; CSV with times, or .npy without."""

    file: File
    channels: dict[str, Channel]
    days: Annotated[float, Meta(gt=0, le=14)] = 2.0
    seed: Seed = 0


Recipe = Picture | Sound | Lecture | Readings
_recipes = msgspec.json.Decoder(Recipe)


def recipe(line: bytes) -> Recipe:
    """The recipe of one line. Raises msgspec.ValidationError that names the field."""
    made: Recipe = _recipes.decode(line)
    return made


def made(of: Recipe) -> bytes:
    """The bytes of the file. The same recipe makes the same bytes on one machine."""
    draw = np.random.default_rng(of.seed)
    if isinstance(of, Picture):
        return png(picture(of.shape, ink=of.ink, ground=of.ground, draw=draw))
    if isinstance(of, Sound):
        return flac(voice(of.timbre, seconds=of.seconds, draw=draw))
    if isinstance(of, Lecture):
        from workers.scenario_film import film

        return film(
            of.shape, ink=of.ink, ground=of.ground, timbre=of.timbre, seconds=of.seconds,
            draw=draw,
        )  # fmt: skip
    return _readings(of, draw)


def write_media(recipes: Iterable[Recipe], folder: Path) -> int:
    """Every file, into the folder; how many."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [(folder / one.file).write_bytes(made(one)) for one in recipes]
    return len(files)


def _readings(of: Readings, draw: np.random.Generator) -> bytes:
    hour_T = np.arange(int(of.days * 24 * 60 / MINUTES)) * MINUTES / 60
    columns = {name: _channel(one, hour_T, draw) for name, one in of.channels.items()}
    if of.file.endswith(".npy"):
        stream = io.BytesIO()
        np.save(stream, np.stack(list(columns.values())).astype("<f4"))
        return stream.getvalue()
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(["time_s", *columns])
    for row, hour in enumerate(hour_T.tolist()):
        lines.writerow([round(hour * 3600), *(f"{c[row]:.3f}" for c in columns.values())])
    return text.getvalue().encode()


def _channel(
    one: Channel, hour_T: NDArray[np.float64], draw: np.random.Generator
) -> NDArray[np.float64]:
    turn_T = math.tau * (hour_T - one.peak_hour - draw.normal(0, 0.3)) / 24
    phase = draw.uniform(0, math.tau)
    values_T = one.level + one.swing * draw.normal(1, 0.05) * np.cos(turn_T)
    values_T += one.hum * np.sin(
        math.tau * np.arange(len(hour_T)) / one.hum_samples + phase
    )
    often = one.bursts * MINUTES / (24 * 60)
    values_T += one.burst * (draw.random(len(hour_T)) < often)
    noisy_T: NDArray[np.float64] = values_T + draw.normal(0, 1, len(hour_T)) * one.noise
    return noisy_T


__all__ = [
    "FLAC",
    "Lecture",
    "Picture",
    "Readings",
    "Recipe",
    "Sound",
    "made",
    "recipe",
    "write_media",
]
