"""Which broker a command talks to. Decided here and nowhere else.

STREAMREC_KAFKA__BOOTSTRAP if it is set, otherwise the laptop Kafka of `rec dev kafka`.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from msgspec.structs import replace

from workers import laptop_kafka
from workers.config import Config, load_config
from workers.terminal import CommandError, Exit


def settings(
    env: Mapping[str, str] | None = None, *, start: bool = False, folder: Path | None = None
) -> Config:
    """The settings, with a broker in them. With `start` the laptop Kafka is started if it is
    wanted and not there; otherwise a CommandError says how to have one."""
    config = load_config(os.environ if env is None else env)
    if config.kafka.bootstrap:
        return config
    folder = folder or laptop_kafka.default_folder()
    broker = laptop_kafka.status(folder)
    if broker is None and start:
        broker = laptop_kafka.start(folder=folder)
    if broker is None:
        raise CommandError(
            "no broker: start one here with `rec dev kafka up`, or name yours in "
            "STREAMREC_KAFKA__BOOTSTRAP=host:port",
            Exit.MISSING,
        )
    return with_bootstrap(config, broker.bootstrap)


def with_bootstrap(config: Config, bootstrap: str) -> Config:
    """The same settings, on this broker."""
    return replace(config, kafka=replace(config.kafka, bootstrap=bootstrap))
