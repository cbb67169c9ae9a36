"""Golden bytes: what was once written is read for ever, and a refusal names the field."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import msgspec
import pytest

from schemas import CONTENT_TYPES, TYPES, DecodeError, Encoding, decode, encode, encoding_of
from schemas.examples import EXAMPLES

GOLDEN = Path(__file__).parent / "golden"
ENCODINGS: tuple[Encoding, ...] = ("msgpack", "json")
ROLE_OF = {
    str(record.__struct_config__.tag): role
    for role, types in TYPES.items()
    for record in types
}
both = pytest.mark.parametrize("encoding", ENCODINGS)
every = pytest.mark.parametrize("name", EXAMPLES)


def tree_of(name: str) -> dict[str, Any]:
    """The example as another program would build it: plain maps, bytes as bytes."""
    tree: dict[str, Any] = msgspec.to_builtins(EXAMPLES[name], builtin_types=(bytes,))
    return tree


def pack(tree: Any, encoding: Encoding) -> bytes:
    if encoding == "msgpack":
        packed: bytes = msgpack.packb(tree)
        return packed
    return msgspec.json.encode(tree)


def refusal(role: str, tree: Any, encoding: Encoding) -> DecodeError:
    with pytest.raises(DecodeError) as caught:
        decode(role, pack(tree, encoding), CONTENT_TYPES[encoding])
    return caught.value


def test_every_record_of_every_topic_has_an_example_and_golden_bytes():
    assert EXAMPLES.keys() == ROLE_OF.keys()
    assert {path.name for path in GOLDEN.iterdir()} == {
        f"{name}.{encoding}" for name in EXAMPLES for encoding in ENCODINGS
    }


@every
@both
def test_the_stored_bytes_are_the_example_and_the_example_is_the_stored_bytes(
    name: str, encoding: Encoding
):
    stored = (GOLDEN / f"{name}.{encoding}").read_bytes()
    assert decode(ROLE_OF[name], stored) == EXAMPLES[name]
    assert encode(EXAMPLES[name], encoding) == stored


@every
def test_a_program_that_only_knows_the_package_msgpack_reads_and_writes_it(name: str):
    tree = msgpack.unpackb((GOLDEN / f"{name}.msgpack").read_bytes())
    assert tree["type"] == name
    assert decode(ROLE_OF[name], msgpack.packb(tree)) == EXAMPLES[name]


@every
@both
def test_fields_that_we_do_not_know_are_tolerated_at_every_level(
    name: str, encoding: Encoding
):
    def grown(tree: Any) -> Any:
        if isinstance(tree, dict):
            return {key: grown(value) for key, value in tree.items()}
        return [grown(value) for value in tree] if isinstance(tree, list) else tree

    new = {"since_v1_1": {"a": [1, None]}}
    tree = grown(tree_of(name)) | new
    for key, value in tree.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            tree[key] = [element | new for element in value]
    assert decode(ROLE_OF[name], pack(tree, encoding)) == EXAMPLES[name]


def required(record: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths of all required fields of a record and of what it holds."""
    if isinstance(record, msgspec.Struct):
        for field in msgspec.structs.fields(record):
            if field.required:
                yield (*path, field.name)
            yield from required(getattr(record, field.name), (*path, field.name))
    elif isinstance(record, list):
        yield from required(record[0] if record else None, (*path, 0))
    elif isinstance(record, dict):
        for key, value in record.items():
            yield from required(value, (*path, key))


def walked(tree: Any, path: tuple[Any, ...]) -> Any:
    for step in path:
        tree = tree[step]
    return tree


REQUIRED = [
    pytest.param(name, path, id=f"{name}-{'.'.join(map(str, path))}")
    for name, record in EXAMPLES.items()
    for path in [("type",), *required(record)]
]


@both
@pytest.mark.parametrize(("name", "path"), REQUIRED)
def test_a_missing_field_is_named(name: str, path: tuple[Any, ...], encoding: Encoding):
    tree = tree_of(name)
    del walked(tree, path[:-1])[path[-1]]
    error = refusal(ROLE_OF[name], tree, encoding)
    assert f"{path[-1]}`" in str(error)
    assert error.reason == ("unknown_type" if path == ("type",) else "missing_field")


@both
@pytest.mark.parametrize(("name", "path"), REQUIRED)
def test_a_wrong_field_is_named_with_what_it_is_and_what_to_do(
    name: str, path: tuple[Any, ...], encoding: Encoding
):
    tree = tree_of(name)
    walked(tree, path[:-1])[path[-1]] = {"not": "this"}
    error = refusal(ROLE_OF[name], tree, encoding)
    assert f"{path[-1]}`" in str(error)
    assert error.reason in ("unknown_type", "unknown_kind", "wrong_field")
    assert "send" in str(error) or "records of this topic have type" in str(error)


@pytest.mark.parametrize(
    ("name", "field", "value", "reason"),
    [
        pytest.param("interaction", "kind", "poke", "unknown_kind", id="an unknown kind"),
        pytest.param("interaction", "type", "poke", "unknown_type", id="an unknown type"),
        pytest.param("item", "type", "", "unknown_type", id="an empty type"),
        pytest.param("visit", "at_ms", -1, "wrong_field", id="a time before the epoch"),
        pytest.param("visit", "at_ms", 1e30, "wrong_field", id="a time past all calendars"),
        pytest.param(
            "item", "categories", ["x" * 1025], "wrong_field", id="a long category"
        ),
        pytest.param("visit", "user_id", "", "wrong_field", id="an empty id"),
        pytest.param("visit", "user_id", "u" * 257, "wrong_field", id="257 characters"),
        pytest.param(
            "visit", "user_id", "€" * 86, "bad_id", id="258 bytes in 86 characters"
        ),
        pytest.param("visit", "event_id", "e\n1", "bad_id", id="a line feed in an id"),
        pytest.param("item", "item_id", "i\x009", "bad_id", id="a zero byte in an id"),
        pytest.param("undo", "undoes", "e\x7f", "bad_id", id="delete in an id"),
        pytest.param("signal", "of", "e\x9f", "bad_id", id="a C1 control in an id"),
    ],
)
@both
def test_what_is_out_of_range_is_refused_with_its_reason(
    name: str, field: str, value: Any, reason: str, encoding: Encoding
):
    error = refusal(ROLE_OF[name], tree_of(name) | {field: value}, encoding)
    assert error.reason == reason
    assert f"`{field}" in str(error)
    assert len(str(error)) < 400


def test_ids_of_256_bytes_are_taken():
    for user_id in ("u" * 256, "é" * 128):
        tree = tree_of("visit") | {"user_id": user_id}
        assert decode("events", pack(tree, "msgpack")).user_id == user_id


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    ("name", "change", "field"),
    [
        pytest.param("interaction", lambda x: {"value": x}, "value", id="value"),
        pytest.param(
            "undo",
            lambda x: {"of": {"item_id": "i", "kind": "rating", "at_ms": 1, "value": x}},
            "of.value", id="value of what is undone",
        ),
        pytest.param(
            "visit", lambda x: {"context": {"a": {"b": [1.0, x]}}}, "context.a.b[1]",
            id="deep in a context",
        ),
        pytest.param(
            "item", lambda x: {"attributes": {"price": x}}, "attributes.price", id="attribute"
        ),
    ],
)  # fmt: skip
def test_a_number_that_is_none_is_refused(
    name: str, change: Any, field: str, number: float
):
    error = refusal(ROLE_OF[name], tree_of(name) | change(number), "msgpack")
    assert error.reason == "non_finite"
    assert f"`{field}`" in str(error)


def test_nan_is_no_json():
    value = encode(EXAMPLES["interaction"], "json").replace(b"5.0", b"NaN")
    with pytest.raises(DecodeError) as caught:
        decode("events", value)
    assert caught.value.reason == "unreadable"


def nested(depth: int) -> Any:
    tree: Any = 1
    for level in range(depth):
        tree = [tree] if level % 2 else {"a": tree}
    return tree


@both
@pytest.mark.parametrize("field", ["context", "unknown"])
def test_sixteen_levels_are_taken_and_seventeen_are_not(field: str, encoding: Encoding):
    # the record itself is the first level; `{field: ...}` keeps a context a map
    deepest = tree_of("visit") | {field: {"x": nested(14)}}
    assert decode("events", pack(deepest, encoding)).event_id == "e-3"
    deeper = tree_of("visit") | {field: {"x": nested(15)}}
    assert refusal("events", deeper, encoding).reason == "too_deep"


@both
def test_a_bottomless_record_is_refused_and_harms_nobody(encoding: Encoding):
    visit = pack(tree_of("visit"), encoding)
    hole = b'{"x":' * 50_000 if encoding == "json" else b"\x81\xa1x" * 50_000
    for value in (hole, visit[:-1] + hole):
        with pytest.raises(DecodeError):
            decode("events", value, CONTENT_TYPES[encoding])


@pytest.mark.parametrize(
    ("value", "header", "expected"),
    [
        pytest.param(b"{}", None, "json", id="a brace"),
        pytest.param(b" {}", None, "json", id="white space first"),
        pytest.param(b"\xef\xbb\xbf{}", None, "json", id="a byte order mark"),
        pytest.param(b"\x81\xa1a\x01", None, "msgpack", id="a small map"),
        pytest.param(b"\xde\x00\x01\xa1a\x01", None, "msgpack", id="a large map"),
        pytest.param(b"", None, "msgpack", id="nothing"),
        pytest.param(b"{}", "application/msgpack", "msgpack", id="the header goes first"),
        pytest.param(b"\x81", "application/json; charset=utf-8", "json", id="parameters"),
        pytest.param(b"{}", "application/x-msgpack", "msgpack", id="the older name"),
        pytest.param(b"{}", "application/vnd.acme+json", "json", id="a +json type"),
        pytest.param(b"{}", "text/plain", "json", id="a header that says nothing"),
    ],
)  # fmt: skip
def test_the_encoding_is_told_by_the_header_and_else_by_the_first_byte(
    value: bytes, header: str | None, expected: str
):
    assert encoding_of(value, header) == expected


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"hello", id="words"),
        pytest.param(b"\xc1", id="never a msgpack byte"),
        pytest.param(b"[1,2]", id="a list"),
        pytest.param(b'{"type":"visit"', id="cut short"),
        pytest.param(b'{"type":"visit\xff"}', id="not UTF-8"),
        pytest.param(bytes([0x93, 1, 2, 3]), id="a msgpack list"),
    ],
)
def test_what_is_no_map_is_unreadable_and_shown_as_it_begins(value: bytes):
    with pytest.raises(DecodeError) as caught:
        decode("events", value)
    assert caught.value.reason == "unreadable"
    assert repr(value[:40]) in str(caught.value)


def test_a_record_of_another_topic_is_refused_and_told_what_belongs_there():
    error = refusal("items", tree_of("visit"), "json")
    assert error.reason == "unknown_type"
    assert "item" in str(error)


def test_bytes_in_json_are_base64():
    tree = msgspec.json.decode(encode(EXAMPLES["signal"], "json"))
    assert tree["vector"] == "AAAAPwAAAL8AAAA/AAAAPw=="
