"""JSON Schemas (2020-12) of the records, from the Structs in schemas/.

They describe the JSON encoding; in msgpack the same map has bytes where JSON has base64.
"""

import inspect
from typing import Any

import msgspec

from schemas import TYPES
from schemas.examples import EXAMPLES

DRAFT = "https://json-schema.org/draft/2020-12/schema"
ID_PATTERN = "^[^\\u0000-\\u001f\\u007f-\\u009f]+$"
ID = "An id: at most 256 bytes of UTF-8, no control characters."
VECTOR = "Little-endian float32; base64 in JSON, bytes in msgpack."
BYTES = "Base64 in JSON, bytes in msgpack."

Schema = dict[str, Any]


def tag_of(record: type[msgspec.Struct]) -> str:
    """What a record has in `type`."""
    return str(record.__struct_config__.tag)


RECORDS: dict[str, type[msgspec.Struct]] = {
    tag_of(record): record for types in TYPES.values() for record in types
}


def components(ref: str = "#/$defs/{name}") -> dict[str, Schema]:
    """Every Struct that crosses a wire by its name; references look as `ref` says."""
    _, found = msgspec.json.schema_components(list(RECORDS.values()), ref_template=ref)
    structs = {record.__name__: tag for tag, record in RECORDS.items()}
    for name, schema in found.items():
        schema["description"] = inspect.cleandoc(schema.get("description", ""))
        schema["additionalProperties"] = True  # unknown fields are tolerated
        if name in structs:
            schema["properties"]["type"] = {"const": structs[name]}
        _described(schema)
    return dict(sorted(found.items()))


def record_schemas() -> dict[str, Schema]:
    """One self-contained schema a record, by the record's `type`."""
    parts = components()
    made: dict[str, Schema] = {}
    for tag, record in sorted(RECORDS.items()):
        schema = parts[record.__name__]
        defs = {name: parts[name] for name in sorted(_reached(schema, parts))}
        made[tag] = {
            "$schema": DRAFT,
            "$id": f"urn:streamrec:{tag}:v1",
            **schema,
            "examples": [msgspec.to_builtins(EXAMPLES[tag])],
            **({"$defs": defs} if defs else {}),
        }
    return made


def _described(node: Any) -> None:
    """Say in words and patterns what the types alone do not."""
    if isinstance(node, list):
        for inner in node:
            _described(inner)
    if not isinstance(node, dict):
        return
    if node.get("type") == "string":
        if (node.get("minLength"), node.get("maxLength")) == (1, 256):
            node |= {"pattern": ID_PATTERN, "description": ID}
        elif node.get("contentEncoding") == "base64":
            node["description"] = VECTOR if "minLength" in node else BYTES
    for inner in list(node.values()):
        _described(inner)


def _reached(schema: Schema, parts: dict[str, Schema]) -> set[str]:
    """Names of all components that a schema refers to, and they in turn."""
    found: set[str] = set()
    waiting = [schema]
    while waiting:
        for name in _references(waiting.pop()) - found:
            found.add(name)
            waiting.append(parts[name])
    return found


def _references(node: Any) -> set[str]:
    if isinstance(node, dict):
        own = (
            {node["$ref"].rsplit("/", 1)[-1]}
            if isinstance(node.get("$ref"), str)
            else set()
        )
        return own.union(*(_references(inner) for inner in node.values()))
    if isinstance(node, list):
        return set[str]().union(*(_references(inner) for inner in node))
    return set()
