"""Sensor readings: what is alike is near, gaps do little, and each row is its own."""

import importlib.util

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from encoders.config import EncoderConfig
from encoders.content import SensorContent
from encoders.load import load_encoders, warm_up
from encoders.sensor import WindowsEncoder, filled

CPU = torch.device("cpu")
NONE = EncoderConfig(
    text="none", image="none", audio="none", video="none", sensor="none", device="cpu"
)
FRACAST = pytest.param(
    "package:fracast",
    marks=[
        pytest.mark.models,
        pytest.mark.skipif(
            importlib.util.find_spec("fracast") is None, reason="fracast is not installed"
        ),
    ],
)
SPECS = ["builtin:sensor-windows", FRACAST]


def wave(pitch_hz: float, seed: int, samples: int = 600, names=("x", "y")) -> SensorContent:
    generator = torch.Generator().manual_seed(seed)
    time_s = torch.arange(samples) / 50
    turn = 6.2832 * pitch_hz * time_s
    noise = torch.randn(2, samples, generator=generator)
    return SensorContent(torch.stack([turn.sin(), turn.cos()]) + 0.3 * noise, 50.0, names)


@pytest.fixture(scope="module", params=SPECS)
def encoder(request):
    loaded = load_encoders(msgspec.structs.replace(NONE, sensor=request.param))
    warm_up(loaded)
    return loaded["sensor"]


def test_readings_of_a_kind_are_nearest_to_each_other(encoder):
    batch = [wave(pitch, seed) for pitch in (0.5, 2.0, 8.0) for seed in (0, 1)]
    near = encoder.encode(batch) @ encoder.encode(batch).T
    near.fill_diagonal_(-2)
    right = near.argmax(dim=1) == torch.tensor([1, 0, 3, 2, 5, 4])
    assert int(right.sum()) >= 5  # the forecasting model hears 8 Hz at 50 Hz as noise


def test_a_row_is_a_unit_vector_of_its_own(encoder):
    batch = [wave(1.0, 0), wave(2.0, 1, 9), wave(2.0, 2, 1), wave(3.0, 3, 3_000)]
    together = encoder.encode(batch)
    assert together.shape == (4, encoder.width) == (4, 256)
    torch.testing.assert_close(together.norm(dim=-1), torch.ones(4))
    for content, vector_W in zip(batch, together, strict=True):
        torch.testing.assert_close(
            vector_W, encoder.encode([content])[0], atol=1e-4, rtol=0
        )
    assert encoder.encode([]).shape == (0, 256)


def test_a_gap_moves_the_vector_little(encoder):
    whole = wave(1.0, 0)
    values_CT = whole.values_CT.clone()
    values_CT[0, 100:110] = torch.nan
    values_CT[1, :5] = torch.nan
    a, b = encoder.encode([whole, SensorContent(values_CT, 50.0, whole.names)])
    assert float(a @ b) > 0.95


@pytest.mark.parametrize("value", [0.0, 1e30, -5.0], ids=["zero", "huge", "negative"])
def test_readings_that_stand_still_have_a_vector(encoder, value):
    still = SensorContent(torch.full((1, 200), value), 1.0, ("0",))
    vector_EW = encoder.encode([still])
    assert vector_EW.isfinite().all()
    torch.testing.assert_close(vector_EW.norm(dim=-1), torch.ones(1))


def test_the_order_of_channels_changes_nothing_and_their_names_do():
    encoder = WindowsEncoder(CPU)
    one = wave(1.0, 0, names=("heat", "power"))
    turned = SensorContent(one.values_CT.flip(0), 50.0, ("power", "heat"))
    renamed = SensorContent(one.values_CT, 50.0, ("hum", "light"))
    a, b, c = encoder.encode([one, turned, renamed])
    torch.testing.assert_close(a, b, atol=1e-5, rtol=0)
    assert float(a @ c) < 0.95


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(st.none(), st.floats(-100, 100)), min_size=1, max_size=30))
def test_gaps_are_bridged_as_numpy_interpolates(values):
    series = np.array([np.nan if v is None else v for v in values])
    known = np.isfinite(series)
    if not known.any():
        return
    at = np.arange(len(series))
    expected = np.interp(at, at[known], series[known])
    told = filled(torch.from_numpy(series)[None])[0]
    torch.testing.assert_close(told, torch.from_numpy(expected), atol=1e-4, rtol=1e-5)
