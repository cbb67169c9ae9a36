"""From bytes to channels of readings: CSV, JSON or an .npy array, seen in the bytes.

    text/csv            a header line with the channels' names; a first column named time (or
                        timestamp, t, time_s, time_ms, at_ms) holds seconds, milliseconds or
                        ISO 8601; an empty cell or nan: not measured
    application/json    {"channels": {"temperature": [...]}, "rate_hz": 50}, or [[...], ...]: a
                        list a channel; null: not measured
    application/x-npy   channels x time, or time alone; no pickled objects

Shapes:  C = channels,  T = samples,  N = lines
"""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray

from encoders.content import SensorContent
from workers.media_limits import MediaError, MediaLimits, MediaReason, path

Floats = NDArray[np.float64]
_TIMES = {"time", "timestamp", "t", "time_s", "seconds", "time_ms", "at_ms", "timestamp_ms"}
_NPY = b"\x93NUMPY"
_EPOCH_MS = 1e11  # a larger number without a unit is milliseconds since the epoch
_GAP = 3  # so many steps without a reading are a gap, and not filled
_RATES = (1e-6, 1e6)  # Hz


@dataclass(frozen=True, slots=True)
class _Read:
    """What a file says; times in seconds if it has them, else its rate in Hz."""

    names: tuple[str, ...]
    values_CT: Floats
    times_T: Floats | None = None
    rate_hz: float = 1.0


def decode_sensor(data: bytes, limits: MediaLimits, field: str) -> SensorContent:
    """Channels at one rate, gaps as NaN; channels without any reading are left out. Raises
    MediaError."""
    refuse = _Refuse(data, field)
    if data.startswith(_NPY):
        read = _npy(data, limits, refuse)
    elif data.lstrip()[:1] in (b"{", b"["):
        read = _json(data, limits, refuse)
    else:
        read = _csv(data, limits, refuse)
    if read.times_T is not None:
        read = _evenly(read, limits, refuse)
    if not _RATES[0] <= read.rate_hz <= _RATES[1]:
        raise refuse.of("undecodable", f"rate_hz is {read.rate_hz:g}; send 1e-6 to 1e6")
    values_CT = np.where(np.isfinite(read.values_CT), read.values_CT, np.nan)
    limit = np.finfo(np.float32).max / 4
    values_CT = values_CT.clip(-limit, limit).astype(np.float32)
    told_C = np.asarray(np.isfinite(values_CT).any(axis=1))
    if not told_C.any():
        raise refuse.of("empty", "no reading in it is a number; send at least one")
    names = tuple(read.names[channel] for channel in np.flatnonzero(told_C))
    return SensorContent(torch.from_numpy(values_CT[told_C].copy()), read.rate_hz, names)


@dataclass(frozen=True, slots=True)
class _Refuse:
    """Makes errors that name the field and show how the value begins."""

    data: bytes
    field: str

    def of(self, reason: MediaReason, remedy: str) -> MediaError:
        begins = f"field `{path(self.field)}` begins {self.data[:16]!r}"
        return MediaError(reason, f"{begins}; {remedy}")

    def size(self, channels: int, samples: int, limits: MediaLimits) -> None:
        """Raise where there is more than is taken, before it is read."""
        if channels > limits.max_sensor_channels:
            raise self.of(
                "too_large",
                f"it has {channels} channels, {limits.max_sensor_channels} are allowed; "
                "send fewer, or several readings",
            )
        if channels * samples > limits.max_sensor_values:
            raise self.of(
                "too_large",
                f"it has {channels} x {samples} values, {limits.max_sensor_values} are "
                "allowed; send a shorter window",
            )
        if not channels or not samples:
            raise self.of("empty", "send at least one channel with one reading")


def _npy(data: bytes, limits: MediaLimits, refuse: _Refuse) -> _Read:
    stream = io.BytesIO(data)
    version = np.lib.format.read_magic(stream)
    header = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if header is None:
        raise refuse.of("undecodable", f"npy version {version}; send 1.0 or 2.0")
    shape, _, dtype = header(stream)
    if len(shape) not in (1, 2) or dtype.kind not in "fiu":
        raise refuse.of(
            "undecodable",
            f"an array of {dtype} with {len(shape)} axes; send numbers, channels x time",
        )
    channels = shape[0] if len(shape) == 2 else 1
    refuse.size(channels, shape[-1], limits)
    array = np.load(io.BytesIO(data), allow_pickle=False)
    values_CT = array.reshape(channels, -1).astype(np.float64)
    return _Read(_numbered(channels), values_CT)


def _json(data: bytes, limits: MediaLimits, refuse: _Refuse) -> _Read:
    told: Any = msgspec.json.decode(data)
    rate_hz, times = 1.0, None
    if isinstance(told, dict):
        rate_hz, times = told.get("rate_hz", 1.0), told.get("times_s")
        told = told.get("channels")
    if not _number(rate_hz):
        raise refuse.of("undecodable", f"rate_hz is {rate_hz!r}; send a number in Hz")
    named: Mapping[str, Any] = told if isinstance(told, dict) else {}
    rows = list(named.values()) if named else told
    if not isinstance(rows, list) or not all(isinstance(row, list) for row in rows):
        raise refuse.of("undecodable", 'send [[...], ...] or {"channels": {...}}')
    rows = rows if times is None else [*rows, times]
    lengths = {len(row) for row in rows}
    if len(lengths) > 1:
        raise refuse.of("undecodable", "channels (and times_s) differ in length")
    refuse.size(len(rows) - (times is not None), max(lengths, default=0), limits)
    for row in rows:
        for value in row:
            if value is not None and not _number(value):
                raise refuse.of("undecodable", f"{value!r} is no number; send null")
    matrix = np.array(rows, dtype=np.float64)  # null becomes NaN
    times_T = None if times is None else matrix[-1]
    values_CT = matrix if times is None else matrix[:-1]
    names = tuple(named) or _numbered(len(values_CT))
    return _Read(names, values_CT, times_T, float(rate_hz))


def _csv(data: bytes, limits: MediaLimits, refuse: _Refuse) -> _Read:
    text = data.decode("utf-8-sig")
    first = text.split("\n", 1)[0]
    separator = max(",;\t", key=first.count)
    lines = csv.reader(io.StringIO(text), delimiter=separator)
    header = [name.strip() for name in next(lines, [])]
    timed = bool(header) and header[0].lower() in _TIMES
    refuse.size(len(header) - timed, max(1, text.count("\n")), limits)
    if all(_cell(name) is not None for name in header):
        raise refuse.of(
            "undecodable", "the first line must name the channels, not hold numbers"
        )
    rows_N: list[list[float]] = []
    for number, line in enumerate(lines, start=2):
        if line:
            rows_N.append(_line(line, number, header, timed, refuse))
    refuse.size(len(header) - timed, len(rows_N), limits)
    matrix = np.array(rows_N, dtype=np.float64).T
    if not timed:
        return _Read(tuple(header), matrix)
    times_T = matrix[0]
    if header[0].lower().endswith("_ms") or np.nanmax(np.abs(times_T)) > _EPOCH_MS:
        times_T = times_T / 1000
    return _Read(tuple(header[1:]), matrix[1:], times_T)


def _line(
    line: Sequence[str], number: int, header: Sequence[str], timed: bool, refuse: _Refuse
) -> list[float]:
    if len(line) != len(header):
        raise refuse.of(
            "undecodable",
            f"line {number} has {len(line)} cells, the header {len(header)}; send as many",
        )
    cells = []
    for at, text in enumerate(line):
        value = _time(text) if timed and at == 0 else _cell(text)
        if value is None:
            raise refuse.of(
                "undecodable",
                f"line {number}, column {header[at][:40]!r} is {text[:40]!r}; send a number, "
                "or nothing where nothing was measured",
            )
        cells.append(value)
    return cells


def _cell(text: str) -> float | None:
    text = text.strip()
    if not text:
        return math.nan
    try:
        return float(text)
    except ValueError:
        return None


def _time(text: str) -> float | None:
    seconds = _cell(text)
    if seconds is not None:
        return seconds
    try:
        return datetime.fromisoformat(text.strip()).timestamp()
    except ValueError:
        return None


def _evenly(read: _Read, limits: MediaLimits, refuse: _Refuse) -> _Read:
    """Readings at any times, as readings at one rate: that of their median step. Between two
    that are near it is interpolated; a longer gap stays one."""
    times_T = read.times_T
    assert times_T is not None
    if not np.isfinite(times_T).all() or (np.diff(times_T) < 0).any():
        raise refuse.of("undecodable", "times must be numbers that rise; sort the readings")
    steps = np.diff(times_T)
    steps = steps[steps > 0]
    if not len(steps):
        return _Read(read.names, read.values_CT[:, :1])
    step = float(np.median(steps))
    samples = round((times_T[-1] - times_T[0]) / step) + 1
    refuse.size(len(read.names), samples, limits)
    grid_T = times_T[0] + step * np.arange(samples)
    values_CT = np.full((len(read.names), samples), np.nan)
    for channel, value_T in enumerate(read.values_CT):
        told_T = np.isfinite(value_T)
        if told_T.any():
            values_CT[channel] = _interpolated(
                grid_T, times_T[told_T], value_T[told_T], step
            )
    return _Read(read.names, values_CT, None, 1 / step)


def _interpolated(grid_T: Floats, times_T: Floats, value_T: Floats, step: float) -> Floats:
    filled_T = np.interp(grid_T, times_T, value_T)
    after = np.searchsorted(times_T, grid_T).clip(0, len(times_T) - 1)
    before = (np.searchsorted(times_T, grid_T, side="right") - 1).clip(0)
    near = (
        np.minimum(abs(times_T[after] - grid_T), abs(grid_T - times_T[before])) <= step / 2
    )
    within = times_T[after] - times_T[before] <= _GAP * step
    inside = (grid_T >= times_T[0]) & (grid_T <= times_T[-1])
    return np.where(near | (within & inside), filled_T, np.nan)


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _numbered(channels: int) -> tuple[str, ...]:
    return tuple(str(channel) for channel in range(channels))
