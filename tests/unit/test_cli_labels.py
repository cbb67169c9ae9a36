"""`rec encoders fit labels`: a catalogue's categories into heads that the encode worker reads."""

import json

import pytest

from encoders.config import EncoderConfig
from encoders.content import TextContent
from encoders.labels import open_labeller
from encoders.load import load_encoders
from tests.unit.test_cli_encoders import LIGHT
from workers.encoders_labels import LabelFit, fit_label_heads
from workers.terminal import CommandError, Exit

WORDS = {"animals": "fox wolf bear forest", "games": "chess cards dice board"}


@pytest.fixture
def items(tmp_path):
    """Thirty items of two categories, whose titles have two words of theirs; one without any."""
    lines = []
    for name, words in WORDS.items():
        said = words.split()
        lines += [
            {"type": "item", "item_id": f"{name}{n}", "categories": [name],
             "title": f"{said[n % 4]} {said[(n + 1 + n // 4) % 4]} no {n}"}
            for n in range(15)
        ]  # fmt: skip
    lines.append({"type": "item", "item_id": "x", "title": "unknown"})
    file = tmp_path / "items.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)))
    return file


@pytest.fixture(autouse=True)
def light(monkeypatch):
    """Encoders without weights."""
    for name, value in LIGHT.items():
        monkeypatch.setenv(name, value)


def test_heads_are_fitted_and_the_setting_that_they_say_labels_items(
    items, tmp_path, capsys
):
    done = fit_label_heads(LabelFit(items=items, out=tmp_path / "heads", copies=1))
    said = capsys.readouterr().out
    assert done == Exit.DONE
    assert "text: 2 labels of 30 items" in said
    variable, _, spec = said.splitlines()[-1].partition("=")
    assert variable == "STREAMREC_ENCODERS__LABELS"
    settings = {name.split("__")[1].lower(): value for name, value in LIGHT.items()}
    config = EncoderConfig(**settings, labels=spec)
    encoders = load_encoders(config)
    labeller = open_labeller(config, encoders)
    asked = [TextContent("a wolf in the forest"), TextContent("chess")]
    rows = [
        {"text": (encoders["text"].name, vector)}
        for vector in encoders["text"].encode(asked)
    ]
    assert [next(iter(said), None) for said in labeller.label(rows)] == ["animals", "games"]


@pytest.mark.parametrize(
    ("line", "said"),
    [('{"type":"item","item_id":"i","title":"x"}', "no item in it has categories"),
     ('{"type":"item","item_id":"i","title":"x","categories":["a"]}', "fewer than 20 items")],
    ids=["no categories", "too few"],
)  # fmt: skip
def test_a_catalogue_that_labels_cannot_be_learned_from_is_refused(tmp_path, line, said):
    file = tmp_path / "items.jsonl"
    file.write_text(line)
    with pytest.raises(CommandError, match=said):
        fit_label_heads(LabelFit(items=file, out=tmp_path / "h"))
    assert not (tmp_path / "h").exists()
