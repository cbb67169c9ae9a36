"""docs/asyncapi.yaml: the public contract as an AsyncAPI 3.0 document.

Each record is two messages with one payload schema: as msgpack and as JSON. The document
stands alone: nothing in it refers to another file.
"""

from typing import Any

import msgspec

from schemas import CONTENT_TYPES
from schemas.examples import EXAMPLES
from workers.config import topic
from workers.document_schemas import ID_PATTERN, RECORDS, components
from workers.document_topics import (
    ABOUT,
    ERROR_HEADERS,
    KAFKA,
    SPECS,
    partitions,
    records_of,
)
from workers.topic_specs import TopicSpec

Tree = dict[str, Any]
WIRE_VERSION = "1.0.0"
BINDING = "0.5.0"
CARRIED = {
    "ce_id": "id of the CloudEvent that this record is",
    "ce_type": "its type",
    "ce_time": "when it happened, RFC 3339",
    "traceparent": "W3C trace context",
}
OURS = {"caused-at-ms": "the broker's timestamp of the record that caused this one"}
ABOUT_IT = """\
Media and events in, fresh recommendation lists out.

Produce to items, media and events; subscribe to recommendations. A record is a map in msgpack
or JSON; the header content-type says which, and without it the first byte does. Where JSON
has base64 (contentEncoding), msgpack has the bytes themselves. Partition by murmur2 of the
key, as Java's default partitioner does. Subscribe with isolation.level=read_committed.
Actions are those of streamrec's workers: what they receive you send.
"""


def document() -> Tree:
    """The document as plain maps and lists."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "streamrec",
            "version": WIRE_VERSION,
            "description": ABOUT_IT,
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": CONTENT_TYPES["msgpack"],
        "servers": {
            "laptop": {
                "host": "127.0.0.1:9092",
                "protocol": "kafka",
                "description": "What `rec dev kafka up` starts.",
            }
        },
        "channels": {spec.role: _channel(spec) for spec in SPECS},
        "operations": dict(_operations()),
        "components": {"messages": _messages(), "schemas": _schemas()},
    }


def _channel(spec: TopicSpec) -> Tree:
    about = ABOUT[spec.role]
    settings = spec.wanted()
    configuration: Tree = {
        "cleanup.policy": [settings.pop("cleanup.policy")],
        "max.message.bytes": int(settings.pop("max.message.bytes")),
    }
    for name, value in settings.items():
        configuration[name] = int(value) if value.lstrip("-").isdigit() else value
    return {
        "address": topic(KAFKA, spec.role),
        "title": spec.role,
        "description": about.is_ + (f" A null record: {about.null}." if about.null else ""),
        "messages": {name: _ref("components/messages", name) for name in _names(spec)},
        "bindings": {
            "kafka": {
                "topic": topic(KAFKA, spec.role),
                "partitions": partitions(spec),
                "topicConfiguration": configuration,
                "bindingVersion": BINDING,
            }
        },
    }


def _names(spec: TopicSpec) -> list[str]:
    """The messages of a topic."""
    if spec.role == "dead-letters":
        return ["dead_letter"]
    names = [name for tag in records_of(spec) for name in (tag, f"{tag}-json")]
    return names + ([f"{spec.role}-null"] if ABOUT[spec.role].null else [])


def _operations() -> list[tuple[str, Tree]]:
    made: list[tuple[str, Tree]] = []
    for spec in SPECS:
        about = ABOUT[spec.role]
        for action, people in (("receive", about.readers), ("send", about.writers)):
            ours = [name for name in people if name.split()[0] in _WORKERS]
            if not ours:
                continue
            messages = _names(spec)
            if (action, spec.role) == ("send", "events"):
                messages = ["signal"]
            name = f"{action}-{spec.role}"
            operation = {
                "action": action,
                "title": name.replace("-", " "),
                "summary": f"By the workers: {', '.join(ours)}.",
                "channel": _ref("channels", spec.role),
                "messages": [_ref(f"channels/{spec.role}/messages", m) for m in messages],
            }
            made.append((name, operation))
    return made


_WORKERS = ("encode", "recommend", "trend", "train")


def _messages() -> Tree:
    made: Tree = {}
    for spec in SPECS:
        for tag in records_of(spec):
            made[tag] = _message(spec, tag, CONTENT_TYPES["msgpack"])
            made[f"{tag}-json"] = _message(spec, tag, CONTENT_TYPES["json"])
        if null := ABOUT[spec.role].null:
            made[f"{spec.role}-null"] = {
                "name": f"{spec.role}-null",
                "title": "no value",
                "summary": f"A null record: {null}.",
                "contentType": "application/octet-stream",
                "payload": {"type": "null"},
                "bindings": _key(spec),
            }
    made["dead_letter"] = {
        "name": "dead_letter",
        "title": "dead letter",
        "summary": "A record as it was received, and why it was set aside.",
        "contentType": "application/octet-stream",
        "headers": _headers(ERROR_HEADERS, required=list(ERROR_HEADERS)),
        "payload": {"description": "The original bytes, whatever they are."},
        "bindings": {
            "kafka": {"key": {"description": "as received"}, "bindingVersion": BINDING}
        },
    }
    return dict(sorted(made.items()))


def _message(spec: TopicSpec, tag: str, content_type: str) -> Tree:
    said = " ".join((RECORDS[tag].__doc__ or "").split())
    more = OURS if spec.role in ("recommendations", "item-vectors") else {}
    headers = _headers({**more, **CARRIED})
    headers["properties"] = {
        "content-type": {"type": "string", "const": content_type},
        **headers["properties"],
    }
    in_json = content_type == CONTENT_TYPES["json"]
    return {
        "name": tag,
        "title": f"{tag} ({'JSON' if in_json else 'msgpack'})",
        "summary": said.partition(". ")[0].rstrip(".") + ".",
        "description": said,
        "contentType": content_type,
        "headers": headers,
        "payload": _ref("components/schemas", RECORDS[tag].__name__),
        "bindings": _key(spec),
        "examples": [
            {
                "name": tag,
                "headers": {"content-type": content_type},
                "payload": msgspec.to_builtins(EXAMPLES[tag]),
            }
        ],
    }


def _headers(said: Any, *, required: list[str] | None = None) -> Tree:
    return {
        "type": "object",
        "description": "Values are bytes of UTF-8.",
        "properties": {name: {"type": "string", "description": is_} for name, is_ in said.items()},
        **({"required": required} if required else {}),
        "additionalProperties": True,
    }  # fmt: skip


def _key(spec: TopicSpec) -> Tree:
    key = {
        "type": "string",
        "minLength": 1,
        "pattern": ID_PATTERN,
        "description": ABOUT[spec.role].key,
    }
    return {"kafka": {"key": key, "bindingVersion": BINDING}}


def _schemas() -> Tree:
    """The records' schemas in the dialect of AsyncAPI, which is JSON Schema's draft 7."""
    made: Tree = _draft_7(components("#/components/schemas/{name}"))
    return made


def _draft_7(node: Any) -> Any:
    if isinstance(node, list):
        return [_draft_7(inner) for inner in node]
    if not isinstance(node, dict):
        return node
    if "prefixItems" in node:
        rest = {k: v for k, v in node.items() if k not in ("prefixItems", "items")}
        node = {**rest, "items": node["prefixItems"], "additionalItems": False}
    return {key: _draft_7(inner) for key, inner in node.items()}


def _ref(where: str, name: str) -> dict[str, str]:
    return {"$ref": f"#/{where}/{name}"}
