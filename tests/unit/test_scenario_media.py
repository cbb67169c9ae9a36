"""Media that are made: the same from the same recipe, and alike where they mean the same."""

from __future__ import annotations

import pytest
import torch

from encoders.audio import LogMelEncoder
from encoders.sensor import WindowsEncoder
from schemas import MediaRef
from workers.media_decode import decode
from workers.media_limits import MediaLimits
from workers.scenario_media import (
    Channel,
    Lecture,
    Picture,
    Readings,
    Recipe,
    Sound,
    made,
    recipe,
    write_media,
)
from workers.scenario_sound import Timbre

LOW = Timbre(pitch_hz=100, formants_hz=[450, 900], noise=0.4, noise_hz=400)
HIGH = Timbre(pitch_hz=240, formants_hz=[800, 2200], noise=0.1, noise_hz=4000)
DAY = {"lux": Channel(level=40, swing=38, noise=2), "motion": Channel(level=0, bursts=9)}
HUM = {"power": Channel(level=400, hum=120, noise=30), "shake": Channel(level=0, hum=2)}


def each(seed: int) -> dict[str, Recipe]:
    return {
        "image": Picture(
            file="a.png", shape="ring", ink="#c9a227", ground="#2b2d42", seed=seed
        ),
        "audio": Sound(file="a.flac", timbre=LOW, seconds=1.5, seed=seed),
        "video": Lecture(
            file="a.mp4", shape="wave", ink="#9d174d", ground="#fdf2f8", timbre=HIGH,
            seconds=1.0, seed=seed,
        ),
        "sensor": Readings(file="a.csv", channels=DAY, seed=seed),
    }  # fmt: skip


KINDS = sorted(each(0))


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_makes_the_same_bytes_and_another_makes_others(kind: str):
    first, again, other = (made(each(seed)[kind]) for seed in (7, 7, 8))
    assert first == again
    assert first != other


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_made_is_read_by_the_encode_workers_own_decoders(kind: str):
    content = decode(MediaRef(kind=kind), made(each(1)[kind]), limits=MediaLimits())
    assert content is not None


def test_readings_without_times_are_the_same_as_an_array():
    array = Readings(file="a.npy", channels=DAY, seed=3)
    content = decode(MediaRef(kind="sensor"), made(array), limits=MediaLimits())
    assert content.values_CT.shape == (2, 288)


def test_voices_of_one_timbre_are_nearer_than_those_of_two():
    encoder = LogMelEncoder(torch.device("cpu"))
    sounds = [Sound(file="a.flac", timbre=t, seed=n) for t in (LOW, HIGH) for n in (1, 2)]
    contents = [
        decode(MediaRef(kind="audio"), made(s), limits=MediaLimits()) for s in sounds
    ]
    vector_EW = encoder.encode(contents)
    likeness = vector_EW @ vector_EW.T
    assert min(likeness[0, 1], likeness[2, 3]) > likeness[:2, 2:].max() + 0.2


def test_readings_of_one_situation_are_nearer_than_those_of_two():
    encoder = WindowsEncoder(torch.device("cpu"))
    some = [Readings(file="a.csv", channels=c, seed=n) for c in (DAY, HUM) for n in (1, 2)]
    contents = [
        decode(MediaRef(kind="sensor"), made(s), limits=MediaLimits()) for s in some
    ]
    vector_EW = encoder.encode(contents)
    likeness = vector_EW @ vector_EW.T
    assert min(likeness[0, 1], likeness[2, 3]) > likeness[:2, 2:].max() + 0.2


def test_every_file_is_written_under_its_name(tmp_path):
    assert write_media(each(1).values(), tmp_path / "media") == 4
    assert sorted(p.name for p in (tmp_path / "media").iterdir()) == [
        "a.csv", "a.flac", "a.mp4", "a.png",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("line", "field"),
    [
        (b'{"make":"sound","file":"../a.flac","timbre":{}}', "file"),
        (
            b'{"make":"picture","file":"a.png","shape":"cat","ink":"#000000","ground":"#000000"}',
            "shape",
        ),
        (b'{"make":"readings","file":"a.csv","channels":{},"day":1}', "day"),
    ],
    ids=["a path", "a shape", "a field"],
)
def test_a_recipe_that_is_none_is_refused_by_the_name_of_its_field(line: bytes, field: str):
    with pytest.raises(ValueError, match=field):
        recipe(line)
