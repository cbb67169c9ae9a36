"""Columns of others as our records: what a map can say, and what is refused, and how."""

from __future__ import annotations

import json
import re
import textwrap
from pathlib import Path
from typing import Any

import pytest

from workers.import_map import read_mapping
from workers.importing import Import, Tally, import_files, lines_of
from workers.terminal import CommandError, Exit

PAGE = (Path(__file__).parents[2] / "docs" / "import.md").read_text()
EVENTS = """
[events.fields]
user_id = "who"
item_id = { column = "what", prefix = "sku-" }
kind = { value = "rating" }
value = "stars"
at = { column = "when", unit = "s" }
"""


def written(folder: Path, name: str, text: str, encoding: str = "utf-8") -> Path:
    file = folder / name
    file.write_bytes(text.encode(encoding))
    return file


def records(
    folder: Path, toml: str, text: str, *, role: str = "events", name: str = "",
    encoding: str = "utf-8", **more: Any,
) -> list[dict[str, Any]]:  # fmt: skip
    """The records that a map makes of a file's text."""
    mapping = read_mapping(written(folder, "map.toml", toml))
    file = written(folder, name or "data.csv", text, encoding)
    part = getattr(mapping, role)
    return [json.loads(line) for line in lines_of(file, part, Tally(), **more)]


def event(folder: Path, **fields: Any) -> dict[str, Any]:
    """One interaction, whose map and line are told by fields: (what the map says, the cell)."""
    toml = {"user_id": '"u"', "item_id": '"i"', "kind": '{ value = "like" }'}
    cells = {"u": "ann", "i": "tea", **{name: cell for name, (_, cell) in fields.items()}}
    toml |= {name: said for name, (said, _) in fields.items()}
    toml.setdefault("at", '{ value = "1", unit = "ms" }')
    lines = "\n".join(f"{name} = {said}" for name, said in toml.items())
    quoted = ",".join(f'"{cell}"' for cell in cells.values())
    (made,) = records(
        folder, f"[events.fields]\n{lines}\n", f"{','.join(cells)}\n{quoted}\n"
    )
    return made


def test_a_line_is_an_interaction_with_an_id_that_follows_from_file_and_line(tmp_path):
    text = "who,what,stars,when\nann,7,4.5,1764000000\n"
    assert records(tmp_path, EVENTS, text) == [
        {
            "type": "interaction", "event_id": "data-2", "user_id": "ann", "item_id": "sku-7",
            "kind": "rating", "value": 4.5, "at_ms": 1764000000000,
        }
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("said", "cell", "at_ms"),
    [
        ('{ column = "at", unit = "s" }', "1764000000", 1_764_000_000_000),
        ('{ column = "at", unit = "ms" }', "1764000000123", 1_764_000_000_123),
        ('{ column = "at", unit = "us" }', "1764000000123456", 1_764_000_000_123),
        ('"at"', "2025-11-24T16:00:00Z", 1_764_000_000_000),
        ('"at"', "2025-11-24T17:00:00+01:00", 1_764_000_000_000),
        (
            '{ column = "at", zone = "Europe/Berlin" }',
            "2025-11-24 17:00",
            1_764_000_000_000,
        ),
        (
            '{ column = "at", format = "%d.%m.%Y %H:%M", zone = "Asia/Shanghai" }',
            "25.11.2025 00:00",
            1_764_000_000_000,
        ),
    ],
    ids=["s", "ms", "us", "utc", "offset", "zone", "format"],
)
def test_times_are_read_in_the_unit_format_and_zone_that_the_map_says(
    tmp_path, said, cell, at_ms
):
    assert event(tmp_path, at=(said, cell))["at_ms"] == at_ms


@pytest.mark.parametrize(
    ("said", "cell", "value"),
    [
        ('"value"', "4.5", 4.5),
        ('{ column = "value", scale = 0.5 }', "9", 4.5),
        ('{ column = "value", decimal = "," }', "1.234,5", 1234.5),
        ('{ column = "value", default = "3" }', "", 3.0),
    ],
    ids=["plain", "scale", "comma", "default"],
)
def test_numbers_are_read_as_the_map_says(tmp_path, said, cell, value):
    assert event(tmp_path, value=(said, cell))["value"] == value


def test_words_are_mapped_and_lines_that_are_no_record_passed_over(tmp_path):
    toml = """
        [events.fields]
        user_id = "u"
        item_id = "i"
        at = { column = "t", unit = "ms" }
        kind = { column = "k", map = { kauf = "purchase" }, pass_over = ["storno"] }
        [events.context]
        device = "k"
    """
    text = "u,i,t,k\nann,a,1,kauf\nann,a,2,storno\n\nann,b,3,kauf\n"
    made = records(tmp_path, toml, text)
    assert [(e["kind"], e["item_id"], e["event_id"]) for e in made] == [
        ("purchase", "a", "data-2"), ("purchase", "b", "data-5"),
    ]  # fmt: skip
    assert made[0]["context"] == {"device": "kauf"}


def test_items_have_categories_attributes_media_and_vectors(tmp_path):
    toml = """
        [items.fields]
        item_id = "id"
        title = "name"
        description = { column = ["short", "long"] }
        categories = { column = "tags", separator = "|", flags = ["Drama", "War"] }
        available = { column = "stock", true = ["yes"] }
        published_at = { column = "since", zone = "UTC" }
        [items.attributes]
        price = { column = "price", number = true }
        colour = "colour"
        [items.vectors]
        clip = { column = "vector", separator = " " }
        [[items.media]]
        kind = "image"
        column = "photos"
        prefix = "https://cdn.example/img/"
        separator = ";"
    """
    text = (
        "id,name,short,long,tags,Drama,War,stock,since,price,colour,vector,photos\n"
        "1,Tea,Green,Very green,drink | hot|drink,0,1,no,2025-11-24,9.50,,0.5 -1,a b.jpg;c.jpg\n"
    )
    (item,) = records(tmp_path, toml, text, role="items")
    assert item == {
        "type": "item", "item_id": "1", "title": "Tea", "description": "Green\nVery green",
        "categories": ["drink", "hot", "War"], "available": False,
        "published_at_ms": 1_763_942_400_000, "attributes": {"price": 9.5},
        "vectors": {"clip": [0.5, -1.0]},
        "media": [
            {"kind": "image", "uri": "https://cdn.example/img/a%20b.jpg"},
            {"kind": "image", "uri": "https://cdn.example/img/c.jpg"},
        ],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "source", "text"),
    [
        ("d.tsv", "", 'who\twhat\tstars\twhen\nann\t5" nail\t4\t1\n'),
        ("d.jsonl", "", '{"who":"ann","what":"5\\" nail","stars":4,"when":1}\n'),
        ("d.dat", 'delimiter = "::"\n', 'who::what::stars::when\nann::5" nail::4::1\n'),
        ("d.csv", 'delimiter = ";"\n', 'who;what;stars;when\nann;"5"" nail";4;1\n'),
        (
            "d.txt",
            'delimiter = "\\t"\ncolumns = ["who", "what", "stars", "when"]\n',
            'ann\t5" nail\t4\t1\n',
        ),
        ("bom.csv", "", '\ufeffwho,what,stars,when\r\nann,"5"" nail",4,1\r\n'),
    ],
    ids=["tsv", "jsonl", "two colons", "semicolon", "no header", "bom"],
)
def test_a_file_is_read_however_it_is_parted(tmp_path, name, source, text):
    toml = EVENTS if not source else f"[events]\n{source}{EVENTS}"
    (made,) = records(tmp_path, toml, text, name=name)
    assert (made["user_id"], made["item_id"], made["value"], made["at_ms"]) == (
        "ann", 'sku-5" nail', 4.0, 1000,
    )  # fmt: skip


def test_an_old_encoding_is_read_where_the_map_names_it(tmp_path):
    toml = f'[events]\nencoding = "gb18030"\n{EVENTS}'
    text = "who,what,stars,when\n小明,茶,5,1\n"
    (made,) = records(tmp_path, toml, text, encoding="gb18030")
    assert (made["user_id"], made["item_id"]) == ("小明", "sku-茶")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("ann,7,many,1", r"data.csv, line 3: column `stars` is 'many'; send a number"),
        (
            "ann,7,4,yesterday",
            r"line 3: column `when` is 'yesterday'; set the field's `unit`",
        ),
        (",7,4,1", r"line 3: .*`user_id` is missing"),
        (f"{'x' * 300},7,4,1", r"column `who` is 'x+\.\.\.: .*length <= 256"),
        ("ann,7,4,1,5", r"5 cells, 4 columns; quote cells"),
        ("ann,7,nan,1", r"column `stars` is 'nan'"),
    ],
    ids=["number", "time", "missing", "long id", "too many cells", "nan"],
)
def test_a_bad_line_names_file_line_column_value_and_remedy(tmp_path, line, said):
    text = f"who,what,stars,when\nann,7,4,1\n{line}\n"
    with pytest.raises(CommandError, match=said) as error:
        records(tmp_path, EVENTS, text)
    assert error.value.code == Exit.USAGE


def test_bad_lines_are_counted_and_passed_over_where_that_is_asked_for(tmp_path, capsys):
    text = "who,what,stars,when\n" + "ann,7,bad,1\n" * 12 + "ann,7,4,1\n"
    made = records(tmp_path, EVENTS, text, skip_bad=True)
    assert [e["event_id"] for e in made] == ["data-14"]
    assert capsys.readouterr().err.count("skipped: ") == 10  # and no more than can be read


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        (EVENTS.replace("stars", "sterne"), "no column `sterne`.*who, what, stars, when"),
        (EVENTS + 'mood = "m"\n', "unknown field `mood`.*docs/import.md"),
        (EVENTS.replace('user_id = "who"', ""), "missing required field `user_id`"),
        ("[events", "docs/import.md"),
    ],
    ids=["no such column", "no such field", "a field is missing", "no TOML"],
)
def test_a_map_that_does_not_fit_says_so(tmp_path, toml, said):
    with pytest.raises(CommandError, match=said):
        records(tmp_path, toml, "who,what,stars,when\nann,7,4,1\n")


def test_a_word_that_the_map_does_not_name_is_refused(tmp_path):
    with pytest.raises(CommandError, match=r"column `kind` is 'tausch'; name this word"):
        event(tmp_path, kind=('{ column = "kind", map = { kauf = "purchase" } }', "tausch"))


def test_nothing_is_left_behind_by_an_import_that_ended_at_a_bad_line(tmp_path):
    wanted = Import(
        mapping=written(tmp_path, "map.toml", EVENTS),
        events=written(tmp_path, "data.csv", "who,what,stars,when\nann,7,4,1\nann,7,x,1\n"),
        out=str(tmp_path / "out"),
    )
    with pytest.raises(CommandError):
        import_files(wanted)
    assert list((tmp_path / "out").iterdir()) == []


def test_files_are_written_for_rec_produce_and_counted(tmp_path, capsys):
    wanted = Import(
        mapping=written(tmp_path, "map.toml", EVENTS),
        events=written(tmp_path, "data.csv", "who,what,stars,when\nann,7,4,1\n"),
        out=str(tmp_path / "out"),
        as_json=True,
    )
    assert import_files(wanted) == Exit.DONE
    (line,) = (tmp_path / "out" / "events.jsonl").read_text().splitlines()
    assert json.loads(line)["user_id"] == "ann"
    assert json.loads(capsys.readouterr().out) == {
        "events": {"records": 1, "passed_over": 0, "skipped": 0}
    }


def maps_of_the_page() -> list[str]:
    """The maps that docs/import.md shows: indented, from [events] to the next text."""
    blocks = re.findall(r"(?m)(?:^(?: {4}.*)?\n)+", PAGE)
    return [textwrap.dedent(block) for block in blocks if "[events.fields]" in block]


def test_the_maps_of_the_page_are_maps(tmp_path):
    movies, shop = (read_mapping(written(tmp_path, "m", m)) for m in maps_of_the_page())
    assert movies.events.columns == ["user", "film", "stars", "when"]
    assert len(movies.items.columns) == 24
    assert shop.items.media[0].kind == "image"


def test_movielens_own_files_are_read_by_the_map_of_the_page(tmp_path):
    toml = maps_of_the_page()[0]
    (rating,) = records(tmp_path, toml, "196\t242\t3\t881250949\n", name="u.data")
    assert rating == {
        "type": "interaction", "event_id": "u-1", "user_id": "user-196",
        "item_id": "film-242", "kind": "rating", "value": 3.0, "at_ms": 881250949000,
    }  # fmt: skip
    flags = "0|0|0|1|1|1" + "|0" * 13
    line = f"1|Toy Story (1995)|01-Jan-1995||http://imdb.example/1|{flags}\n"
    (film,) = records(tmp_path, toml, line, role="items", name="u.item")
    assert film["title"] == "Toy Story (1995)"
    assert film["categories"] == ["Animation", "Children's", "Comedy"]
