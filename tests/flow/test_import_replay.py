"""Two strangers' data, in German and in Chinese: imported by a map, learned from, and served
by the worker's own path. What differs between them is configuration."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from encoders.config import EncoderConfig
from encoders.content import TextContent
from encoders.fusion import columns_of, fuse, fusion_version
from encoders.load import load_encoders
from evaluation.recorded import Log, read_jsonl
from evaluation.replay import ITEMS, VECTORS, Replay
from schemas import Item, ItemVectors, Slot, Visit, encode
from workers.config import ListConfig
from workers.contents import item_text
from workers.encoders_fit import Fit, fit_encoder
from workers.importing import Import, import_files

GERMAN_MAP = """
[events]
delimiter = ";"
encoding = "cp1252"
[events.fields]
user_id = { column = "Kundennr.", prefix = "kunde-" }
item_id = "Artikel"
at = { column = "Zeitpunkt", format = "%d.%m.%Y %H:%M", zone = "Europe/Berlin" }
value = { column = "Sterne", decimal = "," }
text = "Anmerkung"
[events.fields.kind]
column = "Vorgang"
map = { Kauf = "purchase", Bewertung = "rating", Merkzettel = "save" }
pass_over = ["Storno"]
[events.context]
filiale = "Filiale"

[items]
delimiter = ";"
encoding = "cp1252"
[items.fields]
item_id = "Artikel"
title = "Bezeichnung"
description = { column = ["Kurztext", "Langtext"] }
categories = { column = "Warengruppe", separator = ">" }
language = { value = "de" }
available = { column = "lieferbar", true = ["ja"] }
[items.attributes]
preis = { column = "Preis (EUR)", number = true, decimal = "," }
"""
GERMAN_ITEMS = """Artikel;Bezeichnung;Kurztext;Langtext;Warengruppe;lieferbar;Preis (EUR)
K1;Röstkaffee Äthiopien;Kaffee;ganze Bohnen, helle Röstung;Küche > Kaffee;ja;12,90
K2;Espresso aus Neapel;Kaffee;ganze Bohnen, dunkle Röstung;Küche > Kaffee;ja;10,50
K3;Kaffeemühle;für Bohnen;mahlt Kaffee und Espresso fein;Küche > Kaffee;ja;89,00
K4;Filterkaffee Brasilien;Kaffee;gemahlen, milde Röstung;Küche > Kaffee;ja;8,90
K5;Espressokanne;für den Herd;kocht Espresso aus gemahlenem Kaffee;Küche > Kaffee;ja;29,00
W1;Akkuschrauber;Werkzeug;bohrt und schraubt in Holz;Werkstatt > Werkzeug;ja;1.129,00
W2;Stichsäge;Werkzeug;sägt Holz und Blech;Werkstatt > Werkzeug;ja;99,00
W3;Bohrersatz;Werkzeug;zum Bohren in Holz und Metall;Werkstatt > Werkzeug;ja;19,90
W4;Schraubzwinge;Werkzeug;hält Holz beim Leimen;Werkstatt > Werkzeug;ja;14,50
W5;Hobel;Werkzeug;glättet Holz;Werkstatt > Werkzeug;nein;59,00
"""
GERMAN_EVENTS = """Zeitpunkt;Kundennr.;Vorgang;Artikel;Sterne;Filiale;Anmerkung
24.11.2025 09:15;17;Kauf;K1;;Köln;
24.11.2025 09:20;17;Bewertung;K2;4,5;Köln;schön kräftig
24.11.2025 10:00;23;Kauf;W1;;Ulm;
24.11.2025 10:01;23;Storno;K3;;Ulm;
24.11.2025 11:30;23;Merkzettel;W2;;Ulm;"für später; vielleicht"
"""

CHINESE_MAP = """
[events]
format = "jsonl"
[events.fields]
user_id = "用户.编号"
item_id = "商品"
at = { column = "时间", unit = "s" }
kind = { column = "行为", map = { "购买" = "purchase", "收藏" = "save", "浏览" = "view" } }

[items]
format = "tsv"
encoding = "gb18030"
columns = ["编号", "名称", "简介", "标签"]
[items.fields]
item_id = "编号"
title = "名称"
description = "简介"
categories = { column = "标签", separator = "、" }
language = { value = "zh" }
"""
CHINESE_ITEMS = """书1\t剑客行\t江湖剑客的武侠小说\t武侠、小说
书2\t雪山刀\t刀客复仇的武侠小说\t武侠、小说
书3\t少年侠客\t少年在江湖学剑的武侠小说\t武侠、小说
书4\t江湖夜雨\t侠客与剑的江湖故事\t武侠、小说
书5\t家常菜谱\t家常菜的做法，炒菜和炖汤\t烹饪、生活
书6\t学做面食\t包子和面条的做法\t烹饪、生活
书7\t四季汤谱\t炖汤的做法和食材\t烹饪、生活
书8\t炒菜入门\t炒菜的火候和做法\t烹饪、生活
"""
CHINESE_EVENTS = """{"用户":{"编号":"甲"},"行为":"购买","商品":"书1","时间":1764000000}
{"用户":{"编号":"甲"},"行为":"收藏","商品":"书2","时间":1764000060}
{"用户":{"编号":"乙"},"行为":"购买","商品":"书5","时间":1764000120}
{"用户":{"编号":"乙"},"行为":"浏览","商品":"书7","时间":1764000180}
"""


@dataclass(frozen=True)
class Stranger:
    """Somebody's files, and of what each person is to be listed."""

    mapping: str
    items: str
    events: str
    encoding: str
    tastes: dict[str, str]


STRANGERS = {
    "german": Stranger(
        GERMAN_MAP, GERMAN_ITEMS, GERMAN_EVENTS, "cp1252",
        {"kunde-17": "Kaffee", "kunde-23": "Werkzeug"},
    ),
    "chinese": Stranger(
        CHINESE_MAP, CHINESE_ITEMS, CHINESE_EVENTS, "gb18030",
        {"甲": "武侠", "乙": "烹饪"},
    ),
}  # fmt: skip


@pytest.fixture(params=STRANGERS.values(), ids=STRANGERS)
def stranger(request) -> Stranger:
    return request.param


@pytest.fixture
def folder(stranger: Stranger, tmp_path: Path) -> Path:
    """What `rec import` makes of the files."""
    (tmp_path / "map.toml").write_text(stranger.mapping, "utf-8")
    (tmp_path / "items.txt").write_text(stranger.items, stranger.encoding)
    events_in = "utf-8" if stranger.events.startswith("{") else stranger.encoding
    (tmp_path / "events.txt").write_text(stranger.events, events_in)
    import_files(
        Import(
            mapping=tmp_path / "map.toml",
            items=tmp_path / "items.txt",
            events=tmp_path / "events.txt",
            out=str(tmp_path / "out"),
        )
    )
    return tmp_path / "out"


def vectors_of(items: tuple[Item, ...], config: EncoderConfig) -> list[ItemVectors]:
    """What an encode worker of these settings says of items with texts alone."""
    text = load_encoders(config)["text"]
    vector_EW = text.encode([TextContent(item_text(item)) for item in items])
    fused = fuse(
        columns_of([{"text": v} for v in vector_EW]), rows=len(items), config=config
    )
    return [
        ItemVectors(
            item_id=item.item_id,
            slots={
                "text": Slot(
                    vector=vector.numpy().tobytes(), encoder=text.name, source=(ITEMS, 0, 0)
                )
            },
            fused=vector_D.numpy().tobytes(),
            encoder=fusion_version(config),
        )
        for item, vector, vector_D in zip(items, vector_EW, fused.vector_ED, strict=True)
    ]


def replayed(log: Log, config: EncoderConfig) -> Replay:
    """The log through the worker, with a visit of everybody at its end."""
    now_ms = int(log.at_ms_E[-1])
    replay = Replay(
        encoder=fusion_version(config), width=config.width, now_ms=now_ms,
        lists=ListConfig(k=3),
    )  # fmt: skip
    for item, vectors in zip(log.items, vectors_of(log.items, config), strict=True):
        replay.write(ITEMS, item.item_id, encode(item))
        replay.write(VECTORS, item.item_id, encode(vectors))
    replay.send(log.events)
    replay.send(Visit(event_id=f"see-{u}", user_id=u, at_ms=now_ms) for u in log.users)
    worker = replay.worker()
    replay.turn(worker, 6)
    return replay


def test_columns_of_others_are_learned_from_and_served_without_code(stranger, folder):
    fit_encoder(
        Fit(method="tf-idf", items=folder / "items.jsonl", out=folder, as_json=True)
    )
    config = EncoderConfig(
        text=f"path:{folder}", image="none", audio="none", video="none", sensor="none",
        device="cpu",
    )  # fmt: skip
    log = read_jsonl(folder / "events.jsonl", folder / "items.jsonl")
    replay = replayed(log, config)
    categories = {item.item_id: item.categories for item in log.items}
    assert set(log.users) == stranger.tastes.keys()
    for user_id, taste in stranger.tastes.items():
        slate = replay.slates(user_id)[-1]
        assert slate.caused_by[-1] == f"see-{user_id}"
        touched = {
            e.item_id for e in log.events if e.user_id == user_id and e.kind != "view"
        }
        listed = [item.item_id for item in slate.items]
        assert not touched & set(listed)
        fitting = [name for name in listed if taste in categories[name]]
        assert fitting[:2] == listed[:2]  # the first two of three; by chance less than half


def test_what_their_columns_say_is_in_the_records(stranger, folder):
    log = read_jsonl(folder / "events.jsonl", folder / "items.jsonl")
    if "kunde-17" not in log.users:
        assert [e.kind for e in log.events] == ["purchase", "save", "purchase", "view"]
        assert log.items[0].categories == ["武侠", "小说"]
        return
    by_id = {item.item_id: item for item in log.items}
    assert by_id["W1"].attributes == {"preis": 1129.0}
    assert not by_id["W5"].available
    assert by_id["K1"].categories == ["Küche", "Kaffee"]
    rating = log.events[1]
    assert (rating.kind, rating.value, rating.text) == ("rating", 4.5, "schön kräftig")
    assert rating.at_ms == 1_763_972_400_000  # 9:20 in Berlin is 8:20 UTC
    assert log.events[-1].context == {"filiale": "Ulm"}
    assert len(log.events) == 4  # the cancelled one is no record
