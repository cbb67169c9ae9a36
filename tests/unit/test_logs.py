"""Logs: one shape for everybody's lines, and nobody's name in them."""

import io
import json
import logging
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from workers import logs
from workers.config import LogConfig


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    logging.captureWarnings(False)
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def configured(stream: io.StringIO | None = None, **config: Any) -> io.StringIO:
    out = io.StringIO() if stream is None else stream
    logs.configure(LogConfig(**config), role="recommend", worker="w-1", stream=out)
    return out


def lines(out: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_a_line_is_json_with_time_level_role_and_worker():
    out = configured(format="json")
    logs.get("workers.recommend").info("batch done", records=12)
    [line] = lines(out)
    assert line.pop("at").endswith("Z")
    assert line == {
        "event": "batch done", "records": 12, "level": "info", "role": "recommend",
        "worker": "w-1", "logger": "workers.recommend",
    }  # fmt: skip


def test_a_logger_that_was_made_before_configuring_obeys_it():
    log = logs.get("early")
    out = configured(format="json")
    log.info("late")
    assert lines(out)[0]["role"] == "recommend"


def test_lines_of_the_standard_library_and_of_librdkafka_look_the_same():
    out = configured(format="json")
    logging.getLogger("some.library").warning("disk at %d %%", 91, extra={"disk": "sda"})
    logs.kafka_logger().error("FAIL [thrd:%s]: connection refused", "main")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)
        warnings.warn("old ways", UserWarning, stacklevel=1)
    disk, kafka, warning = lines(out)
    assert (disk["event"], disk["disk"], disk["worker"]) == ("disk at 91 %", "sda", "w-1")
    assert (kafka["logger"], kafka["level"]) == ("librdkafka", "error")
    assert "old ways" in warning["event"]


def test_an_exception_is_a_structure_without_anybodys_variables():
    out = configured(format="json")
    secret = "user-77"
    try:
        try:
            {}["slot"]
        except KeyError as error:
            raise ValueError("no such slot") from error
    except ValueError:
        logs.get("x").exception("failed", n=len(secret))
    [line] = lines(out)
    [outer, cause] = line["exception"]
    assert (outer["exc_type"], outer["exc_value"]) == ("ValueError", "no such slot")
    assert cause["exc_type"] == "KeyError"
    assert outer["frames"][0]["name"].startswith("test_an_exception")
    assert secret not in out.getvalue()


@pytest.mark.parametrize("level", ["info", "warning", "error"])
def test_ids_of_people_are_left_out_of_everything_but_debug(level: str):
    out = configured(format="json", level="debug")
    getattr(logs.get("x"), level)("seen", user_id="u77", users=["u77"], n=1)
    logs.get("x").debug("seen", user_id="u77")
    shown, debug = lines(out)
    assert "u77" not in json.dumps(shown)
    assert shown["n"] == 1
    assert debug["user_id"] == "u77"


def test_lines_below_the_level_are_not_printed():
    out = configured(format="json", level="warning")
    logs.get("x").info("quiet")
    logging.getLogger("y").info("quiet")
    logs.get("x").warning("loud")
    assert [line["event"] for line in lines(out)] == ["loud"]


def test_auto_is_words_on_a_terminal_and_json_elsewhere():
    words, machine = configured(Terminal(), format="auto"), None
    logs.get("x").info("hello", n=1)
    machine = configured(format="auto")
    logs.get("x").info("hello", n=1)
    assert "hello" in words.getvalue()
    assert not words.getvalue().startswith("{")
    assert lines(machine)[0]["n"] == 1


def test_another_thread_has_the_worker_in_its_lines():
    out = configured(format="json")
    thread = threading.Thread(target=lambda: logs.get("x").info("from a thread"))
    thread.start()
    thread.join()
    assert lines(out)[0]["worker"] == "w-1"
