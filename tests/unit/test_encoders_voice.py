"""The voice encoder against the package's own code and librosa's numbers."""

import importlib
import importlib.util
import sys
import types

import msgspec
import pytest
import torch

from encoders.audio_voice import louder, mel, pieces_of
from encoders.config import EncoderConfig
from encoders.content import AudioContent
from encoders.load import load_encoders

NONE = EncoderConfig(
    text="none", image="none", audio="none", video="none", sensor="none", device="cpu"
)
pytestmark = [
    pytest.mark.models,
    pytest.mark.skipif(
        importlib.util.find_spec("resemblyzer") is None,
        reason="resemblyzer is not installed",
    ),
]
# librosa 0.11: feature.melspectrogram(y=swept(20_000), sr=16000, n_fft=400, hop_length=160,
# n_mels=40), frames 0, 1, 50, 125, every eighth band.
GOLDEN = [
    [0.666988, 0.00310983, 5.70308e-05, 0.000171061, 7.54061e-05],
    [0.00642689, 2.6729e-05, 6.43435e-07, 1.56818e-06, 6.8734e-07],
    [9.75407e-07, 0.0019291, 4.24476e-08, 3.29837e-10, 5.46889e-12],
    [0.000437846, 0.0326622, 0.040031, 0.00323615, 0.00142632],
]


def swept(samples: int) -> torch.Tensor:
    time_s = torch.arange(samples, dtype=torch.float64) / 16_000
    turn = 2 * torch.pi * (200 * time_s + 300 * time_s.square())
    return (0.3 * turn.sin() + 0.05 * (2 * torch.pi * 3000 * time_s).sin()).float()


@pytest.fixture(scope="module")
def encoder():
    return load_encoders(msgspec.structs.replace(NONE, audio="package:resemblyzer"))[
        "audio"
    ]


@pytest.fixture(scope="module")
def reference():
    """The package's model, whose other half (librosa, a voice detector) we do without."""
    stubs = ("webrtcvad", "librosa", "scipy", "scipy.ndimage", "scipy.ndimage.morphology")
    with pytest.MonkeyPatch.context() as patch:
        for name in stubs:
            patch.setitem(sys.modules, name, types.ModuleType(name))
        sys.modules["scipy.ndimage.morphology"].binary_dilation = None
        for name in [n for n in sys.modules if n.split(".")[0] == "resemblyzer"]:
            patch.delitem(sys.modules, name)
        module = importlib.import_module("resemblyzer.voice_encoder")
        yield module.VoiceEncoder(device="cpu", verbose=False).eval()
        for name in [n for n in sys.modules if n.split(".")[0] == "resemblyzer"]:
            del sys.modules[name]


def test_the_mel_spectrogram_is_librosas():
    told_FM = mel(swept(20_000))
    assert told_FM.shape == (126, 40)
    torch.testing.assert_close(
        told_FM[[0, 1, 50, 125]][:, ::8], torch.tensor(GOLDEN), rtol=2e-3, atol=2e-7
    )


@pytest.mark.parametrize("samples", [1, 8_000, 25_600, 40_000, 61_000, 160_001])
def test_pieces_begin_where_the_packages_do(reference, samples):
    _, theirs = reference.compute_partial_slices(samples, 1.3, 0.75)
    assert len(pieces_of(swept(samples))) == len(theirs)


def test_vectors_are_the_packages_own(encoder, reference):
    sounds = [swept(samples) for samples in (16_000, 61_000, 90_000)]
    theirs = []
    for waveform_T in sounds:
        with torch.inference_mode():
            parts = reference(pieces_of(waveform_T))
        theirs.append(torch.nn.functional.normalize(parts.mean(dim=0), dim=0))
    ours = encoder.encode([AudioContent(sound, 16_000) for sound in sounds])
    torch.testing.assert_close(ours, torch.stack(theirs), atol=1e-4, rtol=0)
    assert encoder.name.startswith("audio/resemblyzer@")


def test_a_row_does_not_depend_on_its_neighbours(encoder):
    batch = [AudioContent(swept(samples), 16_000) for samples in (1, 500, 50_000, 100_000)]
    for content, vector_W in zip(batch, encoder.encode(batch), strict=True):
        torch.testing.assert_close(
            vector_W, encoder.encode([content])[0], atol=1e-4, rtol=0
        )
    assert encoder.encode([]).shape == (0, 256)


def test_quiet_voices_are_made_louder_and_loud_ones_left():
    quiet, loud = 1e-3 * swept(16_000), swept(16_000)
    assert float(louder(quiet).square().mean().sqrt()) == pytest.approx(10**-1.5, rel=1e-4)
    assert torch.equal(louder(loud), loud)
    assert torch.equal(louder(torch.zeros(9)), torch.zeros(9))
