"""Sensor readings: three encodings, times that are no grid, and what is refused."""

import io
import json

import numpy as np
import pytest
import torch

from encoders.content import SensorContent
from schemas import MediaRef
from tests.support.clips import npy, readings
from workers.media_decode import decode
from workers.media_limits import MediaError, MediaLimits

NAN = float("nan")


def read(data: bytes, **limits) -> SensorContent:
    return decode(MediaRef(kind="sensor"), data, limits=MediaLimits(**limits))


def refusal(data: bytes, **limits) -> MediaError:
    with pytest.raises(MediaError) as caught:
        read(data, **limits)
    return caught.value


def assert_values(content: SensorContent, expected) -> None:
    torch.testing.assert_close(
        content.values_CT, torch.tensor(expected, dtype=torch.float32), equal_nan=True
    )


@pytest.mark.parametrize(
    "data",
    [
        b"a,b\n1,4\n,5\n3,6\n",
        b"\xef\xbb\xbfa;b\r\n1;4\r\nnan;5\r\n3;6\r\n",
        b'{"channels": {"a": [1, null, 3], "b": [4, 5, 6]}}',
    ],
    ids=["comma", "semicolon", "json"],
)
def test_encodings_say_the_same(data):
    content = read(data)
    assert (content.names, content.rate_hz) == (("a", "b"), 1.0)
    assert_values(content, [[1, NAN, 3], [4, 5, 6]])


def test_an_array_has_numbered_channels():
    content = read(npy(np.arange(6).reshape(2, 3)))
    assert content.names == ("0", "1")
    assert_values(content, [[0, 1, 2], [3, 4, 5]])
    assert read(npy(np.arange(3.0))).values_CT.shape == (1, 3)
    assert read(b"[[1, 2]]").names == ("0",)


@pytest.mark.parametrize(
    ("header", "times"),
    [
        ("time", ["0", "0.5", "1.0"]),
        ("time_ms", ["0", "500", "1000"]),
        ("timestamp", ["1764000000000", "1764000000500", "1764000001000"]),
        ("t", ["2026-01-01T00:00:00", "2026-01-01T00:00:00.5", "2026-01-01T00:00:01"]),
    ],
    ids=["seconds", "milliseconds", "epoch", "iso"],
)
def test_times_give_the_rate(header, times):
    lines = [f"{header},a", *(f"{t},{n}" for n, t in enumerate(times))]
    content = read("\n".join(lines).encode())
    assert content.rate_hz == pytest.approx(2.0)
    assert_values(content, [[0, 1, 2]])


def test_readings_at_odd_times_are_brought_to_one_rate_and_long_gaps_stay():
    data = b"time,a\n0,0\n1,1\n2.1,2.1\n3,3\n10,10\n11,11\n"
    content = read(data)
    assert content.rate_hz == pytest.approx(1.0)
    assert_values(content, [[0, 1, 2, 3, NAN, NAN, NAN, NAN, NAN, NAN, 10, 11]])


def test_channels_without_any_reading_are_left_out():
    content = read(b"a,b\n,1\n,2\n")
    assert content.names == ("b",)
    assert_values(content, [[1, 2]])


@pytest.mark.parametrize(
    ("data", "limits", "reason", "says"),
    [
        (readings(10_000, 1), {}, "too_large", "256 are allowed"),
        (readings(2, 30), {"max_sensor_values": 50}, "too_large", "send a shorter window"),
        (b"time,a\n0,1\n1,2\n2,3\n9e9,3\n", {}, "too_large", "allowed"),
        (b"time,a\n5,1\n4,2\n", {}, "undecodable", "sort the readings"),
        (b"a,b\n1,x\n", {}, "undecodable", "column 'b' is 'x'"),
        (b"a,b\n1\n", {}, "undecodable", "line 2 has 1 cells"),
        (b"a,b\n", {}, "empty", "one reading"),
        (b"", {}, "empty", "one channel"),
        (b"\xff\xfe\x00", {}, "undecodable", "send CSV"),
        (b'{"channels": 3}', {}, "undecodable", "send [["),
        (b'{"channels": {"a": [true]}}', {}, "undecodable", "True is no number"),
        (b'{"channels": {"a": [1]}, "rate_hz": 0}', {}, "undecodable", "rate_hz is 0"),
        (b'{"channels": {"a": [1]}, "rate_hz": "x"}', {}, "undecodable", "number in Hz"),
        (npy(np.ones((2, 2, 2))), {}, "undecodable", "channels x time"),
        (npy(np.array(["a"])), {}, "undecodable", "send numbers"),
        (npy(np.ones((300, 1))), {}, "too_large", "300 channels"),
        (npy(np.full((1, 3), np.nan)), {}, "empty", "send at least one"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_what_is_refused_says_what_to_send(data, limits, reason, says):
    error = refusal(data, **limits)
    assert error.reason == reason
    assert says in str(error)
    assert "field `media`" in str(error)


def test_a_header_that_promises_gigabytes_is_refused_before_anything_is_read():
    stream = io.BytesIO()
    told = {"descr": "<f8", "fortran_order": False, "shape": (200, 10**9)}
    np.lib.format.write_array_header_1_0(stream, told)
    assert refusal(stream.getvalue()).reason == "too_large"


@pytest.mark.parametrize("seed", range(20))
def test_whatever_the_bytes_are_it_is_a_refusal_or_readings(seed):
    generator = np.random.default_rng(seed)
    told = [readings(2, 20), json.dumps([[1, 2, None]]).encode(), npy(np.ones((2, 9)))]
    data = bytearray(told[seed % 3])
    for at in generator.integers(0, len(data), 4):
        data[at] = generator.integers(0, 256)
    try:
        channels = len(read(bytes(data)).values_CT)
    except MediaError:
        channels = 1
    assert channels > 0
