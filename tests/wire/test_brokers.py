"""Three brokers, and the one that leads is killed under load: nothing is lost, nothing doubled."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer

from schemas import Event
from tests.support.cluster import Cluster, running_cluster
from tests.support.people import (
    ITEMS,
    assert_answered_once,
    assert_users_are_lawful,
    history,
)
from tests.support.spine import WIDTH, Spine, reading, spine
from workers.stores import open_user_store

pytestmark = [pytest.mark.wire, pytest.mark.fault, pytest.mark.timeout(300)]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with running_cluster(tmp_path / "kafka") as running:
        yield running


@pytest.fixture
def house(cluster: Cluster, topic_prefix: str, tmp_path: Path) -> Iterator[Spine]:
    more = {"STREAMREC_KAFKA__REPLICATION": "3"}
    with spine(cluster.bootstrap, topic_prefix, tmp_path, **more) as made:
        made.producer = Producer(  # a retry of ours is not to be taken for theirs
            {
                "bootstrap.servers": cluster.bootstrap,
                "partitioner": "murmur2_random",
                "enable.idempotence": True,
            }
        )
        made.catalogue(ITEMS)
        yield made


def test_the_broker_that_leads_is_killed_and_a_worker_goes_on_by_itself(
    house: Spine, cluster: Cluster
):
    worker = house.start("recommend")
    worker.wait_ready()
    sent: list[Event] = history(0, 900)
    with reading(house) as reader:
        house.send(*sent[:400])
        reader.until([sent[60].event_id])  # in the middle of the work
        cluster.kill(cluster.leader(house.topic("events"), 0))
        house.send(*sent[400:])
        house.flush()
        assert_answered_once(reader, sent)
    assert worker.child.poll() is None
    assert worker.stop() == 0
    store = open_user_store(house.config, width=WIDTH)
    try:
        assert_users_are_lawful(store, sent)
    finally:
        store.close()
