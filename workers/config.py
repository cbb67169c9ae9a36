"""The only reader of the environment: STREAMREC_<SECTION>__<NAME>=value, read once.

One frozen tree; unknown names stop the start. Lists are comma-separated or JSON, tables are
JSON. docs/configuration.md is generated from this file.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from encoders.config import EncoderConfig
from encoders.law import CLASSES, DAY_MS, KINDS, Kind, Law
from encoders.preparation import PrepareConfig
from ranking.trend_config import TrendConfig
from workers.media import MediaLimits

PREFIX = "STREAMREC_"
Positive = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(gt=0)]


class ConfigError(ValueError):
    """The environment can't be used; the message names the variable and the remedy."""


class KafkaConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the broker is, what the topics are called, how a worker joins."""

    bootstrap: str = ""
    """host:port,... of the brokers; empty: the laptop Kafka of `rec dev kafka`"""
    prefix: str = "rec"
    """first part of every topic's name"""
    partitions: Positive = 6
    """partitions of topics that `rec topics create` makes"""
    replication: Positive = 1
    """replicas of topics that `rec topics create` makes"""
    group: str = "streamrec"
    """first part of the consumer groups' names"""
    worker: str = "worker-0"
    """this worker's name: group.instance.id, transactional.id and store folder; unique in a group"""
    session_timeout_ms: Annotated[int, Meta(ge=1000)] = 8000
    """how long a silent worker keeps its partitions"""
    transaction_timeout_ms: Annotated[int, Meta(ge=1000)] = 10000
    """how long an open transaction of a dead worker holds back readers"""
    options: dict[str, str] = {}
    """more librdkafka settings for every client (security.protocol, sasl.*), as JSON"""


class WireConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What our own records look like."""

    slates: Literal["msgpack", "json"] = "msgpack"
    """encoding of the lists"""


class QdrantConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where user vectors and, for large catalogues, item vectors are kept."""

    url: str = ""
    """a Qdrant server or cluster; empty: the embedded engine in a folder; `:memory:`: for trials"""
    api_key: str = ""
    """for a server that wants one"""
    path: str = "var/store"
    """folder of the embedded engine; each worker has a folder of its own name inside"""
    timeout_s: Seconds = 5.0
    """limit of one call to a server"""
    users: str = "rec_users"
    """collection of users"""
    progress: str = "rec_progress"
    """collection of progress points"""
    items: str = "rec_items"
    """collection of items, where the catalogue is larger than index.resident_items"""


class IndexConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How items are searched."""

    resident_items: Positive = 1_000_000
    """up to so many items the index is an exact matrix in the worker, beyond it Qdrant's"""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """where the matrix lives"""


class ListConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a list is."""

    k: Annotated[int, Meta(ge=1, le=1000)] = 10
    """items a list"""
    ranker: Literal["blend", "content"] = "blend"
    """blend: trends, the trained model and content, as far as they are there; content: alone"""
    blend_rate: Annotated[float, Meta(ge=0, le=0.1)] = 0.0001
    """how fast the blend follows what people do next; 0: it stays as it was trained"""
    explore: Annotated[float, Meta(ge=0, le=1)] = 0.05
    """share of blended lists of five and more whose last place goes to an item that chance draws, little known ones and new ones like the newest touches first"""
    reasons: Annotated[int, Meta(ge=0, le=10)] = 2
    """reasons an item"""
    heaviest: Positive = 256
    """how many of a user's items, the heaviest, make the interest"""
    query_weight: Annotated[float, Meta(ge=0, le=1)] = 0.7
    """share of what was asked against what is known of the person in the answer to a query"""
    repeat_categories: list[str] = []
    """categories in which items already seen may be listed again"""
    fresh_share: Annotated[float, Meta(ge=0, le=1)] = 0.3
    """share of fresh items in a list by content without an interest; the rest is what is popular"""
    fresh_half_life_ms: Seconds = 7.0 * DAY_MS
    """after so long an item is half as fresh"""
    popular_half_life_ms: Seconds = 1.0 * DAY_MS
    """after so long an event counts half for popularity"""
    fatigue: Annotated[float, Meta(ge=0, le=1)] = 0.9
    """factor on an item's score for each time that it was shown without an answer"""


class RecommendConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the recommend worker moves."""

    batch: Positive = 1000
    """records a batch, at most"""
    save_every_s: Seconds = 1.0
    """how often changed users are saved"""
    save_users: Positive = 5000
    """so many changed users are saved without waiting"""
    cache_mb: Positive = 512
    """memory for users that are kept at hand"""
    future_clamp_ms: Positive = 5 * 60 * 1000
    """an at_ms further ahead of the broker than this is set to the broker's time"""
    future_refuse_ms: Positive = DAY_MS
    """an at_ms further ahead than this is refused"""


class EncodeConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the encode worker moves."""

    batch: Positive = 64
    """records a micro-batch, at most"""
    batch_wait_s: Annotated[float, Meta(ge=0)] = 0.01
    """how long a partial batch waits for more"""
    batch_tokens: Positive = 8192
    """tokens a micro-batch, at most"""
    batch_pixels: Positive = 32 * 224 * 224
    """decoded pixels a micro-batch, at most"""
    batch_audio_s: Seconds = 120.0
    """seconds of sound a micro-batch, at most"""
    batch_sensor: Positive = 1_000_000
    """values of sensor readings a micro-batch, at most"""
    decode_threads: Positive = 2
    """threads that fetch and decode while the model runs"""


class LawConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What events are worth. Any change makes another law: run `rec rebuild` after it."""

    weights: dict[str, float] = {}
    """weight by kind, where it differs from the default"""
    classes: dict[str, Literal["short", "medium", "long"]] = {}
    """half-life class by kind, where it differs"""
    seen: dict[str, bool] = {}
    """whether a kind marks its item as seen, where it differs"""
    short_ms: Seconds = 1.0 * DAY_MS
    """half-life of the class short"""
    medium_ms: Seconds = 14.0 * DAY_MS
    """half-life of the class medium"""
    long_ms: Seconds = 180.0 * DAY_MS
    """half-life of the class long"""
    rating_weights: tuple[float, ...] = (-2.0, -1.0, 0.3, 1.0, 2.0)
    """weights of 1, 2, ... stars"""
    signal_weight: float = 1.0
    """weight of what a user says or shows"""

    def law(self) -> Law:
        """The law that these settings make. Raises ConfigError for an unknown kind."""
        named = self.weights.keys() | self.classes.keys() | self.seen.keys()
        if unknown := named - KINDS.keys():
            raise ConfigError(
                f"{PREFIX}LAW__*: no kind {sorted(unknown)}; kinds: {list(KINDS)}"
            )
        kinds = {
            name: Kind(
                self.weights.get(name, kind.weight),
                self.classes.get(name, kind.half_life),
                self.seen.get(name, kind.seen),
            )
            for name, kind in KINDS.items()
        }
        return Law(
            kinds=kinds,
            half_life_ms=(self.short_ms, self.medium_ms, self.long_ms),
            rating_weights=self.rating_weights,
            signal_weight=self.signal_weight,
        )


class TrainConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the train worker learns, and when what it learned is published."""

    path: str = "var/train"
    """folder of the event log's columns; each worker has a folder of its own name inside"""
    out: str = "var/models"
    """folder that models are written to; recommend workers must see it under the same path"""
    name: str = "ranker"
    """name of the models' cards"""
    learner: str = "ranking.learn"
    """what learns: a module with `learn` and `judge`, or module:object"""
    every_events: Positive = 1_000
    """a round of learning after so many new events"""
    every_share: Annotated[float, Meta(ge=0, le=1)] = 0.01
    """and after no fewer than this share of all that are kept"""
    every_s: Seconds = 3600.0
    """a round after so long all the same, if there are new events"""
    min_fresh: Positive = 200
    """no round with fewer new events than this"""
    min_events: Positive = 1_000
    """no round with fewer events than this in all; our own learner needs 500"""
    newest: Positive = 2_000
    """how many of the newest events models are judged on; at most a fifth of all, and half of the new ones"""
    tolerance: Annotated[float, Meta(ge=0, le=1)] = 0.0
    """by how much the candidate's hit rate may be lower than that of the model in force, chance left out"""
    max_events: Positive = 2_000_000
    """events that are kept, the newest; about 400 bytes each while a round begins"""
    keep: Annotated[int, Meta(ge=2)] = 10
    """versions that are kept to roll back to"""
    threads: Positive = 1
    """threads of one operation: the rest of the machine is for the others"""
    nice: Annotated[int, Meta(ge=0, le=19)] = 10
    """by how much the process gives way to others"""
    seed: Annotated[int, Meta(ge=0)] = 0
    """seed of everything that is drawn"""


class ModelsConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How workers take in the models that cards name."""

    allow: list[str] = []
    """prefixes of URIs that models may come from; empty: any file: and https: with a sha256"""
    max_mb: Positive = 1024
    """size of a model's file, at most"""
    retry_s: Seconds = 10.0
    """a model that can't be had is tried again after so long, while its card stands"""
    wait_s: Seconds = 30.0
    """how long a worker waits at its start for the model in force, before the first list"""
    both_s: Seconds = 3600.0
    """for how long after a fusion's card, at least, vectors of the space before are written
    beside the new ones; `rec models confirm` ends it earlier"""


class HttpConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The worker's own small server: /metrics, /healthz, /readyz, /user, /why."""

    host: str = "127.0.0.1"
    """address that it listens on"""
    port: Annotated[int, Meta(ge=0, le=65535)] = 0
    """port; 0: a free one, printed at start and written to `var/http`"""


class LogConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the worker says."""

    format: Literal["auto", "json", "console"] = "auto"
    """auto: console on a terminal, else JSON"""
    level: Literal["debug", "info", "warning", "error"] = "info"
    """least level that is printed"""


class Config(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that can be set."""

    kafka: KafkaConfig = KafkaConfig()
    wire: WireConfig = WireConfig()
    qdrant: QdrantConfig = QdrantConfig()
    index: IndexConfig = IndexConfig()
    list: ListConfig = ListConfig()
    recommend: RecommendConfig = RecommendConfig()
    encode: EncodeConfig = EncodeConfig()
    encoders: EncoderConfig = EncoderConfig()
    prepare: PrepareConfig = PrepareConfig()
    media: MediaLimits = MediaLimits()
    law: LawConfig = LawConfig()
    train: TrainConfig = TrainConfig()
    models: ModelsConfig = ModelsConfig()
    trend: TrendConfig = TrendConfig()
    http: HttpConfig = HttpConfig()
    log: LogConfig = LogConfig()


def load_config(env: Mapping[str, str]) -> Config:
    """The tree that these variables make. Raises ConfigError naming the variable."""
    tree: dict[str, dict[str, Any]] = {}
    for key, value in env.items():
        if key.startswith(PREFIX):
            section, _, name = key.removeprefix(PREFIX).lower().partition("__")
            tree.setdefault(section, {})[name] = _parsed(section, name, value)
    try:
        config = msgspec.convert(tree, Config, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigError(_explained(str(error))) from error
    try:
        config.law.law()
    except ValueError as error:
        raise ConfigError(f"{PREFIX}LAW__*: {error}") from error
    return config


def _parsed(section: str, name: str, value: str) -> Any:
    """Tables and lists from their text; everything else is converted by its type."""
    field = _fields(section).get(name)
    if field is None or getattr(field, "__origin__", None) not in (list, tuple, dict):
        return value
    if value[:1] in ("[", "{"):
        try:
            return msgspec.json.decode(value)
        except msgspec.DecodeError as error:
            raise ConfigError(f"{_variable(section, name)} is not JSON: {error}") from error
    if field.__origin__ is dict:
        raise ConfigError(f"{_variable(section, name)} is a table; write it as JSON")
    return [part.strip() for part in value.split(",") if part.strip()]


def _fields(section: str) -> dict[str, Any]:
    struct = _sections().get(section)
    return (
        {} if struct is None else {f.name: f.type for f in msgspec.structs.fields(struct)}
    )


def _sections() -> dict[str, type[Struct]]:
    return {f.name: f.type for f in msgspec.structs.fields(Config)}


def _variable(section: str, name: str) -> str:
    return f"{PREFIX}{section.upper()}__{name.upper()}"


def _explained(error: str) -> str:
    said, _, path = error.partition(" - at `$")
    section, _, name = path.rstrip("`").lstrip(".").partition(".")
    if "unknown field" in said:
        unknown = said.split("`")[1]
        where = _variable(section, unknown) if section else f"{PREFIX}{unknown.upper()}__*"
        return f"{where} is not a setting; see docs/configuration.md for those that are"
    return f"{_variable(section, name)}: {said}; see docs/configuration.md"


def topic(config: KafkaConfig, role: str) -> str:
    """The name of the topic with this role, e.g. "events" -> rec.events.v1."""
    return f"{config.prefix}.{role}.v1"


__all__ = ["CLASSES", "Config", "ConfigError", "load_config", "topic"]
