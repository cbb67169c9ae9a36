"""Topics as the broker has them: made once, told apart, mended only where that is harmless."""

from __future__ import annotations

import pytest
from confluent_kafka.admin import AdminClient
from msgspec.structs import replace

from tests.support.kafka import create_topics, free_port
from tests.support.waiting import wait_for
from workers import topics
from workers.config import KafkaConfig
from workers.laptop_kafka import Broker
from workers.ports import FatalError
from workers.topics import broker_check, check_topics, topic_ids
from workers.topics import create_topics as create

pytestmark = pytest.mark.wire


@pytest.fixture
def config(broker: Broker, topic_prefix: str) -> KafkaConfig:
    return KafkaConfig(bootstrap=broker.bootstrap, prefix=topic_prefix, partitions=3)


def test_topics_are_made_once_and_found_right_afterwards(config: KafkaConfig) -> None:
    missing = check_topics(config, keep_events=True)
    assert {report.state for report in missing} == {"missing"}
    assert all("rec topics create" in report.problems[0] for report in missing)

    made = create(config, keep_events=True)
    assert {report.state for report in made} == {"created"}
    roles = {report.name.split(".")[1]: report.partitions for report in made}
    assert roles == {
        "items": 3,
        "media": 3,
        "events": 3,
        "item-vectors": 3,
        "recommendations": 3,
        "trends": 1,
        "models": 1,
        "dead-letters": 3,
    }
    again = create(config, keep_events=True)
    assert {report.state for report in again} == {"present"}
    assert again == check_topics(config, keep_events=True)
    assert {r.state for r in check_topics(config, keep_events=False)} == {"present"}


def test_what_differs_is_said_with_its_remedy_and_mended_when_asked(
    config: KafkaConfig, broker: Broker, topic_prefix: str
) -> None:
    recommendations, events = (
        f"{topic_prefix}.{r}.v1" for r in ("recommendations", "events")
    )
    create_topics(broker.bootstrap, {recommendations: 3})
    create_topics(
        broker.bootstrap, {events: 5}, **{"message.timestamp.type": "LogAppendTime"}
    )

    reports = {r.name: r for r in create(config, keep_events=True) if r.state == "differs"}
    assert set(reports) == {recommendations, events}
    said = " | ".join(reports[recommendations].problems)
    assert "cleanup.policy=delete and not compact" in said
    assert "min.compaction.lag.ms=0" in said
    assert "rec topics create --fix" in said
    count, *others = reports[events].problems
    assert "has 5 partitions and not 3" in count
    assert "STREAMREC_KAFKA__PARTITIONS=5" in count
    assert [problem.split("=")[0] for problem in others] == ["has retention.ms"]

    mended = {r.name: r for r in create(config, keep_events=True, fix=True)}
    assert mended[recommendations].state == "mended"
    assert (mended[events].state, mended[events].problems) == ("mended", (count,))
    after = {r.name: r for r in check_topics(config, keep_events=True)}
    assert after[recommendations].state == "present"
    assert after[events].problems == (count,)


def test_a_topic_that_is_made_again_has_another_id(config: KafkaConfig) -> None:
    create(config, keep_events=False)
    events = f"{config.prefix}.events.v1"
    before = topic_ids(config, [events])
    assert topic_ids(config, [events]) == before
    admin = AdminClient({"bootstrap.servers": config.bootstrap})
    for answer in admin.delete_topics([events], operation_timeout=30).values():
        answer.result(30)

    def gone() -> bool:
        reports = check_topics(config, keep_events=False)
        return any(r.name == events and r.state == "missing" for r in reports)

    wait_for(gone, limit_s=10)
    create(config, keep_events=False)
    after = topic_ids(config, [events])
    assert set(after) == set(before) == {events}
    assert after != before
    with pytest.raises(FatalError, match="rec topics create"):
        topic_ids(config, ["nowhere"])


def test_a_topic_that_is_deleted_while_it_is_looked_at_is_missing(
    config: KafkaConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = {f"{config.prefix}.events.v1": 3}
    monkeypatch.setattr(topics, "_partitions", lambda *_: listed)
    reports = check_topics(config, keep_events=False)
    assert {report.state for report in reports} == {"missing"}


def test_the_broker_is_looked_at(config: KafkaConfig) -> None:
    seen = broker_check(config, watch_s=0.0)
    assert (seen.reachable, seen.brokers, seen.problems) == (True, 1, ())
    assert seen.cluster_id
    assert seen.skew_ms is None
    too_many = broker_check(replace(config, replication=3), watch_s=0.0)
    assert "STREAMREC_KAFKA__REPLICATION" in too_many.problems[0]


def test_a_broker_that_is_away_is_said_to_be(config: KafkaConfig) -> None:
    away = replace(config, bootstrap=f"127.0.0.1:{free_port()}")
    seen = broker_check(away, watch_s=0.0)
    assert not seen.reachable
    assert "STREAMREC_KAFKA__BOOTSTRAP" in seen.problems[0]
    nowhere = broker_check(replace(config, bootstrap=""), watch_s=0.0)
    assert "rec dev kafka up" in nowhere.problems[0]
