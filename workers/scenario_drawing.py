"""Pictures of the scenarios: a few things of one shape and colour, drawn with Pillow."""

import io
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

Shape = Literal["disc", "ring", "box", "stripes", "star", "wave", "grid", "tree"]
SIZE = (160, 160)
Place = tuple[float, float, float]  # centre x and y, half the width


def picture(
    shape: Shape,
    *,
    ink: str,
    ground: str,
    draw: np.random.Generator,
    size: tuple[int, int] = SIZE,
    shift: float = 0.0,
) -> "Image":
    """Three to five things of this shape; `shift` moves them to the right, in widths."""
    from PIL import Image, ImageDraw

    image = Image.new("RGB", size, _near(ground, draw))
    pen, colour = ImageDraw.Draw(image), _near(ink, draw)
    for _ in range(int(draw.integers(3, 6))):
        x = (draw.uniform(0.15, 0.85) + shift) % 1.0 * size[0]
        y, half = draw.uniform(0.2, 0.8) * size[1], draw.uniform(0.14, 0.24) * size[1]
        _SHAPES[shape](pen, (x, y, half), colour)
    return image


def png(image: "Image") -> bytes:
    """The picture as a file."""
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def _near(colour: str, draw: np.random.Generator) -> tuple[int, int, int]:
    """This colour, a little off, as two photographs of one thing are."""
    told = [int(colour[at : at + 2], 16) for at in (1, 3, 5)]
    red, green, blue = (int(np.clip(c + draw.normal(0, 8), 0, 255)) for c in told)
    return red, green, blue


def _disc(pen: "ImageDraw", place: Place, ink: tuple[int, int, int]) -> None:
    x, y, r = place
    pen.ellipse((x - r, y - r, x + r, y + r), fill=ink)


def _ring(pen: "ImageDraw", place: Place, ink: tuple[int, int, int]) -> None:
    x, y, r = place
    pen.ellipse((x - r, y - r, x + r, y + r), outline=ink, width=max(2, int(r / 4)))


def _box(pen: "ImageDraw", place: Place, ink: tuple[int, int, int]) -> None:
    x, y, r = place
    pen.rectangle((x - r, y - 0.7 * r, x + r, y + 0.7 * r), fill=ink)
    pen.arc((x + 0.6 * r, y - r / 2, x + 1.5 * r, y + r / 2), 270, 90, fill=ink, width=4)


def _stripes(pen: "ImageDraw", place: Place, ink: tuple[int, int, int]) -> None:
    x, y, r = place
    for step in range(-2, 3):
        at = x + step * r / 2
        pen.line((at, y - r, at + r / 2, y + r), fill=ink, width=max(2, int(r / 7)))


def _star(pen: "ImageDraw", place: Place, ink: tuple[int, int, int]) -> None:
    x, y, r = place
    turns = [(math.pi * n / 5, r if n % 2 == 0 else r / 2.5) for n in range(10)]
    pen.polygon([(x + d * math.sin(a), y - d * math.cos(a)) for a, d in turns], fill=ink)


def _wave(pen: "ImageDraw", place: Place, ink: tuple[int, int, int]) -> None:
    x, y, r = place
    steps = np.linspace(-1, 1, 40)
    points = [(x + 1.6 * r * s, y + r / 2 * math.sin(3 * math.pi * s)) for s in steps]
    pen.line(points, fill=ink, width=max(3, int(r / 5)))


def _grid(pen: "ImageDraw", place: Place, ink: tuple[int, int, int]) -> None:
    x, y, r = place
    for step in np.linspace(-r, r, 5):
        pen.line((x + step, y - r, x + step, y + r), fill=ink, width=2)
        pen.line((x - r, y + step, x + r, y + step), fill=ink, width=2)


def _tree(pen: "ImageDraw", place: Place, ink: tuple[int, int, int]) -> None:
    x, y, r = place
    pen.polygon([(x, y - r), (x - r, y + r / 2), (x + r, y + r / 2)], fill=ink)
    pen.rectangle((x - r / 8, y + r / 2, x + r / 8, y + r), fill="#5d4632")


_SHAPES: Mapping[str, Callable[["ImageDraw", Place, tuple[int, int, int]], None]] = {
    "disc": _disc, "ring": _ring, "box": _box, "stripes": _stripes, "star": _star,
    "wave": _wave, "grid": _grid, "tree": _tree,
}  # fmt: skip
