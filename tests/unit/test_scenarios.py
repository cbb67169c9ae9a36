"""The scenarios' files: whole, small, and no more than configuration and records."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas import Interaction, Visit
from workers.config import load_config
from workers.scenarios import FOLDER, names, read_scenario, settings, signals_of
from workers.terminal import CommandError, Exit

NAMES = ["ecommerce", "education", "smarthome", "social"]
MEDIA = {
    "ecommerce": {"image", "audio"},
    "social": {"audio"},
    "education": {"video", "audio"},
    "smarthome": {"sensor", "audio"},
}


@pytest.fixture(params=NAMES)
def scenario(request, tmp_path: Path):
    return read_scenario(request.param, media=tmp_path)


def test_there_are_four():
    assert names() == NAMES


def test_its_settings_start_a_worker_and_allow_its_media_alone(scenario, tmp_path):
    config = load_config(scenario.settings)
    assert config.media.allow == [f"{tmp_path.resolve().as_uri()}/"]
    assert config.encoders.weights
    assert config.list.k == 5


def test_it_is_small_and_in_several_languages(scenario):
    assert 20 <= len(scenario.items) <= 60
    assert 60 <= len(scenario.events) <= 200
    assert {item.language for item in scenario.items} == {"en", "de", "es", "zh"}


def test_each_id_is_of_one_record_and_events_touch_items_that_there_are(scenario):
    events = [*scenario.events, scenario.change, *scenario.queries]
    assert len({event.event_id for event in events}) == len(events)
    items = {item.item_id for item in scenario.items}
    assert len(items) == len(scenario.items)
    touched = {e.item_id for e in events if isinstance(e, Interaction)}
    assert touched <= items


def test_media_that_are_named_are_made_and_no_others(scenario, tmp_path):
    records = [*scenario.items, *scenario.events, scenario.change, *scenario.queries]
    refs = [ref for r in records if not isinstance(r, Visit) for ref in r.media]
    made = [recipe.file for recipe in scenario.recipes]
    assert {ref.uri for ref in refs} == {(tmp_path / file).as_uri() for file in made}
    assert len(set(made)) == len(made)
    assert {ref.kind for ref in refs} == MEDIA[scenario.name]


def test_people_have_tastes_that_there_are_and_are_shown(scenario):
    categories = {name for item in scenario.items for name in item.categories}
    assert set(scenario.show.people.values()) <= categories
    assert set(scenario.show.shown) <= scenario.show.people.keys()
    visitors = {e.user_id for e in scenario.events if isinstance(e, Visit)}
    assert visitors == scenario.show.people.keys()


def test_nothing_binary_is_committed():
    files = {path.suffix for path in FOLDER.rglob("*") if path.is_file()}
    assert files == {".env", ".jsonl", ".toml"}


def test_what_is_said_and_shown_has_signals_by_number():
    event = Interaction(
        event_id="e", user_id="u", item_id="i", kind="like", at_ms=1, text="fine"
    )
    assert signals_of(event) == ["e#m0"]


def test_another_name_is_refused_with_those_that_there_are(tmp_path):
    with pytest.raises(CommandError, match="ecommerce, education, smarthome, social") as e:
        read_scenario("casino", media=tmp_path)
    assert e.value.code == Exit.USAGE


def test_a_line_that_is_no_setting_is_named(tmp_path):
    file = tmp_path / "settings.env"
    file.write_text("# fine\n\nSTREAMREC_LIST__K=5\nPATH=/bin\n")
    with pytest.raises(CommandError, match="line 4"):
        settings(file)
