"""What a worker says, to stderr: JSON for programs, words for people.

structlog and the standard library's logging (ours, librdkafka's, anyone's) come out the
same way, each line with the worker's role and name. Ids of people are left out of
everything but debug.
"""

import logging
import sys
from typing import TYPE_CHECKING, Any, TextIO

import structlog
from structlog.tracebacks import ExceptionDictTransformer
from structlog.typing import EventDict, Processor, WrappedLogger

if TYPE_CHECKING:
    from workers.config import LogConfig

KAFKA = "librdkafka"
PEOPLE = frozenset({"user_id", "user_ids", "users", "key", "caused_by", "record", "value"})
"""Fields that may name somebody."""


def configure(
    config: "LogConfig", *, role: str, worker: str, stream: TextIO | None = None
) -> None:
    """Once, at start. May be called again: the newest call counts."""
    out = sys.stderr if stream is None else stream
    as_json = config.format == "json" or (config.format == "auto" and not out.isatty())

    def who(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
        """Not by context variables: threads that others start would not have them."""
        return {**event, "role": role, "worker": worker}

    shared: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
        who,
        _without_people,
    ]
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_rendered(as_json, colors=out.isatty()),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(config.level.upper())
    logging.captureWarnings(True)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *(step for step in shared if not isinstance(step, structlog.stdlib.ExtraAdder)),
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.processors.StackInfoRenderer(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )


def get(name: str) -> Any:
    """A logger: `log = logs.get(__name__)`, then `log.info("what happened", batch=12)`."""
    return structlog.stdlib.get_logger(name)


def kafka_logger() -> logging.Logger:
    """For the `logger=` of confluent_kafka's clients, so that librdkafka says it here too."""
    return logging.getLogger(KAFKA)


def _rendered(as_json: bool, *, colors: bool) -> list[Processor]:
    """The last steps. Tracebacks come without local variables: those hold people's data."""
    if not as_json:
        plain = structlog.dev.plain_traceback
        return [structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=plain)]
    transform = ExceptionDictTransformer(show_locals=False, max_frames=30)
    return [
        structlog.processors.ExceptionRenderer(transform),
        structlog.processors.JSONRenderer(ensure_ascii=False),
    ]


def _without_people(_: WrappedLogger, method: str, event: EventDict) -> EventDict:
    if event.get("level", method) == "debug":
        return event
    return {name: value for name, value in event.items() if name not in PEOPLE}
