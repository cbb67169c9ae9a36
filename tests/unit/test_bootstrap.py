"""Which broker a command talks to."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from workers.bootstrap import reached, settings
from workers.config import Config, KafkaConfig
from workers.terminal import CommandError, Exit


def on(bootstrap: str) -> Config:
    return Config(kafka=KafkaConfig(bootstrap=bootstrap))


def test_a_named_broker_is_taken_as_it_is(tmp_path: Path):
    config = settings({"STREAMREC_KAFKA__BOOTSTRAP": "far.example:9092"}, folder=tmp_path)
    assert config.kafka.bootstrap == "far.example:9092"


def test_without_a_name_and_without_a_laptop_kafka_the_remedy_is_said(tmp_path: Path):
    with pytest.raises(
        CommandError, match=r"rec dev kafka up.*STREAMREC_KAFKA__BOOTSTRAP"
    ) as no:
        settings({}, folder=tmp_path)
    assert no.value.code is Exit.MISSING


@pytest.mark.parametrize(
    "form",
    ["127.0.0.1:{port}", "127.0.0.1:1, 127.0.0.1:{port}", "PLAINTEXT://127.0.0.1:{port}"],
)
def test_a_broker_is_reached_if_one_of_its_addresses_listens(form: str):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        config = on(form.format(port=listening.getsockname()[1]))
        assert reached(config) is config


def test_a_broker_that_does_not_listen_is_said_at_once():
    with pytest.raises(CommandError, match=r"no broker listens on 127\.0\.0\.1:1"):
        reached(on("127.0.0.1:1"))


def test_what_is_no_address_is_a_wrong_setting():
    with pytest.raises(CommandError, match="is not host:port") as refused:
        reached(on("broker"))
    assert refused.value.code is Exit.USAGE
