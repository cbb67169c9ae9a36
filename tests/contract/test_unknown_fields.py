"""Unknown fields are tolerated whatever they hold, and never stop a worker."""

import msgpack
import pytest

from schemas import DecodeError, Interaction, decode

BASE = (
    b'{"type":"interaction","event_id":"e","user_id":"u","item_id":"i","kind":"click",'
    b'"at_ms":1764000000000'
)
MANY = b',"tags":[' + b"[]," * 20 + b"[]]"  # containers, so that the depth is looked at
RECORD = {
    "type": "interaction", "event_id": "e", "user_id": "u", "item_id": "i", "kind": "click",
    "at_ms": 1_764_000_000_000,
}  # fmt: skip
JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF" + bytes(range(256))
ODD = {
    "an infinite number": BASE + b',"q":1e400' + MANY + b"}",
    "a number of 6,000 digits": BASE + b',"q":1' + b"0" * 6_000 + MANY + b"}",
    "text that is none": BASE + b',"q":"\xff"' + MANY + b"}",
    "a name that is none": BASE + b',"\xff":1' + MANY + b"}",
    "bytes as an old library writes them": msgpack.packb(
        {**RECORD, "thumb": JPEG}, use_bin_type=False
    ),
    "a timestamp that is none": msgpack.packb(
        {**RECORD, "at": msgpack.ExtType(5, b"abc"), "tags": [[]] * 20}
    ),
}

# a map of seven, whose last key is a map itself
ODD["a map for a key"] = (
    b"\x88"
    + msgpack.packb(RECORD)[1:]
    + msgpack.packb("tags") + msgpack.packb([[]] * 20)
    + msgpack.packb("q") + b"\x81\x81\xa1a\x01\x01"
)  # fmt: skip


@pytest.mark.parametrize("value", ODD.values(), ids=ODD)
def test_an_event_with_an_odd_unknown_field_is_an_event(value: bytes) -> None:
    event = decode("events", value)
    assert isinstance(event, Interaction)
    assert event.item_id == "i"


def test_what_is_known_is_looked_at_all_the_same() -> None:
    deep = b',"context":{"a":' + b"[" * 20 + b"]" * 20 + b"}"
    with pytest.raises(DecodeError) as refusal:
        decode("events", BASE + deep + b',"q":1e400}')
    assert refusal.value.reason == "too_deep"
    assert "context.a" in str(refusal.value)


@pytest.mark.parametrize("depth", [1_000, 100_000])
def test_what_is_nested_beyond_all_bounds_is_refused(depth: int) -> None:
    with pytest.raises(DecodeError):
        decode("events", BASE + b',"q":' + b"[" * depth + b"]" * depth + b"}")
