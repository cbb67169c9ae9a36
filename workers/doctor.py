"""`rec doctor`: what is wrong here, and what to do about it. Changes nothing.

Each check is a function from the settings to findings; one that breaks is a finding too.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import msgspec

from workers import laptop_kafka
from workers.bootstrap import settings
from workers.config import Config, ConfigError, load_config
from workers.laptop_kafka import KafkaUnavailableError
from workers.terminal import CommandError, Exit, console, hush, say_json

Level = Literal["ok", "warn", "fail"]
SECRET = ("password", "secret", "api_key", "apikey", "token", "key.pem", "jaas")
MASK = "***"
STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}


@dataclass(frozen=True, slots=True)
class Finding:
    """How one thing is. `remedy` says what to do where it is not well."""

    what: str
    level: Level
    said: str
    remedy: str = ""


def examine(*, as_json: bool = False, env: Mapping[str, str] = os.environ) -> int:
    """Prints every finding. Exit code 1 if one of them is a failure."""
    hush()
    findings = list(diagnose(env))
    if as_json:
        say_json([asdict(finding) for finding in findings])
    else:
        show(findings)
    return Exit.NO if any(finding.level == "fail" for finding in findings) else Exit.DONE


def diagnose(env: Mapping[str, str]) -> Iterator[Finding]:
    """Every check, in the order in which one builds on the other."""
    try:
        config = load_config(env)
    except ConfigError as error:
        yield Finding("settings", "fail", str(error), "correct the environment variable")
        return
    yield Finding("settings", "ok", echo(config))
    if not config.kafka.bootstrap:
        yield from _guarded("laptop Kafka", lambda: _laptop(laptop_kafka.default_folder()))
    try:
        config = settings(env)
    except CommandError as error:
        yield Finding("broker", "fail", str(error))
    else:
        yield from _guarded("broker", lambda: _broker(config))
    yield from _guarded("models", lambda: _models(config))
    yield from _guarded("workers", _workers)
    yield from _guarded("store", lambda: _store(config))


def echo(config: Config) -> str:
    """What differs from the defaults, secrets masked."""
    ours, usual = msgspec.to_builtins(config), msgspec.to_builtins(Config())
    said = [
        f"{section}.{name}={_masked(name, value)}"
        for section, values in ours.items()
        for name, value in values.items()
        if value != usual[section][name]
    ]
    return ", ".join(said) or "all defaults"


def _masked(name: str, value: Any) -> str:
    if isinstance(value, dict):
        shown = {key: _masked(key, inner) for key, inner in value.items()}
        return json.dumps(shown, ensure_ascii=False)
    secret = any(word in name.lower() for word in SECRET)
    return MASK if secret and value else str(value)


def _guarded(what: str, check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """A check's findings; what it raises is one of them."""
    try:
        yield from check()
    except Exception as error:  # noqa: BLE001  # the edge: one check must not hide the others
        yield Finding(what, "fail", f"{type(error).__name__}: {error}")


def _laptop(folder: Path) -> Iterator[Finding]:
    running = laptop_kafka.status(folder)
    if running is not None:
        yield Finding(
            "laptop Kafka", "ok", f"runs on {running.bootstrap}, pid {running.pid}"
        )
        return
    try:
        laptop_kafka.check()
    except KafkaUnavailableError as error:
        yield Finding("laptop Kafka", "fail", "can't be started here", str(error))
        return
    yield Finding("laptop Kafka", "warn", "does not run", "rec dev kafka up")


def _broker(config: Config) -> Iterator[Finding]:
    from workers.topics import broker_check, check_topics
    from workers.topics_report import keeps_events

    report = broker_check(config.kafka)
    if not report.reachable:
        yield Finding(
            "broker", "fail", f"{config.kafka.bootstrap} does not answer", *report.problems
        )
        return
    nodes = f"{report.brokers} broker{'s' if report.brokers != 1 else ''}"
    said = f"{config.kafka.bootstrap} answers: {nodes}, cluster {report.cluster_id}"
    yield Finding("broker", "ok", said)
    clock = "no record came while we looked: nothing to compare"
    if report.skew_ms is not None:
        low, high = report.skew_ms
        clock = f"the broker's clock is {low:.0f} to {high:.0f} ms ahead of ours"
    yield Finding("clock", "ok", clock)
    for problem in report.problems:
        yield Finding("broker", "fail", problem)
    topics = check_topics(config.kafka, keep_events=keeps_events(config))
    for topic in topics:
        for problem in topic.problems:
            yield Finding("topics", "fail", f"{topic.name} {problem}")
    if not any(topic.problems for topic in topics):
        yield Finding("topics", "ok", f"{len(topics)} topics are as they have to be")


def _models(config: Config) -> Iterator[Finding]:
    from encoders.hub import hub_weights
    from encoders.load_text import text_weights
    from encoders.specs import SpecError

    for modality in ("text", "image", "audio", "video", "sensor"):
        spec = getattr(config.encoders, modality)
        if spec == "none":
            yield Finding(f"{modality} model", "warn", "none: this modality has no vectors")
        elif spec.startswith(("builtin:", "endpoint:")):
            yield Finding(f"{modality} model", "ok", f"{spec} needs no weights here")
        else:
            try:
                weights = (text_weights if modality == "text" else hub_weights)(spec)
            except SpecError as error:
                yield Finding(f"{modality} model", "fail", str(error))
            else:
                said = f"{spec}, sha256 {weights.digest}… ({weights.file.name})"
                yield Finding(f"{modality} model", "ok", said)


def _workers() -> Iterator[Finding]:
    from workers import http

    found = http.announced()
    if not found:
        yield Finding("workers", "ok", f"none runs here (nothing in {http.FOLDER})")
    for worker in found:
        name = f"{worker.role} {worker.worker}"
        if not worker.alive():
            path = http.FOLDER / f"{worker.role}-{worker.worker}.json"
            yield Finding(
                name, "warn", f"is gone, its file is left (pid {worker.pid})", f"rm {path}"
            )
            continue
        status, body = _get(f"{worker.url}/readyz")
        if status == 200:
            yield Finding(name, "ok", f"ready, on {worker.url}")
        else:
            yield Finding(
                name,
                "fail",
                f"not ready: {_reasons(body)}",
                f"see {worker.url}/readyz and its log",
            )


def _store(config: Config) -> Iterator[Finding]:
    from workers import http

    if config.qdrant.url == ":memory:":
        yield Finding("store", "warn", "in memory: every start folds the whole log")
        return
    if config.qdrant.url:
        status, body = _get(
            f"{config.qdrant.url.rstrip('/')}/collections", config.qdrant.api_key
        )
        if status == 200:
            yield Finding("store", "ok", f"{config.qdrant.url} answers")
        else:
            remedy = "start Qdrant, or correct STREAMREC_QDRANT__URL and __API_KEY"
            yield Finding(
                "store", "fail", f"{config.qdrant.url}: {status or ''} {body}", remedy
            )
        return
    folder = Path(config.qdrant.path) / config.kafka.worker
    names = {w.worker for w in http.announced() if w.role == "recommend" and w.alive()}
    if config.kafka.worker in names:
        yield Finding(
            "store", "ok", f"{folder} is open in the running worker (its one opener)"
        )
    elif not folder.exists():
        yield Finding("store", "ok", f"{folder} is made by the first start")
    else:
        yield from _opened(config, folder)


def _opened(config: Config, folder: Path) -> Iterator[Finding]:
    from workers.stores import open_user_store

    try:
        open_user_store(config, width=config.encoders.width).close()
    except Exception as error:  # noqa: BLE001  # whatever the engine says is the finding
        remedy = "if no worker uses it: `rec rebuild`, then start; the log has everything"
        yield Finding("store", "fail", f"{folder} does not open: {error}", remedy)
    else:
        yield Finding("store", "ok", f"{folder} opens")


def _get(url: str, api_key: str = "") -> tuple[int, Any]:
    """Status and body; status 0 and the reason where nothing answers."""
    headers = {"api-key": api_key} if api_key else {}
    try:
        with urlopen(Request(url, headers=headers), timeout=5.0) as answer:
            return answer.status, json.load(answer)
    except HTTPError as error:
        return error.code, error.read(500).decode(errors="replace")
    except (URLError, TimeoutError, ConnectionError, ValueError) as error:
        return 0, str(error)


def _reasons(body: Any) -> str:
    """What /readyz says is not so."""
    try:
        conditions = json.loads(body)["conditions"]
    except (TypeError, ValueError, KeyError):
        return str(body)
    return "; ".join(
        f"{name}: {one.get('why', 'no')}"
        for name, one in conditions.items()
        if not one["ok"]
    )


def show(findings: list[Finding]) -> None:
    """One line each, and what to do below those that are not well."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 1), show_header=False)
    for finding in findings:
        remedy = f"\n-> {finding.remedy}" if finding.remedy else ""
        table.add_row(
            Text(finding.level, style=STYLES[finding.level]),
            Text(finding.what),
            Text(finding.said + remedy),
        )
    console().print(table)
