"""The scenarios: what a team with such data would configure and send. Files, nothing else.

    deploy/scenarios/NAME/settings.env    the workers' settings
                          items.jsonl     records as `rec produce` takes them; media lie under
                          events.jsonl    file:///MEDIA/, which stands for a folder
                          media.jsonl     recipes of these media (scenario_media.py)
                          show.toml       whom the demo shows, what somebody does, what is asked

No worker knows of them: what they do, somebody else's data does as well.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

import deploy
from schemas import DecodeError, Interaction, Item, Query, Visit, decode
from workers.scenario_media import Recipe, recipe
from workers.terminal import CommandError, Exit

FOLDER = deploy.HERE / "scenarios"
PLACE = "file:///MEDIA/"
Happening = Interaction | Query | Visit


class Act(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Something that somebody does: in words, as a record, and of which category the list
    after it has to be full."""

    words: str
    wanted: str
    event: dict[str, Any]


class Show(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """show.toml"""

    title: str
    about: str
    people: dict[str, str]
    shown: list[str]
    change: Act
    queries: list[Act]
    category: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """All of one. `people`: whose taste is of which category; `category`: the one that people
    look through, "" for everything; `change` and `queries` are in the order of the show."""

    name: str
    show: Show
    settings: Mapping[str, str]
    items: tuple[Item, ...]
    events: tuple[Interaction | Visit, ...]
    recipes: tuple[Recipe, ...]
    change: Interaction
    queries: tuple[Query, ...]

    def title(self, item_id: str) -> str:
        """What people call the item."""
        return {item.item_id: item.title for item in self.items}.get(item_id, item_id)

    def is_of(self, item_id: str, category: str) -> bool:
        """Whether the item has this category."""
        return any(i.item_id == item_id and category in i.categories for i in self.items)


def names() -> list[str]:
    """Those that there are."""
    return sorted(path.parent.name for path in FOLDER.glob("*/show.toml"))


def read_scenario(name: str, *, media: Path) -> Scenario:
    """The scenario, with its media in this folder. CommandError names the file and the line."""
    if name not in names():
        raise CommandError(
            f"there is no scenario {name!r}; there are {', '.join(names())}", Exit.USAGE
        )
    folder, place = FOLDER / name, media.resolve().as_uri() + "/"
    show = _show(folder / "show.toml")
    change, *queries = (_event(act, place) for act in (show.change, *show.queries))
    return Scenario(
        name=name,
        show=show,
        settings=settings(folder / "settings.env")
        | {"STREAMREC_MEDIA__ALLOW": msgspec.json.encode([place]).decode()},
        items=tuple(_records(folder / "items.jsonl", "items", place)),
        events=tuple(_records(folder / "events.jsonl", "events", place)),
        recipes=tuple(_recipes(folder / "media.jsonl")),
        change=change,
        queries=tuple(queries),
    )


def settings(file: Path) -> dict[str, str]:
    """NAME=value lines; blank lines and those that begin with # are passed over."""
    found = {}
    for number, line in enumerate(_lines(file), start=1):
        name, equals, value = line.decode().partition("=")
        if not line.strip() or line.startswith(b"#"):
            continue
        if not equals or not name.startswith("STREAMREC_"):
            raise CommandError(f"{file}, line {number}: not STREAMREC_NAME=value")
        found[name.strip()] = value.strip()
    return found


def signals_of(event: Interaction) -> list[str]:
    """The ids of the Signals that the encode worker makes of what the event says and shows."""
    count = bool(event.text.strip()) + len(event.media)
    return [f"{event.event_id}#m{at}" for at in range(count)]


def _show(file: Path) -> Show:
    try:
        return msgspec.convert(tomllib.loads(file.read_text()), Show)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise CommandError(f"{file}: {error}") from error


def _event(act: Act, place: str) -> Any:
    return _decoded("events", msgspec.json.encode(act.event), place)


def _records(file: Path, role: str, place: str) -> list[Any]:
    found = []
    for number, line in enumerate(_lines(file), start=1):
        try:
            found.append(_decoded(role, line, place))
        except DecodeError as error:
            raise CommandError(f"{file}, line {number}: {error}") from error
    return found


def _decoded(role: str, line: bytes, place: str) -> Any:
    return decode(role, line.replace(PLACE.encode(), place.encode()), "application/json")


def _recipes(file: Path) -> list[Recipe]:
    found = []
    for number, line in enumerate(_lines(file), start=1):
        try:
            found.append(recipe(line))
        except msgspec.ValidationError as error:
            raise CommandError(f"{file}, line {number}: {error}") from error
    return found


def _lines(file: Path) -> list[bytes]:
    return file.read_bytes().splitlines()
