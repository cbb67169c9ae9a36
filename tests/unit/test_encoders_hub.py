"""Models of a hub: tiny ones, made here, saved as a hub saves them, read from their folder."""

import json

import msgspec
import pytest
import torch
from torch.nn.functional import normalize

from encoders.config import EncoderConfig
from encoders.content import AudioContent, ImageContent, TextContent, VideoContent
from encoders.hub import hub_weights, same_space, tower_name
from encoders.hub_text import load_hub_text
from encoders.load import load_encoders
from encoders.specs import SpecError

transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.models

CPU = torch.device("cpu")
WORDS = [
    "[PAD]",
    "[CLS]",
    "[SEP]",
    "[UNK]",
    "a",
    "quiet",
    "film",
    "about",
    "long",
    "journey",
]
TEXTS = ["a film", "a quiet film about a long long journey", "", "journey"]
TINY = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
TINY |= {"num_attention_heads": 2}
NONE = EncoderConfig(
    text="none", image="none", audio="none", video="none", sensor="none", device="cpu"
)
PRECISIONS = [("float32", 1e-4), ("bfloat16", 3e-2)]


def tokenizer(folder, *, decoder: bool = False):
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = {word: number for number, word in enumerate(WORDS)}
    made = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    if not decoder:
        made.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
        )
    kept = transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="[PAD]", eos_token="[SEP]", model_max_length=12
    )
    kept.save_pretrained(folder)
    return kept


def save(model, folder, architecture: str | None = None) -> None:
    model.save_pretrained(folder)
    if architecture:
        file = folder / "config.json"
        config = json.loads(file.read_text()) | {"architectures": [architecture]}
        file.write_text(json.dumps(config))


def seeded(make):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return make().eval()


def pictures(count: int = 3) -> list[ImageContent]:
    generator = torch.Generator().manual_seed(1)
    sizes = [(40, 60), (64, 64), (90, 33)]
    return [
        ImageContent(
            torch.randint(
                0, 256, (3, *sizes[n % 3]), generator=generator, dtype=torch.uint8
            )
        )
        for n in range(count)
    ]


def sounds() -> list[AudioContent]:
    generator = torch.Generator().manual_seed(2)
    return [
        AudioContent(torch.randn(length, generator=generator), 16_000)
        for length in (16_000, 9_000, 16_000, 200)
    ]


def load(folder, modality: str, precision: str = "float32"):
    config = msgspec.structs.replace(
        NONE, **{modality: f"path:{folder}"}, precision=precision
    )
    return load_encoders(config)[modality]


def load_text(folder, precision: str = "float32"):
    weights = hub_weights(f"path:{folder}")
    name = tower_name("text", f"path:{folder}", weights, precision)
    return load_hub_text(weights, name=name, max_tokens=64, device=CPU, precision=precision)


def assert_near(ours, theirs, tolerance):
    torch.testing.assert_close(
        ours, normalize(theirs.float(), dim=-1), atol=tolerance, rtol=0
    )


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clip")
    tokenizer(folder)
    text = TINY | {"vocab_size": len(WORDS), "max_position_embeddings": 12}
    text |= {"eos_token_id": 2, "bos_token_id": 1, "pad_token_id": 0}
    config = transformers.CLIPConfig(
        text_config=text, vision_config=TINY | {"image_size": 32, "patch_size": 16},
        projection_dim=8,
    )  # fmt: skip
    model = seeded(lambda: transformers.CLIPModel(config))
    save(model, folder)
    processor = transformers.CLIPImageProcessor(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
    )
    processor.save_pretrained(folder)
    return folder, model, processor


@pytest.fixture(scope="module")
def siglip(tmp_path_factory):
    folder = tmp_path_factory.mktemp("siglip")
    tokenizer(folder)
    text = TINY | {"vocab_size": len(WORDS), "max_position_embeddings": 12}
    config = transformers.SiglipConfig(
        text_config=text, vision_config=TINY | {"image_size": 32, "patch_size": 16}
    )
    model = seeded(lambda: transformers.SiglipModel(config))
    save(model, folder)
    processor = transformers.SiglipImageProcessor(size={"height": 32, "width": 32})
    processor.save_pretrained(folder)
    return folder, model, processor


def features(output):
    return output if isinstance(output, torch.Tensor) else output.pooler_output


@pytest.mark.parametrize(("precision", "tolerance"), PRECISIONS)
@pytest.mark.parametrize("family", ["clip", "siglip"])
def test_an_image_tower_has_the_numbers_of_its_library(
    request, family, precision, tolerance
):
    folder, model, processor = request.getfixturevalue(family)
    encoder = load(folder, "image", precision)
    vector_EW = encoder.encode(pictures())
    with torch.inference_mode():
        told = [processor(p.pixels_3HW, return_tensors="pt") for p in pictures()]
        theirs = torch.cat(
            [features(model.get_image_features(one["pixel_values"])) for one in told]
        )
    assert encoder.width == theirs.shape[1]
    assert_near(vector_EW, theirs, tolerance)


@pytest.mark.parametrize(("precision", "tolerance"), PRECISIONS)
@pytest.mark.parametrize("family", ["clip", "siglip"])
def test_a_text_tower_has_the_numbers_of_its_library(request, family, precision, tolerance):
    folder, model, _ = request.getfixturevalue(family)
    encoder = load_text(folder, precision)
    kept = transformers.AutoTokenizer.from_pretrained(folder)
    theirs = []
    for text in TEXTS:
        padding = "max_length" if family == "siglip" else False
        asked = kept(text, padding=padding, max_length=12, return_tensors="pt")
        mask = {} if family == "siglip" else {"attention_mask": asked["attention_mask"]}
        with torch.inference_mode():
            theirs.append(features(model.get_text_features(asked["input_ids"], **mask)))
    assert_near(
        encoder.encode([TextContent(t) for t in TEXTS]), torch.cat(theirs), tolerance
    )


def test_towers_of_one_model_share_a_space_and_no_others_do(clip, siglip):
    image, text = load(clip[0], "image"), load_text(clip[0])
    assert image.width == text.width
    assert same_space(image.name, text.name)
    assert not same_space(image.name, load(siglip[0], "image").name)
    assert not same_space(image.name, load_text(clip[0], "bfloat16").name)
    assert not same_space("image/a@1", "image/b@1")
    assert not same_space("text/a@1", "image/a@1")


@pytest.mark.parametrize(("precision", "tolerance"), PRECISIONS)
def test_a_sentence_encoder_is_the_mean_over_its_tokens(tmp_path, precision, tolerance):
    kept = tokenizer(tmp_path)
    config = transformers.BertConfig(
        **TINY, vocab_size=len(WORDS), max_position_embeddings=12
    )
    model = seeded(lambda: transformers.BertModel(config))
    save(model, tmp_path)
    with torch.inference_mode():
        theirs = [
            model(**kept(t, return_tensors="pt", return_token_type_ids=False))
            .last_hidden_state.mean(dim=1) for t in TEXTS
        ]  # fmt: skip
    encoder = load_text(tmp_path, precision)
    assert_near(
        encoder.encode([TextContent(t) for t in TEXTS]), torch.cat(theirs), tolerance
    )
    assert encoder.cost(TextContent("a quiet film")) == 5
    assert encoder.cost(TextContent("film " * 99)) == 12


@pytest.mark.parametrize(("precision", "tolerance"), PRECISIONS)
def test_a_decoder_is_its_last_token(tmp_path, precision, tolerance):
    kept = tokenizer(tmp_path, decoder=True)
    config = transformers.LlamaConfig(
        **TINY, vocab_size=len(WORDS), max_position_embeddings=12, num_key_value_heads=2,
        bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    model = seeded(lambda: transformers.LlamaForCausalLM(config))
    save(model, tmp_path)
    texts = [t for t in TEXTS if t]
    with torch.inference_mode():
        theirs = [
            model.model(kept(t, return_tensors="pt")["input_ids"]).last_hidden_state[:, -1]
            for t in texts
        ]
    encoder = load_text(tmp_path, precision)
    assert_near(
        encoder.encode([TextContent(t) for t in texts]), torch.cat(theirs), tolerance
    )
    assert encoder.encode([TextContent("")]).isfinite().all()


def test_what_sentence_transformers_wrote_of_pooling_counts_first(tmp_path):
    kept = tokenizer(tmp_path)
    config = transformers.BertConfig(
        **TINY, vocab_size=len(WORDS), max_position_embeddings=12
    )
    model = seeded(lambda: transformers.BertModel(config))
    save(model, tmp_path)
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true}')
    asked = kept("a film", return_tensors="pt", return_token_type_ids=False)
    with torch.inference_mode():
        theirs = model(**asked).last_hidden_state[:, 0]
    assert_near(load_text(tmp_path).encode([TextContent("a film")]), theirs, 1e-4)


@pytest.fixture(scope="module")
def wav2vec2(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wav2vec2")
    config = transformers.Wav2Vec2Config(
        **TINY, conv_dim=(16,) * 7, num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=2, feat_extract_norm="group",
    )  # fmt: skip
    model = seeded(lambda: transformers.Wav2Vec2Model(config))
    save(model, folder)
    extractor = transformers.Wav2Vec2FeatureExtractor(do_normalize=True)
    extractor.save_pretrained(folder)
    return folder, model, extractor


@pytest.mark.parametrize(("precision", "tolerance"), PRECISIONS)
def test_a_speech_model_is_the_mean_over_time(wav2vec2, precision, tolerance):
    folder, model, extractor = wav2vec2
    encoder = load(folder, "audio", precision)
    theirs = []
    for sound in sounds():
        wave = torch.nn.functional.pad(
            sound.waveform_T, (0, max(0, 1600 - len(sound.waveform_T)))
        )
        asked = extractor(wave.numpy(), sampling_rate=16_000, return_tensors="pt")
        with torch.inference_mode():
            theirs.append(model(asked["input_values"]).last_hidden_state.mean(dim=1))
    assert_near(encoder.encode(sounds()), torch.cat(theirs), tolerance)


@pytest.mark.parametrize(("precision", "tolerance"), PRECISIONS)
def test_clap_hears_ten_seconds_at_a_time(tmp_path, precision, tolerance):
    text = TINY | {"vocab_size": len(WORDS), "max_position_embeddings": 20}
    audio = {
        "hidden_size": 8, "patch_embeds_hidden_size": 4, "depths": [1, 1],
        "num_attention_heads": [2, 2], "num_hidden_layers": 2, "spec_size": 64,
        "window_size": 4, "patch_size": 4, "patch_stride": [4, 4], "num_mel_bins": 16,
        "projection_dim": 8,
    }  # fmt: skip
    config = transformers.ClapConfig(text_config=text, audio_config=audio, projection_dim=8)
    model = seeded(lambda: transformers.ClapModel(config))
    save(model, tmp_path)
    extractor = transformers.ClapFeatureExtractor(
        feature_size=16, sampling_rate=16_000, hop_length=160, max_length_s=1,
        frequency_max=8_000, truncation="rand_trunc",
    )  # fmt: skip
    extractor.save_pretrained(tmp_path)
    encoder = load(tmp_path, "audio", precision)
    long = AudioContent(sounds()[0].waveform_T.repeat(2), 16_000)
    with torch.inference_mode():
        asked = extractor(
            sounds()[0].waveform_T.numpy(), sampling_rate=16_000, return_tensors="pt"
        )
        theirs = features(model.get_audio_features(asked["input_features"]))
    vector_EW = encoder.encode([sounds()[0], long])
    assert_near(vector_EW, theirs.repeat(2, 1), tolerance)  # twice the same is the same


@pytest.mark.parametrize(("precision", "tolerance"), PRECISIONS)
def test_videomae_sees_as_many_frames_as_it_was_trained_with(
    tmp_path, precision, tolerance
):
    config = transformers.VideoMAEConfig(
        **TINY, image_size=32, patch_size=16, num_frames=4, tubelet_size=2
    )
    model = seeded(lambda: transformers.VideoMAEModel(config))
    save(model, tmp_path)
    processor = transformers.VideoMAEImageProcessor(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
    )
    processor.save_pretrained(tmp_path)
    frames = torch.randint(0, 256, (8, 3, 40, 60), dtype=torch.uint8,
                           generator=torch.Generator().manual_seed(3))  # fmt: skip
    encoder = load(tmp_path, "video", precision)
    videos = [
        VideoContent(frames, torch.arange(8.0)),
        VideoContent(frames[:1], torch.zeros(1)),
    ]
    with torch.inference_mode():
        theirs = [
            model(processor(list(f), return_tensors="pt")["pixel_values"]).last_hidden_state
            for f in (frames[[1, 3, 5, 7]], frames[[0, 0, 0, 0]])
        ]
    assert_near(encoder.encode(videos), torch.cat(theirs).mean(dim=1), tolerance)


@pytest.mark.parametrize("family", ["clip", "wav2vec2"])
def test_a_row_does_not_depend_on_its_neighbours(request, family):
    folder = request.getfixturevalue(family)[0]
    modality = "image" if family == "clip" else "audio"
    encoder = load(folder, modality)
    batch = pictures() if family == "clip" else sounds()
    together = encoder.encode(batch)
    for content, vector_W in zip(batch, together, strict=True):
        alone = encoder.encode([content])[0]
        torch.testing.assert_close(vector_W, alone, atol=1e-4, rtol=0)
    assert encoder.encode([]).shape == (0, encoder.width)


def test_weights_in_shards_are_read_and_named_by_all_of_them(tmp_path, clip):
    tokenizer(tmp_path)
    config = transformers.BertConfig(
        **TINY, vocab_size=len(WORDS), max_position_embeddings=12
    )
    model = seeded(lambda: transformers.BertModel(config))
    model.save_pretrained(tmp_path, max_shard_size="4KB")
    assert not (tmp_path / "model.safetensors").exists()
    before = load_text(tmp_path)
    assert before.encode([TextContent("film")]).shape == (1, 16)
    shard = sorted(tmp_path.glob("*.safetensors"))[-1]
    from safetensors.torch import load_file, save_file

    save_file({n: t + 1 for n, t in load_file(shard).items()}, shard, {"format": "pt"})
    assert load_text(tmp_path).name != before.name


def test_a_checkpoint_that_lacks_weights_is_refused_and_none_made_up(tmp_path):
    tokenizer(tmp_path)
    config = transformers.BertConfig(
        **TINY, vocab_size=len(WORDS), max_position_embeddings=12
    )
    save(seeded(lambda: transformers.BertModel(config)), tmp_path)
    from safetensors.torch import load_file, save_file

    file = tmp_path / "model.safetensors"
    tensors = load_file(file)
    del tensors["encoder.layer.1.output.dense.weight"]
    save_file(tensors, file, {"format": "pt"})
    with pytest.raises(SpecError, match=r"lack encoder\.layer\.1\.output\.dense\.weight"):
        load_text(tmp_path)


def test_code_in_a_folder_is_not_run(tmp_path, capsys):
    tokenizer(tmp_path)
    (tmp_path / "evil.py").write_text("print('code in weights was run')")
    config = {
        "model_type": "evil",
        "auto_map": {"AutoConfig": "evil.Evil", "AutoModel": "evil.E"},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    from safetensors.torch import save_file

    save_file({"x": torch.zeros(1)}, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(SpecError):
        load_text(tmp_path)
    assert "was run" not in capsys.readouterr().out
