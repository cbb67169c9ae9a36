"""The Grafana dashboard as code: `make docs` writes dashboards/streamrec.json from this.

Plain dicts, so that a panel is one call that says what it shows, in which unit, and what to
make of it. What Prometheus is asked is in `queries()`, which the tests run one by one.
"""

import json
from collections.abc import Iterator
from typing import Any

from deploy.grafana.panels import RATE, Panel, lines, quantiles, row, stat, table

WORKERS = '{job=~"encode|recommend|trend|train"}'
SLO_S = 0.5


def dashboard() -> dict[str, Any]:
    """The whole dashboard, as Grafana provisions it."""
    panels: list[Panel] = []
    top = 0
    for title, in_row in _rows():
        panels.append(row(title, at=(0, top), number=len(panels) + 1))
        top += 1
        width = 24 // len(in_row)
        for place, panel in enumerate(in_row):
            grid = {"h": 8, "w": width, "x": place * width, "y": top}
            panels.append({**panel, "id": len(panels) + 1, "gridPos": grid})
        top += 8
    return {
        "uid": "streamrec",
        "title": "streamrec",
        "description": "From a click to a fresh list: how fast, how many, how well.",
        "tags": ["streamrec"],
        "editable": False,
        "graphTooltip": 1,
        "refresh": "5s",
        "schemaVersion": 39,
        "time": {"from": "now-30m", "to": "now"},
        "timezone": "browser",
        "templating": {"list": []},
        "annotations": {"list": []},
        "panels": panels,
    }


def text() -> str:
    """dashboards/streamrec.json"""
    return json.dumps(dashboard(), indent=1, ensure_ascii=False) + "\n"


def queries() -> Iterator[tuple[str, str]]:
    """(panel, expression) of everything that the dashboard asks Prometheus."""
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]


def _rows() -> tuple[tuple[str, list[Panel]], ...]:
    return (
        ("What people feel", _felt()),
        ("What comes in and goes out", _flow()),
        ("Behind, or set aside", _behind()),
        ("Where the time goes", _time()),
        ("Encoding", _encoding()),
        ("Items and users", _state()),
        ("Trends", _trends()),
        ("Models", _models()),
        ("Workers", _workers()),
    )


def _felt() -> list[Panel]:
    bucket = "streamrec_event_to_list_seconds_bucket"
    within = f'sum(rate({bucket}{{le="{SLO_S}"}}[{RATE}]))'
    everything = f"sum(rate(streamrec_event_to_list_seconds_count[{RATE}]))"
    return [
        lines(
            "Event to list",
            "From the broker's append of an event to its acknowledged list. The line is the "
            f"objective: 99 of 100 within {SLO_S} s.",
            "s",
            *quantiles(bucket, 0.5, 0.95, 0.99),
            line=SLO_S,
        ),
        stat(
            "Within the objective",
            f"Share of events that were answered within {SLO_S} s. Below 99 % the error "
            "budget is being spent.",
            "percentunit",
            (f"{within} / {everything}", "within the objective"),
            red_below=0.99,
        ),
        lines(
            "Upload to recommendable",
            "From the broker's append of an item or upload to its vector being searched.",
            "s",
            *quantiles("streamrec_upload_to_recommendable_seconds_bucket", 0.5, 0.99),
        ),
    ]


def _flow() -> list[Panel]:
    return [
        lines(
            "Events by outcome",
            "What became of the records read. Refused ones are in the dead-letter topic.",
            "ops",
            (f"sum by (outcome) (rate(streamrec_events_total[{RATE}]))", "{{outcome}}"),
            stacked=True,
        ),
        lines(
            "Lists by source",
            "What the lists were made from. Many cold or empty ones: item vectors are missing.",
            "ops",
            (f"sum by (source) (rate(streamrec_lists_total[{RATE}]))", "{{source}}"),
            stacked=True,
        ),
        lines(
            "Late and clamped events",
            "Events older than the newest of their user, and events from clocks ahead of ours.",
            "ops",
            (f"sum(rate(streamrec_late_events_total[{RATE}]))", "late"),
            (f"sum(rate(streamrec_clamped_events_total[{RATE}]))", "clamped"),
        ),
    ]


def _behind() -> list[Panel]:
    return [
        lines(
            "Lag in records",
            "Records that wait in the topics. Growing for minutes: add workers.",
            "short",
            ("sum by (topic) (streamrec_lag_messages)", "{{topic}}"),
        ),
        lines(
            "Lag in seconds",
            "Age of the newest handled record of the partition that is furthest behind.",
            "s",
            ("max by (topic) (streamrec_lag_seconds)", "{{topic}}"),
        ),
        lines(
            "Dead letters by reason",
            "Records set aside, each with field, value and remedy in its headers.",
            "ops",
            (f"sum by (reason) (rate(streamrec_dead_letters_total[{RATE}]))", "{{reason}}"),
            stacked=True,
        ),
    ]


def _time() -> list[Panel]:
    records = f"sum by (worker) (rate(streamrec_batch_records_sum[{RATE}]))"
    batches = f"sum by (worker) (rate(streamrec_batch_records_count[{RATE}]))"
    return [
        lines(
            f"Stages of {role}",
            "Seconds a second that each stage takes: the widest band is where time goes.",
            "percentunit",
            (
                f'sum by (stage) (rate(streamrec_stage_seconds_sum{{worker="{role}"}}[{RATE}]))',
                "{{stage}}",
            ),
            stacked=True,
        )
        for role in ("recommend", "encode")
    ] + [
        lines(
            "Records a batch",
            "Mean size of a batch. Always at the configured maximum: the worker is behind.",
            "short",
            (f"{records} / {batches}", "{{worker}}"),
        ),
        lines(
            "Commit",
            "One acknowledged publish with its offsets. Near 0.1 s: the broker is slow or far.",
            "s",
            *quantiles("streamrec_commit_seconds_bucket", 0.5, 0.99, by="job"),
        ),
    ]


def _encoding() -> list[Panel]:
    return [
        lines(
            "Encoded",
            "Contents that went through an encoder, and those that were left alone because "
            "nothing in them changed.",
            "ops",
            (f"sum by (modality) (rate(streamrec_encoded_total[{RATE}]))", "{{modality}}"),
            (f"sum(rate(streamrec_encode_reused_total[{RATE}]))", "unchanged"),
            stacked=True,
        ),
        lines(
            "Fetch and decode",
            "Time to fetch and to decode one content, at p95.",
            "s",
            *quantiles("streamrec_media_seconds_bucket", 0.95, by="step"),
        ),
        lines(
            "Contents that could not be used",
            "By reason. The item stays recommendable by its other modalities.",
            "ops",
            (
                f"sum by (reason) (rate(streamrec_media_failures_total[{RATE}]))",
                "{{reason}}",
            ),
            (
                f"sum by (reason) (rate(streamrec_prepare_dropped_total[{RATE}]))",
                "cleaned away: {{reason}}",
            ),
            stacked=True,
        ),
        lines(
            "Cleaned",
            "Contents that cleaning changed before they were encoded, by what was done.",
            "ops",
            (
                f"sum by (change) (rate(streamrec_prepare_changed_total[{RATE}]))",
                "{{change}}",
            ),
            stacked=True,
        ),
        lines(
            "Signals",
            "What people say, show and ask, encoded and written into their logs.",
            "ops",
            (f"sum by (cause) (rate(streamrec_signals_total[{RATE}]))", "{{cause}}"),
            stacked=True,
        ),
    ]


def _state() -> list[Panel]:
    return [
        lines(
            "Store",
            "One call to the user store, at p99 by operation.",
            "s",
            *quantiles("streamrec_store_seconds_bucket", 0.99, by="operation"),
        ),
        lines(
            "Users at hand",
            "Users in memory and those changed since the last save. Dirty growing without "
            "end: the store is down.",
            "short",
            ("sum(streamrec_users_cached)", "cached"),
            ("sum(streamrec_users_dirty)", "dirty"),
            (f"sum(rate(streamrec_conditional_rejects_total[{RATE}]))", "refused saves/s"),
        ),
        lines(
            "Memory of users",
            "Bytes of the users at hand; at recommend.cache_mb the least used are dropped.",
            "bytes",
            ("streamrec_cache_bytes", "{{instance}}"),
        ),
        lines(
            "Items",
            "Items that can be found, records of the tables still to read before the first "
            "list, and table records that could not be used.",
            "short",
            ("max(streamrec_items_indexed)", "indexed"),
            ("max(streamrec_tables_behind)", "still to read"),
            ("sum(streamrec_items_unreadable_total)", "unreadable"),
        ),
    ]


def _trends() -> list[Panel]:
    return [
        lines(
            "Event to trend",
            "From the broker's append of an event to the trends with it being acknowledged. "
            "Recommend workers are to be at most 2 s behind.",
            "s",
            *quantiles("streamrec_event_to_trend_seconds_bucket", 0.5, 0.99),
            line=2.0,
        ),
        lines(
            "Events into trends",
            "Events that the trend workers folded.",
            "ops",
            (f"sum(rate(streamrec_event_to_trend_seconds_count[{RATE}]))", "events"),
        ),
        lines(
            "Trends out",
            "Records written to the trends topic and their rows, all of which every recommend "
            "worker reads.",
            "ops",
            (f"sum(rate(streamrec_trend_tables_total[{RATE}]))", "records"),
            (f"sum(rate(streamrec_trend_rows_total[{RATE}]))", "rows"),
        ),
        lines(
            "Trends as lists know them",
            "How far the event time of the newest trends is behind the clock, by worker. Steps of "
            "a quiet log are no fault.",
            "s",
            ("time() - max by (job) (streamrec_trends_at_seconds)", "{{job}}"),
        ),
    ]


def _models() -> list[Panel]:
    return [
        lines(
            "Age of the model in force",
            "Since it was made. Growing beyond train.every_s: training is away, or refuses.",
            "s",
            ("time() - min by (job) (streamrec_model_at_seconds)", "{{job}}"),
        ),
        lines(
            "Hit rate on the newest events",
            "Of the newest candidate, and of the model in force on the same events, which the "
            "candidate has not learned from.",
            "percentunit",
            ("max(streamrec_train_candidate_score)", "candidate"),
            ("max(streamrec_train_current_score)", "in force"),
        ),
        lines(
            "Models published, refused and loaded",
            "What rounds of learning came to, and what workers made of the cards.",
            "short",
            (f"sum(increase(streamrec_models_published_total[{RATE}]))", "published"),
            (
                f"sum by (reason) (increase(streamrec_models_refused_total[{RATE}]))",
                "refused: {{reason}}",
            ),
            (
                f"sum by (outcome) (increase(streamrec_models_loaded_total[{RATE}]))",
                "taken in: {{outcome}}",
            ),
        ),
        lines(
            "Still to be learned from, or fused",
            "Events kept by training, and items without a vector in the space that is rolled "
            "out.",
            "short",
            ("max(streamrec_train_events)", "events kept"),
            ("max(streamrec_space_items_lacking)", "items lacking"),
        ),
    ]


def _workers() -> list[Panel]:
    return [
        stat(
            "Up, ready, store",
            "1 is well. Up: it answers. Ready: /readyz says so. Store: the last call worked.",
            "short",
            (f"sum by (job) (up{WORKERS}) / count by (job) (up{WORKERS})", "{{job}} up"),
            ("min by (job) (streamrec_ready)", "{{job}} ready"),
            ("min(streamrec_store_up)", "store"),
            red_below=1.0,
        ),
        lines(
            "Memory",
            "Resident memory of each worker.",
            "bytes",
            (f"process_resident_memory_bytes{WORKERS}", "{{job}} {{instance}}"),
        ),
        lines(
            "CPU",
            "Cores that each worker uses.",
            "short",
            (f"rate(process_cpu_seconds_total{WORKERS}[{RATE}])", "{{job}} {{instance}}"),
        ),
        lines(
            "Rebalances and restarts",
            "Changes of partitions, and batches that were rolled back and began again.",
            "short",
            (f"sum by (job) (increase(streamrec_rebalances_total[{RATE}]))", "{{job}} rebalances"),
            (f"sum by (cause) (increase(streamrec_restarts_total[{RATE}]))", "{{cause}} restarts"),
        ),
        table(
            "Versions",
            "What runs. More than one law or encoder at a time is a configuration to align.",
            "streamrec_build_info",
            "streamrec_model_info",
            "streamrec_store_info",
            "streamrec_law_info",
        ),
    ]  # fmt: skip
