"""A worker in a process of its own that can be stopped in the middle of a transaction.

    python -m tests.support.halfway BOOTSTRAP PREFIX

Says "halfway" once its records and offsets are on the broker and before it commits them; a
line on stdin lets it go on, and it says how that ended. Then it polls until it is told of
its loss.
"""

from __future__ import annotations

import sys
from typing import Any

from tests.support.log_doors import Member
from workers.config import KafkaConfig
from workers.kafka import KafkaSource, TransactionalSink
from workers.ports import FatalError, Outbound, Restarted


def say(text: str) -> None:
    print(text, flush=True)


class Halfway:
    """A producer that waits for a line before it commits."""

    def __init__(self, producer: Any) -> None:
        self._producer = producer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._producer, name)

    def commit_transaction(self, timeout_s: float) -> None:
        say("halfway")
        sys.stdin.readline()
        self._producer.commit_transaction(timeout_s)


def main(bootstrap: str, prefix: str) -> None:
    config = KafkaConfig(
        bootstrap=bootstrap,
        prefix=prefix,
        worker="a",
        session_timeout_ms=1500,
        transaction_timeout_ms=3000,
    )
    events = f"{prefix}.events"
    source = KafkaSource(
        config, topics=[events], group=f"{prefix}-g", assignor="cooperative-sticky"
    )
    sink, member = TransactionalSink(config, source), Member(source)
    while len(member.owned) < 2:
        member.turn()
    sink._producer = Halfway(sink._producer)
    try:
        sink.publish([Outbound(f"{prefix}.out", b"k", b"from a")], {(events, 0): 1})
        say("published")
    except (Restarted, FatalError) as error:
        say(type(error).__name__)
    try:
        while member.owned:
            member.turn()
        say("lost")
    except FatalError:
        say("FatalError")
    source.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
