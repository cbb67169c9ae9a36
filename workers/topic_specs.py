"""What each topic has to be (DESIGN: "Topics"): the one table behind `rec topics create`.

Events, media, items, item-vectors and recommendations have equal partition counts, since a
Signal or a list goes to the partition number of the record that caused it. Trends and models
are small tables that everyone reads whole: one partition keeps their chunks in one order.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

MIB = 1024 * 1024
WEEK_MS = 7 * 24 * 3600 * 1000
FOR_EVER = {"retention.ms": "-1", "retention.bytes": "-1"}
AT_LEAST = ("max.message.bytes", "min.compaction.lag.ms")
"""Settings of which more than was asked for is right too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicSpec:
    """A topic by its role; `settings` are the broker's names and values."""

    role: str
    cleanup: str
    max_message_bytes: int
    copartitioned: bool = False
    single: bool = False
    settings: Mapping[str, str] = field(default_factory=dict)

    def wanted(self) -> dict[str, str]:
        """Every setting that the topic has to have."""
        return {
            "cleanup.policy": self.cleanup,
            "max.message.bytes": str(self.max_message_bytes),
            **self.settings,
        }


def topic_specs(*, keep_events: bool) -> tuple[TopicSpec, ...]:
    """All topics. `keep_events`: users are rebuilt from the log (embedded store), so that it
    is kept for ever; a shared store needs only the time since its oldest backup."""
    # which of two writes is the later, and how long an event waited: by the broker's clock
    clock = {"message.timestamp.type": "LogAppendTime"}
    return (
        TopicSpec(
            role="items",
            cleanup="compact",
            max_message_bytes=4 * MIB,
            copartitioned=True,
            settings=clock,
        ),
        TopicSpec(
            role="media",
            cleanup="delete",
            max_message_bytes=4 * MIB,
            copartitioned=True,
            settings=clock,
        ),
        TopicSpec(
            role="events",
            cleanup="delete",
            max_message_bytes=MIB,
            copartitioned=True,
            settings={**clock, **(FOR_EVER if keep_events else {})},
        ),
        TopicSpec(
            role="item-vectors",
            cleanup="compact",
            max_message_bytes=4 * MIB,
            copartitioned=True,
        ),
        TopicSpec(
            role="recommendations",
            cleanup="compact",
            max_message_bytes=4 * MIB,
            copartitioned=True,
            settings={"min.compaction.lag.ms": str(WEEK_MS)},
        ),
        TopicSpec(role="trends", cleanup="compact", max_message_bytes=4 * MIB, single=True),
        TopicSpec(role="models", cleanup="compact", max_message_bytes=MIB, single=True),
        TopicSpec(role="dead-letters", cleanup="delete", max_message_bytes=8 * MIB),
    )
