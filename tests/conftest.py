"""Fixtures for every test: one real Kafka a session, a topic prefix a test."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from tests.support.kafka import running_kafka
from workers.laptop_kafka import Broker

# Before torch is loaded, here and in the programs that tests start: one thread each. What tests
# compute is small, and two threads that wait for each other on cores which others use turn a
# second into a minute.
os.environ.setdefault("OMP_NUM_THREADS", "1")


KAFKA = re.compile(r"tests/wire/|tests/contract/test_(kafka|log|topics)_?\w*\.py")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With `-n 2`: what talks to Kafka runs in one process, one after the other and on one
    broker; beside it the rest, each file whole, for what is loaded once a file or a session."""
    from xdist.scheduler import LoadScopeScheduling

    class KafkaApart(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return "kafka" if KAFKA.match(nodeid) else nodeid.partition("::")[0]

    return KafkaApart(config, log)


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """One real Kafka for the whole session, started by the first test that asks."""
    with running_kafka(tmp_path_factory.mktemp("kafka")) as running:
        yield running


@pytest.fixture
def topic_prefix() -> str:
    """A prefix that no other test has, such as t3f2a."""
    return f"t{uuid4().hex[:8]}"


@pytest.fixture(params=["all items", "pools"], scope="module")
def small_and_large(request: pytest.FixtureRequest) -> Iterator[None]:
    """What is tested holds for a large catalogue as well: one that is looked at by pools."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "pools":
            patch.setattr("ranking.pool.WIDE", 0)
        yield
