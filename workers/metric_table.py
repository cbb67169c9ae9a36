"""Every number that the workers show, declared once: what it is and what to do about it.

Read by workers/metrics.py, which counts, and by workers/documents.py, which makes
docs/metrics.md. Labels have closed sets of values: never an id of a user, item or event.
"""

from dataclasses import dataclass
from typing import Literal, get_args

from encoders.preparation import CHANGES, DROPS
from workers.media_limits import MediaReason

PREFIX = "streamrec_"
OTHER = "other"
"""Stands for a value outside its label's set; a test keeps our own code from needing it."""

Role = Literal["encode", "recommend", "trend", "train"]
Kind = Literal["counter", "gauge", "histogram", "info"]
ROLES: tuple[Role, ...] = ("encode", "recommend", "trend", "train")
ENCODE: tuple[Role, ...] = ("encode",)
RECOMMEND: tuple[Role, ...] = ("recommend",)
TREND: tuple[Role, ...] = ("trend",)
TRAIN: tuple[Role, ...] = ("train",)


@dataclass(frozen=True, slots=True)
class Label:
    """A label and its closed set; where the set comes from configuration, what bounds it."""

    name: str
    values: tuple[str, ...] = ()
    bound: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One metric. `name` is without the prefix; `act` says what to do when it looks wrong."""

    name: str
    kind: Kind
    unit: str
    help: str
    act: str
    roles: tuple[Role, ...] = ROLES
    labels: tuple[Label, ...] = ()
    buckets: tuple[float, ...] = ()


STAGES: dict[Role, tuple[str, ...]] = {
    "encode": (
        "poll", "begin", "decode", "prepare", "fetch", "plan", "batch", "encode", "fuse",
        "assemble", "publish", "commit", "signal", "restore", "refresh",
    ),
    "recommend": (
        "poll", "begin", "refresh", "batch", "decode", "load", "fold", "encode", "gather",
        "search", "rank", "publish", "commit", "learn", "save", "answer",
    ),
    "trend": ("decode", "fold", "publish", "save", "commit"),
    "train": ("refresh", "decode", "keep", "learn", "judge", "publish"),
}  # fmt: skip
ALL_STAGES = (*dict.fromkeys(stage for role in ROLES for stage in STAGES[role]), OTHER)
EVENT_TYPES = (
    "interaction",
    "undo",
    "visit",
    "query",
    "erase",
    "signal",
    "item",
    "media",
    OTHER,
)
OUTCOMES = (
    "accepted", "duplicate", "erased", "ignored", "refused", "replayed", "withdrawn", OTHER,
)  # fmt: skip
MEDIA_REASONS = (*get_args(MediaReason), "wrong_width", OTHER)
REASONS = (
    "unreadable", "missing_field", "wrong_field", "unknown_type", "unknown_kind", "bad_id",
    "non_finite", "too_deep", "null_value", "wrong_key", "wrong_partition", "wrong_width",
    "from_the_future", "too_late_to_undo", *get_args(MediaReason), OTHER,
)  # fmt: skip
MODALITIES = ("text", "image", "audio", "video", "sensor", OTHER)
SOURCES = (
    "interest", "together", "sequence", "category", "query", "cold", "empty", "erased", OTHER,
)  # fmt: skip
CAUSES = ("interaction", "query", "upload", OTHER)
RESTARTS = ("rolled_back", "progress_moved", "store", "rebalance", OTHER)
MODEL_REFUSALS = (
    "not_allowed", "unreachable", "too_large", "wrong_sha256", "unreadable", "wrong_dims",
)  # fmt: skip
VERDICTS = ("worse", "same", "pinned", "overtaken", "failed", OTHER)
OPERATIONS = (
    "load", "save", "progress", "advance", "put", "remove", "vectors", "search", OTHER,
)  # fmt: skip

FAST = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
REACTION = (
    0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0,
    2.0, 5.0, 10.0,
)  # fmt: skip
SLOW = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0)
COUNTS = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0)

_worker = Label("worker", ROLES)
_topic = Label("topic", bound="topics that the worker's group reads")
_partition = Label("partition", bound="partition numbers of these topics")

METRICS: tuple[Metric, ...] = (
    Metric(
        name="event_to_list_seconds", kind="histogram", unit="seconds", roles=RECOMMEND,
        buckets=REACTION,
        help="From the broker's append of an event to its list being acknowledged.",
        act="Over 0.5 s at p99: see which stage grew in stage_seconds; if lag grows too, add "
        "workers up to the number of partitions.",
    ),
    Metric(
        name="upload_to_recommendable_seconds", kind="histogram", unit="seconds",
        roles=RECOMMEND, buckets=SLOW,
        help="From the broker's append of an item or upload to its vector being in use.",
        act="Compare with media_seconds and stage_seconds of encode: slow origins want a "
        "nearer store of files, a slow model a GPU or more encode workers.",
    ),
    Metric(
        name="stage_seconds", kind="histogram", unit="seconds", buckets=FAST,
        labels=(_worker, Label("stage", ALL_STAGES)),
        help="Time of one stage for one batch.",
        act="The stage with the largest sum is where a faster machine or setting pays.",
    ),
    Metric(
        name="batch_records", kind="histogram", unit="records", buckets=COUNTS,
        labels=(_worker,),
        help="Records of one batch.",
        act="Always at the configured maximum: the worker is behind. Always 1 under load: "
        "polling returns too early, raise the batch wait.",
    ),
    Metric(
        name="events_total", kind="counter", unit="events",
        labels=(Label("type", EVENT_TYPES), Label("outcome", OUTCOMES)),
        help="Records read, by type and by what became of them.",
        act="Many refused: read the dead letters. Many duplicates: a producer retries "
        "without idempotence.",
    ),
    Metric(
        name="dead_letters_total", kind="counter", unit="records",
        labels=(Label("reason", REASONS),),
        help="Records set aside in the dead-letter topic, by reason.",
        act="Read the newest ones: each names field, value and remedy in its headers. A "
        "flood after a deploy of a producer means: roll that producer back.",
    ),
    Metric(
        name="late_events_total", kind="counter", unit="events", roles=RECOMMEND,
        help="Events older than the newest one of their user, folded at their own time.",
        act="Harmless; a steep rise means that a producer buffers for long or replays.",
    ),
    Metric(
        name="clamped_events_total", kind="counter", unit="events", roles=RECOMMEND,
        help="Events whose at_ms was too far ahead and was set to the broker's time.",
        act="Some producer's clock is wrong: compare at_ms with the broker's timestamps.",
    ),
    Metric(
        name="conditional_rejects_total", kind="counter", unit="users", roles=RECOMMEND,
        help="Saves refused because the store held a newer state of the user.",
        act="A few after a rebalance are right. A steady rate: two workers share a name or "
        "a store of another log.",
    ),
    Metric(
        name="lag_messages", kind="gauge", unit="records", labels=(_topic, _partition),
        help="Records between the next one to read and the partition's end.",
        act="Growing for minutes: add workers, up to the number of partitions.",
    ),
    Metric(
        name="lag_seconds", kind="gauge", unit="seconds", labels=(_topic, _partition),
        help="Age of the newest record that was handled, while there is more to read.",
        act="What people feel of the lag; act as for lag_messages.",
    ),
    Metric(
        name="commit_seconds", kind="histogram", unit="seconds", buckets=FAST,
        help="Time of one acknowledged publish with its offsets.",
        act="Steadily near 0.1 s or above: the broker is busy or far; look at its disks and "
        "at the network before the workers.",
    ),
    Metric(
        name="lists_total", kind="counter", unit="lists", roles=RECOMMEND,
        labels=(Label("source", SOURCES),),
        help="Lists published, by what they were made from.",
        act="Many empty: the catalogue is empty or filters exclude everything. Many cold: "
        "item vectors are missing.",
    ),
    Metric(
        name="trends_at_seconds", kind="gauge", unit="seconds", roles=RECOMMEND,
        help="Event time, in seconds since 1970, up to which trends are known to lists.",
        act="More than 2 s behind the newest events: the trend worker is down or too slow.",
    ),
    Metric(
        name="users_cached", kind="gauge", unit="users", roles=RECOMMEND,
        help="Users whose state is at hand.",
        act="Falls only by the memory limit: raise recommend.cache_mb if loads cost time.",
    ),
    Metric(
        name="users_dirty", kind="gauge", unit="users", roles=RECOMMEND,
        help="Users changed since the last save.",
        act="Growing without end: the store is down or too slow; see store_up.",
    ),
    Metric(
        name="cache_bytes", kind="gauge", unit="bytes", roles=RECOMMEND,
        help="Memory taken by the users at hand.",
        act="At recommend.cache_mb the least used are dropped: give more if loads cost time.",
    ),
    Metric(
        name="store_up", kind="gauge", unit="bool", roles=RECOMMEND,
        help="1 if the last call to the user store worked, 0 if it could not be reached.",
        act="0: bring Qdrant back (or the disk); lists go on from the cache, saving waits, "
        "nothing is lost.",
    ),
    Metric(
        name="store_seconds", kind="histogram", unit="seconds", roles=RECOMMEND,
        buckets=FAST, labels=(Label("operation", OPERATIONS),),
        help="Time of one call to the store.",
        act="Slow saves: look at the store's disk, or save less often (save_every_s).",
    ),
    Metric(
        name="tables_behind", kind="gauge", unit="records", roles=("recommend", "train"),
        help="Records of the item tables still to read before the first list is sent.",
        act="Not 0 for minutes after a start: the catalogue is large or the broker slow.",
    ),
    Metric(
        name="items_indexed", kind="gauge", unit="items", roles=RECOMMEND,
        help="Items that can be found.",
        act="Lower than the catalogue: items without vectors, see dead letters of encode.",
    ),
    Metric(
        name="items_unreadable_total", kind="counter", unit="records", roles=("recommend", "train"),
        help="Records of the item tables that could not be used.",
        act="Above 0: something else than our encode worker writes rec.item-vectors, or "
        "widths changed: run encode with one configuration.",
    ),
    Metric(
        name="restarts_total", kind="counter", unit="batches",
        labels=(Label("cause", RESTARTS),),
        help="Batches rolled back whose partitions began again from their progress.",
        act="Some at a rebalance are right; a steady rate: transactions time out or someone "
        "else writes the progress points.",
    ),
    Metric(
        name="rebalances_total", kind="counter", unit="rebalances",
        help="Changes of the partitions that this worker owns.",
        act="Steady without deploys: a worker dies or is silent for longer than the session "
        "timeout; see its log.",
    ),
    Metric(
        name="encoded_total", kind="counter", unit="slots", roles=ENCODE,
        labels=(Label("modality", MODALITIES),),
        help="Contents that went through an encoder.",
        act="0 while items arrive: everything is reused, refused or brought by producers.",
    ),
    Metric(
        name="encode_reused_total", kind="counter", unit="slots", roles=ENCODE,
        help="Contents left alone because nothing in them changed.",
        act="High is good: it is work saved.",
    ),
    Metric(
        name="media_seconds", kind="histogram", unit="seconds", roles=ENCODE, buckets=SLOW,
        labels=(Label("step", ("fetch", "decode", OTHER)),),
        help="Time to fetch or to decode one content.",
        act="Fetch slow: the origin; decode slow: raise encode.decode_threads.",
    ),
    Metric(
        name="media_failures_total", kind="counter", unit="contents", roles=ENCODE,
        labels=(Label("reason", MEDIA_REASONS),),
        help="Contents that could not be used; their item goes on without them.",
        act="not_allowed: set STREAMREC_MEDIA__ALLOW. unreachable, too_slow: look at the origin.",
    ),
    Metric(
        name="prepare_dropped_total", kind="counter", unit="contents", roles=ENCODE,
        labels=(Label("reason", (*DROPS, OTHER)),),
        help="Contents, or frames and sound tracks of videos, that were not worth encoding.",
        act="Many empty, blank or silent: some producer sends nothing; its dead letters have "
        "the records. duplicate, black_frame: work saved.",
    ),
    Metric(
        name="prepare_changed_total", kind="counter", unit="contents", roles=ENCODE,
        labels=(Label("change", (*CHANGES, OTHER)),),
        help="Contents in which something was put right, or noted, before encoding.",
        act="Many repaired: a producer decodes UTF-8 wrongly. Many clipped or stuck: look at "
        "microphones and sensors.",
    ),
    Metric(
        name="signals_total", kind="counter", unit="signals", roles=ENCODE,
        labels=(Label("cause", CAUSES),),
        help="Signals written into people's logs.",
        act="Queries without signals are queries without lists: see dead letters.",
    ),
    Metric(
        name="event_to_trend_seconds", kind="histogram", unit="seconds", roles=TREND,
        buckets=SLOW,
        help="From the broker's append of an event to the trends with it being acknowledged.",
        act="Over 2 s: see which stage grew in stage_seconds; add trend workers up to the "
        "number of partitions, or publish less often (trend.publish_every_s).",
    ),
    Metric(
        name="trend_tables_total", kind="counter", unit="records", roles=TREND,
        help="Records written to the trends topic.",
        act="Rate grows with the events; every recommend worker reads all of them.",
    ),
    Metric(
        name="trend_rows_total", kind="counter", unit="rows", roles=TREND,
        help="Rows of these records.",
        act="Too much for the readers: lower trend.publish_rows or trend.rows.",
    ),
    Metric(
        name="models_loaded_total", kind="counter", unit="models",
        roles=("encode", "recommend"),
        labels=(Label("outcome", ("loaded", *MODEL_REFUSALS, OTHER)),),
        help="Models that cards named, by whether they could be taken into use.",
        act="Anything but loaded: the model before stays in force; /readyz says why. Mend "
        "the file, or `rec models rollback`.",
    ),
    Metric(
        name="model_at_seconds", kind="gauge", unit="seconds",
        roles=("recommend", "train"),
        help="When the model in force was made, in seconds since the epoch.",
        act="Old for longer than train.every_s: training is away, or refuses (see "
        "models_refused_total).",
    ),
    Metric(
        name="space_items_lacking", kind="gauge", unit="items", roles=RECOMMEND,
        help="Items that have no vector yet in the space that is rolled out; 0: switched.",
        act="Not falling: an encode worker is away, or runs without the new fusion; or that has no "
        "vector for more than a tenth of the items (the log says space_fits_too_few).",
    ),
    Metric(
        name="train_candidate_score", kind="gauge", unit="ratio", roles=TRAIN,
        help="Hit rate at 20 of the newest candidate on the newest events.",
        act="Below train_current_score for many rounds: people changed, or the log did; look "
        "at what the newest events are.",
    ),
    Metric(
        name="train_current_score", kind="gauge", unit="ratio", roles=TRAIN,
        help="Hit rate at 20 of the model in force on the same events.",
        act="Falling while candidates do well: new models do not reach the topic.",
    ),
    Metric(
        name="train_events", kind="gauge", unit="events", roles=TRAIN,
        help="Events kept to learn from.",
        act="At train.max_events the oldest go; more needs more memory.",
    ),
    Metric(
        name="models_published_total", kind="counter", unit="models", roles=TRAIN,
        help="Models put in force by training.",
        act="None for long: see models_refused_total.",
    ),
    Metric(
        name="models_refused_total", kind="counter", unit="models", roles=TRAIN,
        labels=(Label("reason", VERDICTS),),
        help="Rounds of learning that put no model in force, by reason.",
        act="failed: the log says why. pinned: `rec models release` lets training go on. "
        "overtaken: another model came into force meanwhile; the next round is fair.",
    ),
    Metric(
        name="ready", kind="gauge", unit="bool",
        help="1 if /readyz answers 200.",
        act="0: /readyz of that worker says which condition fails and why.",
    ),
    Metric(
        name="model_info", kind="info", unit="info",
        labels=tuple(Label(n, bound="versions") for n in ("encoder", "model", "ranker")),
        help="Versions of what makes vectors and lists.",
        act="More than one version at a time outside a deploy: align the configuration.",
    ),
    Metric(
        name="store_info", kind="info", unit="info", roles=RECOMMEND,
        labels=tuple(Label(n, bound="versions") for n in ("store", "index")),
        help="Which store and which index this worker uses.",
        act="Workers of one group must agree, or share nothing.",
    ),
    Metric(
        name="law_info", kind="info", unit="info", roles=RECOMMEND,
        labels=(Label("law", bound="versions"),),
        help="Hash of weights and half-lives that users are folded with.",
        act="Two hashes at a time: some worker has another configuration; align it.",
    ),
    Metric(
        name="build_info", kind="info", unit="info",
        labels=tuple(Label(n, bound="versions") for n in ("worker", "version", "torch")),
        help="What runs.",
        act="For the versions table of the dashboard.",
    ),
)  # fmt: skip

BY_NAME: dict[str, Metric] = {metric.name: metric for metric in METRICS}


def series(metric: Metric) -> str:
    """The metric's whole name, as Prometheus sees it."""
    return PREFIX + metric.name
