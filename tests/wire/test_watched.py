"""Real workers under load, scraped by a real Prometheus: every panel and rule has data."""

import io
import json
import math
import re
import struct
import wave
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

from deploy.grafana.dashboard import queries
from schemas import (
    Interaction,
    Item,
    Media,
    MediaRef,
    Query,
    Undo,
    Visit,
    encode,
)
from tests.support.prometheus import Prometheus, running_prometheus
from tests.support.spine import Process, Spine, spine
from tests.support.waiting import wait_for
from workers import http
from workers.laptop_kafka import Broker

pytest.importorskip("faust")
pytestmark = [
    pytest.mark.wire,
    pytest.mark.prom,
    pytest.mark.models,
    pytest.mark.timeout(400),
]

RULES = Path(__file__).parents[2] / "deploy/prometheus/rules.yml"
ROLES = ("encode", "recommend", "trend", "train")
LIMIT_S = 120.0
TEXTS = (
    "rain on neon streets",
    "a quiet garden",
    "robots that dream",
    "the last train west",
)


@dataclass
class Watched:
    """A worker of each role on one broker, and who watches them."""

    spine: Spine
    workers: dict[str, Process]
    prometheus: Prometheus
    turn: int = 0

    @property
    def recommend(self) -> Process:
        return self.workers["recommend"]

    def load(self) -> None:
        """One burst of everything that people and producers do, mistakes included."""
        n, at = self.turn, 1_764_000_000_000 + self.turn * 1000
        self.turn += 1
        here = self.spine.folder
        picture, sound = here / f"{n}.png", here / f"{n}.wav"
        picture.write_bytes(_picture(n))
        sound.write_bytes(_sound(n))
        self._items(n, at, picture=picture, sound=sound)
        self._events(n, at, sound=sound)
        self.spine.flush()

    def _items(self, n: int, at: int, *, picture: Path, sound: Path) -> None:
        still = MediaRef(kind="image", uri=picture.as_uri())
        broken = MediaRef(kind="image", data=b"no picture", content_type="image/png")
        items = [
            Item(item_id=f"i{n}", title=TEXTS[n % 4], categories=["noir"], media=[still]),
            Item(item_id=f"b{n}", title=TEXTS[(n + 1) % 4], media=[broken]),
            Item(item_id="unchanged", title="always the same"),
        ]
        for item in items:
            self.spine.put("items", item.item_id, encode(item))
        heard = Media(
            media_id=f"m{n}", kind="audio", at_ms=at, item_id=f"i{n}", uri=sound.as_uri()
        )
        shown = Media(
            media_id=f"p{n}", kind="image", at_ms=at, user_id="u-up", uri=picture.as_uri()
        )
        self.spine.put("media", f"i{n}", encode(heard))
        self.spine.put("media", "u-up", encode(shown))
        self.spine.put("items", f"x{n}", b"\xc1 no record")

    def _events(self, n: int, at: int, *, sound: Path) -> None:
        said = [MediaRef(kind="audio", uri=sound.as_uri())]
        for u in range(20):
            user = f"u{u}"
            self.spine.send(
                Interaction(
                    event_id=f"c{n}-{u}", user_id=user, item_id=f"i{max(0, n - 1)}",
                    kind="click", at_ms=at,
                ),
                Visit(event_id=f"v{n}-{u}", user_id=user, at_ms=at - 60_000),
            )  # fmt: skip
        self.spine.send(
            Interaction(
                event_id=f"t{n}", user_id="u-say", item_id="i0", kind="like", at_ms=at,
                text=TEXTS[n % 4], media=said,
            ),
            Query(event_id=f"q{n}", user_id="u-ask", at_ms=at, text=TEXTS[n % 4]),
            Visit(event_id=f"cold{n}", user_id=f"new{n}", at_ms=at),
            Undo(event_id=f"z{n}", user_id="u0", undoes=f"c{n}-0", at_ms=at + 1),
        )  # fmt: skip
        self.spine.put("events", "u1", b'{"type":"visit","user_id":"u1"}')


def _picture(n: int) -> bytes:
    out = io.BytesIO()
    image = Image.new("RGB", (64, 48), (n * 37 % 256, n * 91 % 256, 120))
    image.paste((255, 255, 255), (8, 8, 32, 32))  # of one colour it would be refused
    image.save(out, "PNG")
    return out.getvalue()


def _sound(n: int) -> bytes:
    """A second of a tone."""
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        tone = 220 + 20 * (n % 20)
        samples = (
            int(9_000 * math.sin(2 * math.pi * tone * t / 16_000)) for t in range(16_000)
        )
        file.writeframes(b"".join(struct.pack("<h", sample) for sample in samples))
    return out.getvalue()


@pytest.fixture(scope="module")
def watched(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    folder = tmp_path_factory.mktemp("watched")
    settings = {
        "STREAMREC_MEDIA__ALLOW": folder.as_uri() + "/",
        "STREAMREC_TRAIN__LEARNER": "tests.support.counts",
        "STREAMREC_TRAIN__EVERY_S": "1",
        "STREAMREC_TRAIN__MIN_EVENTS": "50",
        "STREAMREC_TRAIN__NICE": "0",
    }
    with spine(broker.bootstrap, "watched", folder, **settings) as made:
        workers = {role: made.start(role) for role in ROLES}
        for worker in workers.values():
            worker.wait_ready()
        targets = {
            one.role: one.url.removeprefix("http://")
            for one in http.announced(folder / http.FOLDER)
        }
        with running_prometheus(
            folder / "prometheus", targets=targets, rules=RULES
        ) as found:
            yield Watched(made, workers, found)


def asked() -> dict[str, str]:
    """Every expression, by a name for messages."""
    found = {
        f"panel {title!r}: {expression}": expression.replace("$__rate_interval", "30s")
        for title, expression in queries()
    }
    for group in yaml.safe_load(RULES.read_text())["groups"]:
        for rule in group["rules"]:
            if "record" in rule:
                found[f"record {rule['record']}"] = rule["expr"]
                found[f"recorded {rule['record']}"] = rule["record"]
            else:
                for number, part in enumerate(uncompared(rule["expr"])):
                    found[f"alert {rule['alert']}, part {number}: {part}"] = part
    return found


def uncompared(expression: str) -> list[str]:
    """What an alert looks at: its parts, without the comparison that keeps it silent."""
    parts = [
        re.sub(r"\s*(>|<|==|!=|>=|<=)\s*[\d.]+$", "", p) for p in expression.split(" and ")
    ]
    assert parts != expression.split(" and "), (
        f"an alert without a comparison: {expression}"
    )
    return parts


def test_an_alert_is_looked_at_without_its_comparison():
    assert uncompared("a > 0.5 and deriv(b[10m]) > 0") == ["a", "deriv(b[10m])"]
    assert uncompared('up{job=~"x|y"} == 0') == ['up{job=~"x|y"}']


def test_every_panel_and_every_rule_has_data_while_real_workers_work(watched: Watched):
    waiting = asked()

    def answered() -> bool:
        watched.load()
        for name, expression in list(waiting.items()):
            if watched.prometheus.numbers(expression):
                del waiting[name]
        return not waiting

    try:
        wait_for(answered, limit_s=LIMIT_S, every_s=0.5)
    except AssertionError:
        pytest.fail("no data for:\n" + "\n".join(sorted(waiting)), pytrace=False)


HAPPENED = (
    'sum(streamrec_encoded_total{modality="text"})',
    'sum(streamrec_encoded_total{modality="image"})',
    'sum(streamrec_encoded_total{modality="audio"})',
    "sum(streamrec_encode_reused_total)",
    'sum(streamrec_media_seconds_count{step="fetch"})',
    'sum(streamrec_media_seconds_count{step="decode"})',
    'sum(streamrec_media_failures_total{reason="undecodable"})',
    'sum(streamrec_dead_letters_total{job="encode",reason="unreadable"})',
    'sum(streamrec_signals_total{cause="interaction"})',
    'sum(streamrec_signals_total{cause="query"})',
    'sum(streamrec_signals_total{cause="upload"})',
    'sum(streamrec_events_total{job="recommend",type="undo",outcome="accepted"})',
    'sum(streamrec_events_total{job="encode",type="item",outcome="accepted"})',
    'sum(streamrec_lists_total{source="interest"})',
    'sum(streamrec_lists_total{source="query"})',
    'sum(streamrec_lists_total{source="cold"})',
    "sum(streamrec_upload_to_recommendable_seconds_count)",
    "sum(streamrec_late_events_total)",
    'sum(streamrec_commit_seconds_count{job="encode"})',
    'sum(streamrec_commit_seconds_count{job="recommend"})',
    'sum(streamrec_store_seconds_count{operation="save"})',
    'sum(streamrec_rebalances_total{job="encode"})',
    "min(streamrec_items_indexed)",
    'count(streamrec_lag_messages{job="encode"})',
    'count(streamrec_lag_messages{job="recommend"})',
    'count(streamrec_build_info{job="encode"})',
    "sum(streamrec_event_to_trend_seconds_count)",
    "sum(streamrec_trend_tables_total)",
    "sum(streamrec_trend_rows_total)",
    'count(streamrec_lag_messages{job="trend"})',
    "max(streamrec_trends_at_seconds)",
    "max(streamrec_train_events)",
    "sum(streamrec_models_published_total)",
    'sum(streamrec_models_loaded_total{job="recommend",outcome="loaded"})',
    'max(streamrec_model_at_seconds{job="train"})',
)


def test_everything_that_happened_was_counted(watched: Watched):
    def uncounted() -> list[str]:
        found = {e: watched.prometheus.numbers(e) for e in HAPPENED}
        return [e for e, samples in found.items() if not samples or samples[0][1] <= 0]

    watched.load()
    with suppress(AssertionError):  # to name below what is missing
        wait_for(lambda: not uncounted() or watched.load(), limit_s=LIMIT_S, every_s=0.5)
    assert uncounted() == []


def test_nobody_is_woken_by_a_healthy_system(watched: Watched):
    wait_for(lambda: watched.prometheus.numbers("streamrec_store_up"), limit_s=30)
    critical = [
        alert["labels"]["alertname"]
        for alert in watched.prometheus.alerts()
        if alert["labels"]["severity"] == "critical" and alert["state"] == "firing"
    ]
    # this load refuses a record in ten on purpose
    assert set(critical) <= {"StreamrecDeadLetterFlood"}


def test_what_is_counted_is_what_was_sent(watched: Watched):
    watched.load()
    visits = 21 * watched.turn

    def counted() -> bool:
        found = watched.prometheus.numbers(
            'sum(streamrec_events_total{job="recommend",type="visit",outcome="accepted"})'
        )
        return bool(found) and found[0][1] == visits

    wait_for(counted, limit_s=60, what=f"{visits} visits")
    [(_, refused)] = watched.prometheus.numbers(
        'sum(streamrec_dead_letters_total{job="recommend",reason="missing_field"})'
    )
    assert refused == watched.turn


@pytest.mark.parametrize("role", ROLES)
def test_no_id_of_anybody_is_in_the_metrics(watched: Watched, role: str):
    status, body = watched.workers[role].get("/metrics")
    assert status == 200
    values = {
        value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
        if sample.name.startswith("streamrec_")
        for value in sample.labels.values()
    }
    assert not [
        value for value in values if re.fullmatch(r"(u|i|b|x|new|c|v|q)-?\d+.*", value)
    ]


def test_a_user_and_a_reason_can_be_asked_of_the_running_worker(watched: Watched):
    watched.load()
    wait_for(
        lambda: watched.recommend.get("/user?user_id=u-say")[0] == 200,
        limit_s=60, what="u-say is known",
    )  # fmt: skip
    status, body = watched.recommend.get("/user?user_id=u-say")
    assert (status, "i0" in body.decode()) == (200, True)
    assert watched.recommend.get("/user?user_id=nobody")[0] == 404
    status, body = watched.recommend.get("/why?user_id=u-say&item_id=i0")
    assert status in (200, 404)
    json.loads(body)


def test_a_worker_that_is_stopped_is_gone_and_one_that_is_killed_is_known_dead(
    watched: Watched,
):
    folder = watched.spine.folder / http.FOLDER
    alive = {one.role: one.alive() for one in http.announced(folder)}
    assert alive == dict.fromkeys(ROLES, True)
    watched.workers["encode"].kill()
    stopped = {role: watched.workers[role].stop() for role in ROLES if role != "encode"}
    assert set(stopped.values()) == {0}, stopped
    assert {one.role: one.alive() for one in http.announced(folder)} == {"encode": False}
    down = 'up{job=~"encode|recommend|trend|train"} == 0'
    wait_for(lambda: len(watched.prometheus.query(down)) == 4, limit_s=30, what="all down")
