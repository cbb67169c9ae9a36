"""What docs/topics.md and docs/asyncapi.yaml say of each topic beyond its settings."""

from collections.abc import Mapping
from dataclasses import dataclass

from schemas import TYPES
from workers.config import KafkaConfig, topic
from workers.document_pages import NOTE, table
from workers.document_schemas import RECORDS, tag_of
from workers.topic_specs import TopicSpec, topic_specs

SPECS: tuple[TopicSpec, ...] = topic_specs(keep_events=True)
KAFKA = KafkaConfig()


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """Who writes and reads a topic, and what its keys and nulls mean."""

    is_: str
    key: str
    writers: tuple[str, ...]
    readers: tuple[str, ...]
    null: str = ""


US = ("encode", "recommend")
ABOUT: Mapping[str, About] = {
    "items": About(
        is_="Things that can be recommended; the newest record of a key counts.",
        key="item_id",
        writers=("producers",),
        readers=US,
        null="the item is withdrawn",
    ),
    "media": About(
        is_="Uploads: content for an item, or what a user says or shows.",
        key="item_id, or user_id where the upload has one",
        writers=("producers",),
        readers=("encode",),
    ),
    "events": About(
        is_="Everything that changes a user, in one order.",
        key="user_id",
        writers=("producers", "encode (signals)"),
        readers=US,
    ),
    "item-vectors": About(
        is_="All vectors of an item: what every index is made from.",
        key="item_id",
        writers=("encode",),
        readers=US,
        null="the item is forgotten",
    ),
    "recommendations": About(
        is_="A fresh list for every user whom something touched. Read it with "
        "isolation.level=read_committed.",
        key="user_id",
        writers=("recommend",),
        readers=("subscribers",),
        null="the user was erased",
    ),
    "trends": About(
        is_="Named tables of what is popular and of what follows what, in chunks.",
        key="name",
        writers=("trend",),
        readers=("recommend",),
    ),
    "models": About(
        is_="Where trained models are, and how to know that they are the right ones.",
        key="name: the one in force; name/version: kept to go back to",
        writers=("train", "rec models"),
        readers=(*US, "train"),
        null="the version is no longer kept",
    ),
    "dead-letters": About(
        is_="Records that could not be used: the bytes and headers as they were received, "
        "and headers __connect.errors.* that say where they came from and why they are here.",
        key="as received",
        writers=US,
        readers=("operators",),
    ),
}
ERROR_HEADERS: Mapping[str, str] = {
    "__connect.errors.topic": "topic that the record was read from",
    "__connect.errors.partition": "its partition",
    "__connect.errors.offset": "its offset",
    "__connect.errors.stage": "which worker set it aside",
    "__connect.errors.class.name": "the reason, as in the metric streamrec_dead_letters_total",
    "__connect.errors.exception.message": "the field, its value's beginning, and the remedy",
}


def partitions(spec: TopicSpec) -> int:
    """How many partitions `rec topics create` gives it, with the defaults."""
    return 1 if spec.single else KAFKA.partitions


def records_of(spec: TopicSpec) -> tuple[str, ...]:
    """The `type`s of its records."""
    return tuple(tag_of(record) for record in TYPES.get(spec.role, ()))


def topics_page() -> str:
    """docs/topics.md"""
    rows = [
        (
            f"[`{topic(KAFKA, spec.role)}`](#{spec.role})",
            ABOUT[spec.role].key,
            spec.cleanup,
            str(partitions(spec)),
            ", ".join(f"[`{tag}`](schemas/{tag}.json)" for tag in records_of(spec))
            or "as received",
        )
        for spec in SPECS
    ]
    parts = [
        "# Topics",
        NOTE.format(source="workers/topic_specs.py and workers/document_topics.py"),
        (
            f"`rec topics create` makes these, with the prefix `{KAFKA.prefix}` unless "
            "`STREAMREC_KAFKA__PREFIX` names another one, and says what is different from here in "
            "topics that are there already. The whole contract is in "
            "[asyncapi.yaml](asyncapi.yaml), the records are in [schemas/](schemas/)."
        ),
        table(("topic", "key", "cleanup", "partitions", "records"), rows),
        (
            "Events, media, items, item-vectors and recommendations need equal partition counts "
            "and one partitioner, murmur2 as Java's (librdkafka: `partitioner=murmur2_random`): a "
            "signal or a list goes to the partition number of the record that caused it."
        ),
        (
            "A record is a map, in msgpack or in JSON, told by the header `content-type` "
            "(`application/msgpack`, `application/json`) and without it by the first byte. Fields "
            "that a reader does not know are left alone. The headers `ce_id`, `ce_type`, `ce_time` "
            "and `traceparent` travel from an event to its list."
        ),
        *(_topic(spec) for spec in SPECS),
    ]
    return "\n\n".join(parts) + "\n"


def _topic(spec: TopicSpec) -> str:
    about = ABOUT[spec.role]
    facts = [
        f"key: {about.key}",
        f"written by: {', '.join(about.writers)}; read by: {', '.join(about.readers)}",
        *([f"null: {about.null}"] if about.null else []),
        *(f"`{name}={value}`" for name, value in spec.wanted().items()),
    ]
    if spec.role == "events":
        facts.append(
            "kept for ever where users are rebuilt from it (the embedded store); with a shared "
            "store any retention longer than the oldest backup will do"
        )
    records = [
        f"**`{tag}`** {' '.join((RECORDS[tag].__doc__ or '').split())}"
        for tag in records_of(spec)
    ]
    if spec.role == "dead-letters":
        records = [
            table(("header", "is"), [(f"`{n}`", s) for n, s in ERROR_HEADERS.items()])
        ]
    lines = "\n".join(f"- {fact}" for fact in facts)
    return "\n\n".join([f"## {spec.role}", about.is_, lines, *records])
