"""Which broker a command talks to. Decided here and nowhere else.

STREAMREC_KAFKA__BOOTSTRAP if it is set, otherwise the laptop Kafka of `rec dev kafka`.
"""

import os
import re
import socket
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from msgspec.structs import replace

from workers import laptop_kafka
from workers.config import Config, load_config
from workers.terminal import CommandError, Exit, hush

ANSWER_S = 3.0
_ADDRESS = re.compile(r"(?:\w+://)?\[?(?P<host>[^\]]+?)\]?:(?P<port>\d+)")


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


def for_tools() -> Config:
    """The settings of a command that is no worker: a broker listens, and the clients' own talk
    is left out."""
    hush()
    return reached(settings())


def reached(config: Config) -> Config:
    """The same settings, if a broker listens there: a tool says so at once, where a client
    would go on trying."""
    for address in config.kafka.bootstrap.split(","):
        found = _ADDRESS.fullmatch(address.strip())
        if found is None:
            raise CommandError(
                f"STREAMREC_KAFKA__BOOTSTRAP: {address!r} is not host:port", Exit.USAGE
            )
        place = (found["host"], int(found["port"]))
        with suppress(OSError), socket.create_connection(place, timeout=ANSWER_S):
            return config
    raise CommandError(
        f"no broker listens on {config.kafka.bootstrap}: start it, or correct "
        "STREAMREC_KAFKA__BOOTSTRAP",
        Exit.MISSING,
    )
