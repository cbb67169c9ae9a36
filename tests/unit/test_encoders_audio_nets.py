"""Nets for sounds: they learn what is to be told apart, and padding changes nothing."""

import msgspec
import pytest
import torch

from encoders.audio_nets import NetEncoder, heard, net, together
from encoders.audio_train import save_audio, train_audio
from encoders.config import EncoderConfig
from encoders.content import AudioContent
from encoders.load import load_encoders
from encoders.specs import SpecError

ARCHITECTURES = ["log-mel-cnn", "log-mel-lstm", "log-mel-gru"]
KINDS = ["sine", "noise", "chirp", "pulses"]
NONE = EncoderConfig(
    text="none", image="none", audio="none", video="none", sensor="none", device="cpu"
)
PRECISIONS = [("float32", 1e-4), ("bfloat16", 3e-2)]


def made(kind: str, generator: torch.Generator) -> AudioContent:
    """A sound of the kind: its pitch, length and noise are drawn."""
    seconds, pitch = torch.rand(2, generator=generator).tolist()
    time_s = torch.arange(int(16_000 * (0.5 + seconds))) / 16_000
    turn = 6.2832 * (200 + 1500 * pitch) * time_s
    noise = torch.randn(len(time_s), generator=generator)
    waves = {
        "sine": torch.sin(turn),
        "noise": noise,
        "chirp": torch.sin(turn + 6.2832 * 1500 * time_s.square()),
        "pulses": torch.sin(turn) * ((time_s * 8) % 1 < 0.2),
    }
    return AudioContent(waves[kind] + 0.1 * noise, 16_000)


def drawn(each: int, seed: int) -> tuple[list[AudioContent], list[str]]:
    generator = torch.Generator().manual_seed(seed)
    pairs = [(made(kind, generator), kind) for kind in KINDS for _ in range(each)]
    return [sound for sound, _ in pairs], [kind for _, kind in pairs]


@pytest.fixture(scope="module", params=ARCHITECTURES)
def trained(request):
    sounds, labels = drawn(12, seed=0)
    epochs = {"log-mel-cnn": 12, "log-mel-lstm": 40, "log-mel-gru": 20}[request.param]
    return train_audio(sounds, labels, architecture=request.param, epochs=epochs)


def test_a_net_labels_sounds_that_it_never_heard(trained):
    sounds, labels = drawn(10, seed=1)
    told = [label for label, _ in trained.label(sounds)]
    right = sum(a == b for a, b in zip(told, labels, strict=True)) / len(labels)
    assert right >= 0.7, f"{right:.2f} of four kinds; chance is 0.25"


def test_sounds_of_a_kind_are_near_to_each_other(trained, tmp_path):
    save_audio(trained, tmp_path)
    config = msgspec.structs.replace(NONE, audio=f"path:{tmp_path}")
    encoder = load_encoders(config)["audio"]
    sounds, labels = drawn(6, seed=2)
    near = encoder.encode(sounds) @ encoder.encode(sounds).T
    near.fill_diagonal_(-2)
    found = [labels[at] for at in near.argmax(dim=1).tolist()]
    assert sum(a == b for a, b in zip(found, labels, strict=True)) >= 0.7 * len(labels)


def test_what_was_saved_gives_the_vectors_of_what_was_trained(trained, tmp_path):
    save_audio(trained, tmp_path)
    config = msgspec.structs.replace(NONE, audio=f"path:{tmp_path}")
    encoder = load_encoders(config)["audio"]
    sounds, _ = drawn(1, seed=3)
    with torch.inference_mode():
        told = trained.model(*together([heard(sound) for sound in sounds]))
    told = torch.nn.functional.normalize(told, dim=-1)
    torch.testing.assert_close(encoder.encode(sounds), told, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("precision", "tolerance"), PRECISIONS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_padding_changes_no_row(architecture, precision, tolerance):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = net(architecture).eval().requires_grad_(False)
    dtype = getattr(torch, precision)
    encoder = NetEncoder("x", model.to(dtype), torch.device("cpu"), dtype)
    lengths = [1, 160, 2_559, 2_560, 16_000, 30_111]
    noise = torch.randn(max(lengths), generator=torch.Generator().manual_seed(0))
    batch = [AudioContent(noise[:length], 16_000) for length in lengths]
    for content, vector_D in zip(batch, encoder.encode(batch), strict=True):
        alone = encoder.encode([content])[0]
        torch.testing.assert_close(vector_D, alone, atol=tolerance, rtol=0)
        assert float(alone.norm()) == pytest.approx(1.0, abs=1e-3)
    assert encoder.encode([]).shape == (0, 128)


def test_the_same_seed_trains_the_same_net():
    sounds, labels = drawn(3, seed=0)
    one, same, other = (
        train_audio(sounds, labels, architecture="log-mel-gru", epochs=2, seed=seed)
        for seed in (1, 1, 2)
    )
    for a, b in zip(one.model.parameters(), same.model.parameters(), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(one.head_LD, other.head_LD)


def test_augmentation_is_asked_for_each_crop_and_the_loss_is_told():
    sounds, labels = drawn(2, seed=0)
    seen, losses = [], []

    def quiet(mel_FM, generator):
        seen.append(mel_FM.shape)
        return mel_FM * torch.rand(1, generator=generator)

    train_audio(
        sounds, labels, architecture="log-mel-gru", epochs=3, augment=quiet,
        on_epoch=lambda epoch, loss: losses.append((epoch, loss)),
    )  # fmt: skip
    assert seen == [(100, 64)] * 8 * 3
    assert [epoch for epoch, _ in losses] == [0, 1, 2]


def test_one_kind_of_sounds_teaches_nothing():
    sounds, _ = drawn(1, seed=0)
    with pytest.raises(ValueError, match="two kinds at least"):
        train_audio(sounds, ["a"] * len(sounds), architecture="log-mel-cnn")


def test_an_unknown_architecture_is_refused_with_those_that_are_known(tmp_path):
    from safetensors.torch import save_file

    told = {"architecture": "log-mel-transformer"}
    save_file({"x": torch.zeros(1)}, tmp_path / "model.safetensors", told)
    with pytest.raises(SpecError, match="log-mel-cnn, log-mel-lstm or log-mel-gru"):
        load_encoders(msgspec.structs.replace(NONE, audio=f"path:{tmp_path}"))
