"""One bad slot does not take an item's other slots with it."""

import base64
import json
from typing import Any

import msgpack
import pytest

from schemas import DecodeError, decode_item

GOOD = base64.b64encode(b"\0\0\x80?" * 3).decode()
BAD: list[tuple[str, dict[str, Any], str]] = [
    ("an empty vector", {"vectors": {"clip": [], "image": [1.0, 2.0]}}, "vectors.clip"),
    ("a null number", {"vectors": {"clip": [1.0, None], "image": [1.0]}}, "vectors.clip"),
    ("a word for a vector", {"vectors": {"clip": "no!", "image": [1.0]}}, "vectors.clip"),
    ("a reference without kind", {"media": [{"uri": "x"}, {"kind": "image"}]}, "media[0]"),
    ("data that is null", {"media": [{"kind": "image"}, {"kind": "audio", "data": None}]}, "media[1]"),
    ("a long uri", {"media": [{"kind": "image", "uri": "f" * 3000}, {"kind": "image"}]}, "media[0]"),
    ("no reference at all", {"media": [5, {"kind": "image"}]}, "media[0]"),
]  # fmt: skip


@pytest.mark.parametrize("wire", ["json", "msgpack"])
@pytest.mark.parametrize(("what", "fields", "names"), BAD, ids=[b[0] for b in BAD])
def test_a_bad_slot_is_named_and_the_rest_of_the_item_stays(what, fields, names, wire):
    record = {"type": "item", "item_id": "i1", "title": "still here", **fields}
    value = json.dumps(record).encode() if wire == "json" else msgpack.packb(record)
    item, faults = decode_item(value)
    assert item.title == "still here", what
    assert len(item.vectors) + len(item.media) == 1
    assert [names in str(fault) for fault in faults] == [True]


def test_bytes_survive_a_bad_neighbour_in_both_encodings():
    media = [{"kind": "image", "data": GOOD}, {"kind": 5}]
    record = {
        "type": "item",
        "item_id": "i1",
        "vectors": {"a": GOOD, "b": []},
        "media": media,
    }
    item, faults = decode_item(json.dumps(record).encode())
    assert (item.vectors, item.media[0].data) == ({"a": b"\0\0\x80?" * 3}, b"\0\0\x80?" * 3)
    assert len(faults) == 2
    media[0]["data"] = record["vectors"]["a"] = b"\0\0\x80?"  # type: ignore[index]
    item, faults = decode_item(msgpack.packb(record))
    assert (item.vectors, item.media[0].data) == ({"a": b"\0\0\x80?"}, b"\0\0\x80?")


def test_too_many_references_are_cut_and_named():
    media = [{"kind": "image", "uri": f"file:///{n}"} for n in range(70)]
    item, faults = decode_item(
        json.dumps({"type": "item", "item_id": "i", "media": media}).encode()
    )
    assert (len(item.media), len(faults)) == (64, 1)


def test_what_is_wrong_elsewhere_is_refused_whole():
    with pytest.raises(DecodeError, match="title"):
        decode_item(b'{"type":"item","item_id":"i1","title":5,"media":[7]}')
    with pytest.raises(DecodeError, match="item_id"):
        decode_item(b'{"type":"item"}')


@pytest.mark.parametrize("field", ["vectors", "media", "beside"])
@pytest.mark.parametrize("wire", ["json", "msgpack"])
def test_numbers_that_nobody_can_write_again_harm_no_other_slot(field, wire):
    """Some decoders read whole numbers of any length, and no encoder writes them."""
    huge = "1" + "0" * 26
    parts = {
        "vectors": f'"vectors":{{"a":[{huge},2],"b":null,"image":[1.0]}}',
        "media": f'"media":[{{"kind":"image","more":{huge}}},5]',
        "beside": f'"more":{huge},"vectors":{{"b":null,"image":[1.0]}}',
    }
    value = b'{"type":"item","item_id":"i1","title":"here",' + parts[field].encode() + b"}"
    if wire == "msgpack":
        pairs = {
            "vectors": {"vectors": {"a": [2**64 - 1, "x"], "b": None, "image": [1.0]}},
            "media": {"media": [{"kind": "image", "more": 2**64 - 1}, 5]},
            "beside": {"more": 2**64 - 1, "vectors": {"b": None, "image": [1.0]}},
        }
        value = msgpack.packb(
            {"type": "item", "item_id": "i1", "title": "here", **pairs[field]}
        )
    item, faults = decode_item(value)
    assert item.title == "here"
    assert len(item.vectors) + len(item.media) <= 2
    assert faults
