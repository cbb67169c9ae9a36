"""Topics made, checked and named; how the broker is. For `rec topics`, `rec doctor` and starts.

With kafka.py the only file that knows confluent_kafka.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from confluent_kafka import (
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # they are its own
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    OffsetSpec,
    ResourceType,
)

from workers.config import topic as topic_of
from workers.kafka_options import client_options, fate
from workers.ports import FatalError, TransientError
from workers.topic_specs import AT_LEAST, TopicSpec, topic_specs

if TYPE_CHECKING:
    from workers.config import KafkaConfig

REQUEST_S = 30.0
SETTLE_S = 5.0  # limit for changed settings to be seen
SKEW_MS = 1000.0  # clocks that differ by more are a problem
TOO_OLD = "AAAAAAAAAAAAAAAAAAAAAA"  # the id that a broker before 2.8 gives every topic
State = Literal["created", "present", "differs", "missing", "mended"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicReport:
    """How a topic is; each problem ends with what to do about it."""

    name: str
    state: State
    partitions: int = 0
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerReport:
    """How the broker is; each problem ends with what to do about it.

    `skew_ms` is the broker's clock less ours, between two bounds, or None where nothing told.
    """

    bootstrap: str
    reachable: bool
    brokers: int = 0
    cluster_id: str = ""
    skew_ms: tuple[float, float] | None = None
    problems: tuple[str, ...] = ()


def create_topics(
    config: KafkaConfig, *, keep_events: bool, fix: bool = False
) -> list[TopicReport]:
    """Makes what is missing and reports on the rest; a second call changes nothing.

    With `fix`, settings that differ are set. Partition counts are never changed: keys would
    move away from their users' past.
    """
    admin = _admin(config)
    specs = topic_specs(keep_events=keep_events)
    found = _partitions(admin, config)
    missing = [spec for spec in specs if topic_of(config, spec.role) not in found]
    made = _create(admin, config, missing)
    if made:
        found = _await_topics(admin, config, [topic_of(config, s.role) for s in specs])
    reports = _reports(admin, config, specs, found, made=made)
    return _mend(admin, config, specs, reports) if fix else reports


def check_topics(config: KafkaConfig, *, keep_events: bool) -> list[TopicReport]:
    """How every topic is; changes nothing."""
    admin = _admin(config)
    specs = topic_specs(keep_events=keep_events)
    return _reports(admin, config, specs, _partitions(admin, config), made=set())


def check_copartitioned(config: KafkaConfig) -> None:
    """FatalError where topics whose partitions of one number belong together differ in how many
    they have. Those that are not there are passed over."""
    admin = _admin(config)
    there, specs = _partitions(admin, config), topic_specs(keep_events=True)
    names = [topic_of(config, spec.role) for spec in specs if spec.copartitioned]
    counts = {name: there[name] for name in names if name in there}
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise FatalError(
            f"topics that need equal partition counts have {told}: create them anew by "
            "`rec topics create` under another STREAMREC_KAFKA__PREFIX (counts can't be changed: "
            "keys would move)"
        )


def topic_ids(config: KafkaConfig, topics: Sequence[str]) -> dict[str, str]:
    """The id that the broker gave each topic: another one after it was deleted and made
    again, whatever its name."""
    admin = _admin(config)  # its answers end with it
    answers = admin.describe_topics(TopicCollection(list(topics)))
    ids = {name: str(_answer(answer, config).topic_id) for name, answer in answers.items()}
    if TOO_OLD in ids.values():
        raise FatalError("Kafka: the broker knows no topic ids: use Kafka 2.8 or newer")
    return ids


def broker_check(config: KafkaConfig, *, watch_s: float = 1.0) -> BrokerReport:
    """Whether the broker answers, and how its clock differs from ours.

    The protocol has no question for the time. What tells is the events topic, which the
    broker stamps: a record that arrives while we look, for at most `watch_s`, bounds the
    difference by the moments of looking. Without one, the newest record tells only if the
    broker is ahead of us, by its stamp or more.
    """
    try:
        admin = _admin(config)
        cluster = _answer(admin.describe_cluster(request_timeout=5.0), config)
    except (FatalError, TransientError) as error:
        said = f"{error}: is it running, and STREAMREC_KAFKA__BOOTSTRAP right?"
        return BrokerReport(bootstrap=config.bootstrap, reachable=False, problems=(said,))
    nodes, problems = len(cluster.nodes), list[str]()
    if nodes < config.replication:
        problems.append(
            f"{nodes} brokers can't hold {config.replication} replicas: "
            "set STREAMREC_KAFKA__REPLICATION"
        )
    skew_ms = _skew_ms(admin, config, watch_s=watch_s)
    if skew_ms is not None and (skew_ms[0] > SKEW_MS or skew_ms[1] < -SKEW_MS):
        problems.append(
            f"the broker's clock is {skew_ms[0]:.0f} to {skew_ms[1]:.0f} ms ahead of ours: "
            "synchronise both (chrony, ntpd)"
        )
    return BrokerReport(
        bootstrap=config.bootstrap,
        reachable=True,
        brokers=nodes,
        cluster_id=cluster.cluster_id,
        skew_ms=skew_ms,
        problems=tuple(problems),
    )


def member_of(config: KafkaConfig, group: str, worker: str) -> str:
    """The id of the group's member that runs under this worker's name; empty if none does."""
    admin = _admin(config)
    answers = admin.describe_consumer_groups([group], request_timeout=REQUEST_S)
    members = _answer(answers[group], config).members
    return next((m.member_id for m in members if m.group_instance_id == worker), "")


def offsets_of(
    config: KafkaConfig, group: str, partitions: Sequence[tuple[str, int]]
) -> dict[tuple[str, int], int]:
    """The group's next offsets, as if there were no open transaction."""
    if not partitions:
        return {}
    asked = ConsumerGroupTopicPartitions(group, [TopicPartition(*at) for at in partitions])
    admin = _admin(config)
    answers = admin.list_consumer_group_offsets(
        [asked], require_stable=False, request_timeout=REQUEST_S
    )
    found = _answer(answers[group], config).topic_partitions
    return {(at.topic, at.partition): at.offset for at in found if at.offset >= 0}


def _admin(config: KafkaConfig) -> AdminClient:
    return AdminClient(client_options(config))


def _answer(answer: Future[Any], config: KafkaConfig) -> Any:
    try:
        return answer.result(REQUEST_S)
    except KafkaException as error:
        raise fate(error.args[0], config) from error
    except TimeoutError as error:
        raise TransientError(f"Kafka: no answer in {REQUEST_S:g} s") from error


def _partitions(admin: AdminClient, config: KafkaConfig) -> dict[str, int]:
    """How many partitions each existing topic has."""
    try:
        topics = admin.list_topics(timeout=REQUEST_S).topics
    except KafkaException as error:
        raise fate(error.args[0], config) from error
    return {
        name: len(topic.partitions) for name, topic in topics.items() if not topic.error
    }


def _create(
    admin: AdminClient, config: KafkaConfig, specs: Sequence[TopicSpec]
) -> set[str]:
    """Names of those that we made; someone else's at the same time is as good."""
    if not specs:
        return set()
    topics = [
        NewTopic(
            topic_of(config, spec.role),
            1 if spec.single else config.partitions,
            config.replication,
            config=spec.wanted(),
        )
        for spec in specs
    ]
    made = set[str]()
    for name, answer in admin.create_topics(topics, operation_timeout=REQUEST_S).items():
        try:
            answer.result(REQUEST_S)
            made.add(name)
        except KafkaException as error:
            if error.args[0].name() != "TOPIC_ALREADY_EXISTS":
                raise fate(error.args[0], config) from error
    return made


def _await_topics(
    admin: AdminClient, config: KafkaConfig, names: Collection[str]
) -> dict[str, int]:
    """A broker may answer before it has heard of a topic that the controller has made."""
    deadline = time.monotonic() + REQUEST_S
    while True:
        found = _partitions(admin, config)
        if found.keys() >= set(names):
            return found
        if time.monotonic() > deadline:
            raise TransientError(
                f"Kafka: {sorted(set(names) - found.keys())} do not appear"
            )
        time.sleep(0.05)


def _reports(
    admin: AdminClient,
    config: KafkaConfig,
    specs: Sequence[TopicSpec],
    found: Mapping[str, int],
    *,
    made: Collection[str],
) -> list[TopicReport]:
    names = [topic_of(config, spec.role) for spec in specs]
    settings = _settings(admin, config, [name for name in names if name in found])
    reports = list[TopicReport]()
    for spec, name in zip(specs, names, strict=True):
        if name not in settings:
            problem = "is missing: run `rec topics create`"
            reports.append(TopicReport(name=name, state="missing", problems=(problem,)))
            continue
        problems = [
            *_wrong_count(spec, found[name], config),
            *(text for _, text in _wrong_settings(spec, settings[name])),
        ]
        state: State = "differs" if problems else "created" if name in made else "present"
        reports.append(
            TopicReport(
                name=name, state=state, partitions=found[name], problems=tuple(problems)
            )
        )
    return reports


def _settings(
    admin: AdminClient, config: KafkaConfig, names: Sequence[str]
) -> dict[str, dict[str, str]]:
    """What each topic has; without those that were deleted since they were listed."""
    if not names:
        return {}
    asked = [ConfigResource(ResourceType.TOPIC, name) for name in names]
    found = dict[str, dict[str, str]]()
    for resource, answer in admin.describe_configs(asked).items():
        try:
            entries = _answer(answer, config)
        except FatalError as error:
            if _gone(error.__cause__):
                continue
            raise
        found[resource.name] = {key: entry.value for key, entry in entries.items()}
    return found


def _gone(error: BaseException | None) -> bool:
    """Whether the broker said that there is no such topic."""
    unknown = KafkaError.UNKNOWN_TOPIC_OR_PART
    return isinstance(error, KafkaException) and error.args[0].code() == unknown


def _wrong_count(spec: TopicSpec, count: int, config: KafkaConfig) -> list[str]:
    if not spec.copartitioned or count == config.partitions:
        return []
    problem = (
        f"has {count} partitions and not {config.partitions}: if all five co-partitioned "
        f"topics have {count}, set STREAMREC_KAFKA__PARTITIONS={count}; otherwise start anew "
        "under another STREAMREC_KAFKA__PREFIX (partitions can't be changed: keys would move)"
    )
    return [problem]


def _wrong_settings(spec: TopicSpec, has: Mapping[str, str]) -> Iterable[tuple[str, str]]:
    """Names of settings that differ, and what to do."""
    for key, wanted in spec.wanted().items():
        value = has.get(key, "")
        if key in AT_LEAST and value.isdecimal() and int(value) >= int(wanted):
            continue
        if value != wanted:
            yield (
                key,
                f"has {key}={value} and not {wanted}: run `rec topics create --fix`",
            )


def _mend(
    admin: AdminClient,
    config: KafkaConfig,
    specs: Sequence[TopicSpec],
    reports: Sequence[TopicReport],
) -> list[TopicReport]:
    """Sets the settings that differ, and looks again."""
    by_name = {topic_of(config, spec.role): spec for spec in specs}
    differing = [report.name for report in reports if report.state == "differs"]
    settings = _settings(admin, config, differing)
    changes = [
        ConfigResource(
            ResourceType.TOPIC,
            name,
            incremental_configs=[
                ConfigEntry(
                    key,
                    by_name[name].wanted()[key],
                    incremental_operation=AlterConfigOpType.SET,
                )
                for key, _ in wrong
            ],
        )
        for name in differing
        if (wrong := list(_wrong_settings(by_name[name], settings[name])))
    ]
    if not changes:
        return list(reports)
    for answer in admin.incremental_alter_configs(changes).values():
        _answer(answer, config)
    deadline, mended = time.monotonic() + SETTLE_S, {change.name for change in changes}
    while True:  # a broker answers for a moment longer as it was
        after = _look_again(admin, config, specs, reports, mended)
        settled = mended <= {report.name for report in after if report.state == "mended"}
        if settled or time.monotonic() > deadline:
            return after
        time.sleep(0.05)


def _look_again(
    admin: AdminClient,
    config: KafkaConfig,
    specs: Sequence[TopicSpec],
    before: Sequence[TopicReport],
    mended: Collection[str],
) -> list[TopicReport]:
    """What was mended is said to be, though its partition count may still differ."""
    after = _reports(admin, config, specs, _partitions(admin, config), made=set())
    return [
        replace(now, state="mended")
        if now.name in mended and not any("--fix" in problem for problem in now.problems)
        else (was if was.state == "created" else now)
        for was, now in zip(before, after, strict=True)
    ]


def _skew_ms(
    admin: AdminClient, config: KafkaConfig, *, watch_s: float
) -> tuple[float, float] | None:
    deadline = time.monotonic() + watch_s
    before_ms, before = time.time() * 1000, _newest_ms(admin, config)
    while before is not None:
        asked_ms, newest = time.time() * 1000, _newest_ms(admin, config)
        now_ms = time.time() * 1000
        if newest is not None and newest > before:  # it came between the two questions
            return newest - now_ms, newest - before_ms
        if time.monotonic() > deadline:
            ahead_ms = before - now_ms
            return (ahead_ms, ahead_ms) if ahead_ms > 0 else None
        before_ms = asked_ms
        time.sleep(0.05)
    return None


def _newest_ms(admin: AdminClient, config: KafkaConfig) -> int | None:
    """The broker's stamp on its newest event; -1 where there is none, None without a topic."""
    name = topic_of(config, "events")
    newest = OffsetSpec.max_timestamp()  # type: ignore[no-untyped-call]
    asked = {
        TopicPartition(name, number): newest
        for number in range(_partitions(admin, config).get(name, 0))
    }
    answers = admin.list_offsets(asked, request_timeout=5.0) if asked else {}
    return max((_answer(a, config).timestamp for a in answers.values()), default=None)
