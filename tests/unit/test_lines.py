"""Where a line of JSON goes, under which key, and what is refused before it is sent."""

import json

import msgpack
import pytest

from schemas import DecodeError
from workers.lines import read_line

AT = {"at_ms": 1_764_000_000_000}
CLICK = {"type": "interaction", "event_id": "e", "item_id": "i", "kind": "click", **AT}


def line(**fields) -> bytes:
    return json.dumps(fields).encode()


@pytest.mark.parametrize(
    ("fields", "role", "key"),
    [
        pytest.param({"type": "item", "item_id": "i9"}, "items", "i9", id="item"),
        pytest.param(
            {"type": "media", "media_id": "m", "item_id": "i9", "kind": "image", **AT},
            "media", "i9", id="media of an item",
        ),
        pytest.param(
            {"type": "media", "media_id": "m", "item_id": "i", "user_id": "u", "kind": "image",
             **AT},
            "media", "u", id="media of a person",
        ),
        pytest.param({**CLICK, "user_id": "u1"}, "events", "u1", id="interaction"),
        pytest.param(
            {"type": "undo", "event_id": "e2", "user_id": "u1", "undoes": "e", **AT},
            "events", "u1", id="undo",
        ),
        pytest.param(
            {"type": "visit", "event_id": "e", "user_id": "u1", **AT}, "events", "u1", id="visit"
        ),
        pytest.param(
            {"type": "query", "event_id": "e", "user_id": "u1", "text": "x", **AT},
            "events", "u1", id="query",
        ),
        pytest.param(
            {"type": "erase", "event_id": "e", "user_id": "u1", **AT}, "events", "u1", id="erase"
        ),
        pytest.param(
            {"type": "signal", "event_id": "e#m0", "of": "e", "user_id": "u1", **AT},
            "events", "u1", id="signal",
        ),
    ],
)  # fmt: skip
def test_topic_and_key_follow_from_the_record(fields, role, key):
    read = read_line(line(**fields))
    assert (read.role, read.key) == (role, key)
    assert msgpack.unpackb(read.value or b"")["type"] == fields["type"]


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"withdraw": "i9"}, id="withdraw"),
        pytest.param(
            {"type": "item", "item_id": "i9", "withdrawn": True}, id="withdrawn item"
        ),
    ],
)
def test_an_item_is_taken_back_by_a_null_record(fields):
    read = read_line(line(**fields))
    assert (read.role, read.key, read.value) == ("items", "i9", None)


def test_on_the_json_wire_a_line_travels_as_it_stands():
    text = line(**CLICK, user_id="u1", our_own_field=7) + b"\n"
    assert read_line(text, "json").value == text.strip()


def test_inline_media_is_bytes_in_msgpack():
    text = line(**CLICK, user_id="u1", media=[{"kind": "image", "data": "AAEC"}])
    value = msgpack.unpackb(read_line(text).value or b"")
    assert value["media"][0]["data"] == b"\x00\x01\x02"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param(b"{", "not JSON", id="broken"),
        pytest.param(b"[1]", "a line is a JSON map", id="not a map"),
        pytest.param(line(type="slate"), "`type` is 'slate'; send one of item", id="ours"),
        pytest.param(line(item_id="i"), "`type` is None", id="no type"),
        pytest.param(line(**CLICK), "field `user_id` is missing", id="missing field"),
        pytest.param(
            line(**{**CLICK, "kind": "poke"}, user_id="u"), "`kind` is 'poke'", id="unknown kind"
        ),
        pytest.param(line(withdraw=7), "`withdraw` is 7", id="withdraw what"),
        pytest.param(line(withdraw="a\nb"), "no control characters", id="control characters"),
        pytest.param(
            line(type="media", media_id="m", kind="image", **AT), "item_id or user_id",
            id="media of nobody",
        ),
    ],
)  # fmt: skip
def test_what_a_worker_would_set_aside_is_refused_before_it_is_sent(text, said):
    with pytest.raises(DecodeError, match=said):
        read_line(text)
