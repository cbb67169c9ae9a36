"""From bytes to an event that may be folded, or to a dead letter that says why not."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from schemas import DecodeError, Event, Interaction, Signal, Undo, decode, refused
from workers.config import RecommendConfig
from workers.ports import Headers, Outbound, Record

NEEDS_VALUE = ("rating", "dwell")
CARRIED = ("ce_id", "ce_type", "ce_time", "traceparent")


@dataclass(frozen=True, slots=True)
class Accepted:
    """An event with the record that it came in; `at_ms` is its time after clamping."""

    record: Record
    event: Event
    at_ms: int


def decode_events(
    records: Sequence[Record], *, width: int, config: RecommendConfig
) -> tuple[list[Accepted], list[tuple[Record, DecodeError]]]:
    """Split records into events and refusals, order kept. Times that lead the broker's too
    far are clamped to it, or refused."""
    accepted: list[Accepted] = []
    rejected: list[tuple[Record, DecodeError]] = []
    for record in records:
        try:
            accepted.append(_decode(record, width, config))
        except DecodeError as error:
            rejected.append((record, error))
    return accepted, rejected


def _decode(record: Record, width: int, config: RecommendConfig) -> Accepted:
    if record.value is None:
        raise refused(
            "null_value", "value", None, "events are never withdrawn; send an undo"
        )
    event = decode("events", record.value, record.header("content-type"))
    check_key(record, "user_id", event.user_id)
    at_ms = event.at_ms
    ahead_ms = at_ms - record.timestamp_ms
    if ahead_ms > config.future_refuse_ms:
        raise refused(
            "from_the_future", "at_ms", at_ms, "send milliseconds since the epoch"
        )
    check_value(event)
    if isinstance(event, Signal) and event.vector is not None:
        check_vector("vector", event.vector, width)
    return Accepted(
        record, event, record.timestamp_ms if ahead_ms > config.future_clamp_ms else at_ms
    )


def check_key(record: Record, field: str, expected: str) -> None:
    """Raise DecodeError unless the record's key is this id."""
    if record.key is None or record.key != expected.encode():
        shown = None if record.key is None else record.key.decode("utf-8", "replace")
        raise refused(
            "wrong_key", field, expected,
            f"the record's key is {shown!r}; send the {field} as the key",
        )  # fmt: skip


def check_value(event: Event) -> None:
    """Raise DecodeError where a kind that is nothing without its value has none, also in what an
    undo says that it takes back."""
    if isinstance(event, Interaction) and event.value is None:
        field, kind = "value", event.kind
    elif isinstance(event, Undo) and event.of is not None and event.of.value is None:
        field, kind = "of.value", event.of.kind
    else:
        return
    if kind in NEEDS_VALUE:
        raise refused("missing_field", field, None, f"a {kind} needs its value")


def check_vector(field: str, vector: bytes, width: int) -> None:
    """Raise DecodeError unless these are `width` finite float32."""
    if len(vector) != 4 * width:
        raise refused(
            "wrong_width", field, f"{len(vector)} bytes",
            f"the space has {width} float32, {4 * width} bytes",
        )  # fmt: skip
    if not np.isfinite(np.frombuffer(vector, "<f4")).all():
        raise refused("non_finite", field, "a vector", "send finite numbers")


def dead_letter(record: Record, error: DecodeError, *, topic: str, stage: str) -> Outbound:
    """The original bytes and headers, and why they were set aside (Kafka Connect's names)."""
    why: Headers = (
        ("__connect.errors.topic", record.topic.encode()),
        ("__connect.errors.partition", str(record.partition).encode()),
        ("__connect.errors.offset", str(record.offset).encode()),
        ("__connect.errors.stage", stage.encode()),
        ("__connect.errors.class.name", error.reason.encode()),
        ("__connect.errors.exception.message", str(error).encode()[:8_192]),
    )
    return Outbound(topic, record.key, record.value, None, record.headers + why)


def carried(record: Record) -> Headers:
    """The headers of a cause that travel on to its list."""
    return tuple((name, value) for name, value in record.headers if name in CARRIED)
