"""Plots as HTML and SVG text, by hand: one file that opens anywhere, in light and in dark.

Colours are classes of the page's style sheet (`ours`, `other`, `c0`..`c5`), never numbers.
Bars are HTML, so that a phone shows words in full size; curves are SVG.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from evaluation.intervals import Interval

WIDTH, HEIGHT = 440, 300
LEFT, RIGHT, TOP, BOTTOM = 44, 14, 14, 46


@dataclass(frozen=True, slots=True)
class Bar:
    """One row: a name, a mean with its interval, a class of colour, a word in small."""

    name: str
    value: Interval
    kind: str = "other"
    about: str = ""


def bars(rows: Sequence[Bar], *, most: float = 0.0) -> str:
    """Horizontal bars with intervals, numbers at the end. `most`: the scale's end."""
    most = most or max(nice(row.value.high) for row in rows) or 1.0
    return f'<div class="bars">{"".join(_bar(row, most) for row in rows)}</div>'


def _bar(row: Bar, most: float) -> str:
    value = row.value
    if not value.events:
        return (
            f'<div class="row"><span class="name">{escape(row.name)}</span>'
            '<span class="track"></span><span class="num">—</span></div>'
        )

    def share(number: float) -> str:
        return f"{100 * min(max(number / most, 0), 1):.2f}%"

    title = f"{row.name}: {value.mean:.4f} [{value.low:.4f}, {value.high:.4f}], {value.events} events of {value.people} people"
    width = f"{100 * max(min(value.high / most, 1) - max(value.low / most, 0), 0):.2f}%"
    about = f'<span class="about">{escape(row.about)}</span>' if row.about else ""
    return (
        f'<div class="row {row.kind}" title="{escape(title)}">'
        f'<span class="name">{escape(row.name)}{about}</span>'
        f'<span class="track"><span class="fill" style="width:{share(value.mean)}"></span>'
        f'<span class="whisker" style="left:{share(value.low)};width:{width}"></span></span>'
        f'<span class="num">{three(value.mean)}</span></div>'
    )


def three(value: float) -> str:
    """Three decimals without the leading zero, as the field writes shares; — for none."""
    if np.isnan(value):
        return "—"
    return f"{value:.3f}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:.2f}"


@dataclass(frozen=True, slots=True)
class Curve:
    """A line over named steps; NaN or absent steps are gaps. `kind` is a class of colour."""

    name: str
    values: Sequence[Interval | None]
    kind: str


def curves(
    steps: Sequence[str], lines: Sequence[Curve], *, label: str, band: bool = False
) -> str:
    """Lines over steps of equal width, with a legend of their names. `band`: whiskers too."""
    known = [v for line in lines for v in line.values if v is not None and v.events]
    top = nice(max((v.high if band else v.mean for v in known), default=1.0))
    step = (WIDTH - LEFT - RIGHT) / max(len(steps), 1)

    def x(n: float) -> float:
        return LEFT + step * (n + 0.5)

    parts = [_axis_y(top)]
    for n, name in enumerate(steps):
        parts.append(
            f'<text class="tick" x="{x(n):.1f}" y="{HEIGHT - BOTTOM + 17}" '
            f'text-anchor="middle">{escape(name)}</text>'
        )
    parts.append(
        f'<text class="axis" x="{(LEFT + WIDTH - RIGHT) / 2:.0f}" y="{HEIGHT - 8}" '
        f'text-anchor="middle">{escape(label)}</text>'
    )
    # What matters most is drawn last, above the others.
    at = [x(n) for n in range(len(steps))]
    parts += [_curve(line, x=at, top=top, band=band) for line in reversed(lines)]
    key = "".join(f'<span class="{c.kind}"><i></i>{escape(c.name)}</span>' for c in lines)
    return f'{_svg("".join(parts), label)}<div class="legend">{key}</div>'


def _curve(line: Curve, *, x: Sequence[float], top: float, band: bool) -> str:
    parts, path, pen = [], [], "M"
    for at, value in zip(x, line.values, strict=True):
        if value is None or not value.events:
            pen = "M"
            continue
        y = _y(value.mean, top)
        path.append(f"{pen}{at:.1f},{y:.1f}")
        pen = "L"
        if band:
            low, high = _y(value.low, top), _y(value.high, top)
            parts.append(f'<path class="bar" d="M{at:.1f},{low:.1f}V{high:.1f}"/>')
        title = f"{line.name}: {value.mean:.3f} [{value.low:.3f}, {value.high:.3f}], {value.events} events"
        parts.append(
            f'<circle cx="{at:.1f}" cy="{y:.1f}" r="3.5"><title>{escape(title)}</title></circle>'
        )
    return f'<g class="curve {line.kind}"><path d="{"".join(path)}"/>{"".join(parts)}</g>'


@dataclass(frozen=True, slots=True)
class Dot:
    """A point with a name beside it."""

    name: str
    x: float
    y: float
    kind: str = "other"


def dots(points: Sequence[Dot], *, across: str, up: str) -> str:
    """A scatter with names; names that would lie on each other give way downwards."""
    right = nice(max((p.x for p in points), default=1.0))
    top = nice(max((p.y for p in points), default=1.0))
    parts = [_axis_y(top)]
    for share in (0, 0.25, 0.5, 0.75, 1):
        at = LEFT + share * (WIDTH - LEFT - RIGHT)
        parts.append(
            f'<text class="tick" x="{at:.1f}" y="{HEIGHT - BOTTOM + 17}" '
            f'text-anchor="middle">{share * right:.2g}</text>'
        )
    parts.append(
        f'<text class="axis" x="{(LEFT + WIDTH - RIGHT) / 2:.0f}" y="{HEIGHT - 8}" '
        f'text-anchor="middle">{escape(across)}</text>'
    )
    taken: list[tuple[float, float, float]] = []
    for point in sorted(points, key=lambda p: -p.y):
        x = LEFT + point.x / right * (WIDTH - LEFT - RIGHT)
        y = _y(point.y, top)
        parts.append(_dot(point, x=x, y=y, taken=taken))
    return _svg("".join(parts), f"{up} over {across}")


def _dot(point: Dot, *, x: float, y: float, taken: list[tuple[float, float, float]]) -> str:
    width = 6.2 * len(point.name)
    left = x + 8 + width > WIDTH
    start = x - 8 - width if left else x + 8
    at = y + 4
    while any(
        abs(at - other) < 12 and start < end and begin < start + width
        for begin, end, other in taken
    ):
        at += 3
    taken.append((start, start + width, at))
    thread = (
        f'<path class="thread" d="M{x:.1f},{y:.1f}L{x - 6 if left else start - 2:.1f},{at - 4:.1f}"/>'
        if at > y + 8
        else ""
    )
    return (
        f'<g class="dot {point.kind}">{thread}<circle cx="{x:.1f}" cy="{y:.1f}" r="5">'
        f"<title>{escape(point.name)}: {point.y:.3f} at {point.x:.3f}</title></circle>"
        f'<text x="{x - 8 if left else start:.1f}" y="{at:.1f}" '
        f'text-anchor="{"end" if left else "start"}">{escape(point.name)}</text></g>'
    )


def _axis_y(top: float) -> str:
    lines = []
    for share in (0, 0.25, 0.5, 0.75, 1):
        y = _y(share * top, top)
        lines.append(
            f'<path class="grid" d="M{LEFT},{y:.1f}H{WIDTH - RIGHT}"/>'
            f'<text class="tick" x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">'
            f"{share * top:.2g}</text>"
        )
    return "".join(lines)


def _y(value: float, top: float) -> float:
    return TOP + (1 - min(max(value / top, 0), 1)) * (HEIGHT - TOP - BOTTOM)


def _svg(inside: str, label: str) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}">'
        f"{inside}</svg>"
    )


def nice(value: float) -> float:
    """The next round number up: the end of an axis."""
    if np.isnan(value) or value <= 0:
        return 0.0
    scale: float = 10.0 ** np.floor(np.log10(value))
    return next(
        m * scale for m in (1, 1.2, 1.6, 2, 2.4, 3.2, 4, 6, 8, 10) if m * scale >= value
    )


def kinds(names: Sequence[str], focus: str) -> Mapping[str, str]:
    """A class of colour by name: the one in focus stands out, the rest in the given order."""
    others = [name for name in names if name != focus]
    return {focus: "ours", **{name: f"c{n % 6}" for n, name in enumerate(others)}}
