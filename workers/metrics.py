"""What the path files call to be watched. The only file that knows prometheus_client.

Cheap enough to stand in the loop: a call a batch and not an event, many observations at
once, and no lookups of label children that were seen before. workers/metric_table.py
declares what is counted; a label value outside its set is counted as "other".
"""

import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from prometheus_client import (
    CollectorRegistry,
    Counter,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily

from workers.metric_table import BY_NAME, METRICS, OTHER, Metric, Role, series
from workers.ports import TransientError

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class _Reactions:
    """A histogram that takes a batch of observations at the price of one."""

    def __init__(self, metric: Metric) -> None:
        self._metric = metric
        self._bound_B: NDArray[np.float64] = np.asarray(metric.buckets)
        self._count_B = np.zeros(len(metric.buckets) + 1, dtype=np.int64)
        self._sum = 0.0
        self._lock = threading.Lock()

    def observe(self, seconds: Sequence[float] | NDArray[np.float64]) -> None:
        value_E = np.asarray(seconds, dtype=np.float64)
        at_E = np.searchsorted(self._bound_B, value_E, side="left")
        count_B = np.bincount(at_E, minlength=len(self._count_B))
        with self._lock:
            self._count_B += count_B
            self._sum += float(value_E.sum())

    def collect(self) -> Iterator[HistogramMetricFamily]:
        with self._lock:
            below_B, total = self._count_B.cumsum().tolist(), self._sum
        bounds = [str(float(bound)) for bound in self._metric.buckets] + ["+Inf"]
        yield HistogramMetricFamily(
            series(self._metric),
            self._metric.help,
            buckets=list(zip(bounds, below_B, strict=True)),
            sum_value=total,
        )


class _Gauges:
    """Values as they were last set. What was never set is absent, and not a false 0."""

    def __init__(self) -> None:
        self.metrics: tuple[Metric, ...] = ()
        self._values: dict[str, dict[tuple[str, ...], float]] = {}
        self._lock = threading.Lock()

    def set(self, name: str, value: float, labels: tuple[str, ...] = ()) -> None:
        with self._lock:
            self._values.setdefault(name, {})[labels] = value

    def replace(self, name: str, labels: tuple[str, ...]) -> None:
        """The one series that this info has now."""
        with self._lock:
            self._values[name] = {labels: 1.0}

    def drop(self, name: str, labels: tuple[str, ...]) -> None:
        with self._lock:
            self._values.get(name, {}).pop(labels, None)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        for metric in self.metrics:
            names = [label.name for label in metric.labels]
            with self._lock:
                values = dict(self._values.get(metric.name, {}))
            if values:
                family = GaugeMetricFamily(series(metric), metric.help, labels=names)
                for labels, value in values.items():
                    family.add_metric(labels, value)
                yield family


_gauges = _Gauges()
_versions: dict[str, str] = {}
_worker: Role = "recommend"
_registry = CollectorRegistry()
_children: dict[tuple[str, ...], Any] = {}


def _made(metric: Metric) -> Any:
    labels = [label.name for label in metric.labels]
    if metric.kind == "counter":
        return Counter(series(metric), metric.help, labels, registry=None)
    if labels:
        return Histogram(
            series(metric), metric.help, labels, registry=None, buckets=metric.buckets
        )
    return _Reactions(metric)


_collectors: dict[str, Any] = {
    metric.name: _made(metric)
    for metric in METRICS
    if metric.kind in ("counter", "histogram")
}


def set_worker(role: Role) -> None:
    """Once, at start: which worker this process is. It then shows its own metrics only,
    and its counters from 0 on, so that their first increase is seen."""
    global _worker, _registry  # noqa: PLW0603  # one process is one worker
    _worker, registry = role, CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    mine = tuple(metric for metric in METRICS if role in metric.roles)
    for metric in mine:
        if metric.name in _collectors:
            registry.register(_collectors[metric.name])
        if metric.kind == "counter" and len(metric.labels) == 1:
            for value in metric.labels[0].values:
                _child(metric.name, value)
        elif metric.kind == "counter" and metric.labels:
            _child(metric.name, *(label.values[-1] for label in metric.labels))
    _gauges.metrics = tuple(metric for metric in mine if metric.kind in ("gauge", "info"))
    registry.register(_gauges)
    _registry = registry


def exposition() -> bytes:
    """All of it in Prometheus' text format (CONTENT_TYPE)."""
    lines = generate_latest(_registry).splitlines(keepends=True)
    # when a counter was made doubles the series, and nobody reads it
    return b"".join(line for line in lines if b"_created" not in line[:80])


def _child(name: str, *values: str) -> Any:
    """The series of these label values; one outside its closed set becomes "other"."""
    key = (name, *values)
    found = _children.get(key)
    if found is None:
        labels = BY_NAME[name].labels
        closed = [
            value if not label.values or value in label.values else OTHER
            for label, value in zip(labels, values, strict=True)
        ]
        found = _collectors[name].labels(*closed) if closed else _collectors[name]
        if closed == list(values):
            _children[key] = found
    return found


@contextmanager
def _timed(name: str, *values: str) -> Iterator[None]:
    started = time.perf_counter()
    try:
        yield
    finally:
        _child(name, *values).observe(time.perf_counter() - started)


def stage(name: str) -> AbstractContextManager[None]:
    """Times one stage of one batch, whether it ends well or not."""
    return _timed("stage_seconds", _worker, name)


@contextmanager
def store(operation: str) -> Iterator[None]:
    """Times one call to the store, and notes whether the store could be reached."""
    with _timed("store_seconds", operation):
        try:
            yield
        except TransientError:
            _gauges.set("store_up", 0.0)
            raise
        _gauges.set("store_up", 1.0)


def media(step: str) -> AbstractContextManager[None]:
    """Times one `fetch` or one `decode` of one content."""
    return _timed("media_seconds", step)


def batch(records: int) -> None:
    """So many records make the batch that begins."""
    _child("batch_records", _worker).observe(records)


def events(type: str, outcome: str, n: int = 1) -> None:  # noqa: A002  # the wire's word
    """So many records of this type ended so."""
    _child("events_total", type, outcome).inc(n)


def dead_letter(reason: str, n: int = 1) -> None:
    """So many records were set aside for this reason."""
    _child("dead_letters_total", reason).inc(n)


def event_to_list(seconds: Sequence[float] | NDArray[np.float64]) -> None:
    """One value for each event that was answered."""
    if len(seconds):
        _collectors["event_to_list_seconds"].observe(seconds)


def upload_to_recommendable(seconds: Sequence[float] | float) -> None:
    """One value for each item or upload whose vector came into use."""
    values = [seconds] if isinstance(seconds, (int, float)) else seconds
    if len(values):
        _collectors["upload_to_recommendable_seconds"].observe(values)


def late(n: int) -> None:
    """So many events were older than their user's newest."""
    _child("late_events_total").inc(n)


def clamped(n: int) -> None:
    """So many events had their time set to the broker's."""
    _child("clamped_events_total").inc(n)


def conditional_rejects(n: int) -> None:
    """So many saves were refused: the store was ahead."""
    _child("conditional_rejects_total").inc(n)


def item_unreadable(n: int = 1) -> None:
    """So many records of the item tables could not be used."""
    _child("items_unreadable_total").inc(n)


def commit(seconds: float) -> None:
    """One publish with its offsets was acknowledged after so long."""
    _child("commit_seconds").observe((seconds,))


def lag(topic: str, partition: int, messages: float, seconds: float) -> None:
    """How far behind the end of a partition that we own we are."""
    _gauges.set("lag_messages", messages, (topic, str(partition)))
    _gauges.set("lag_seconds", seconds, (topic, str(partition)))


def lists(source: str, n: int = 1) -> None:
    """So many lists were published that were made from this."""
    _child("lists_total", source).inc(n)


def gauges(**values: float) -> None:
    """Gauges without labels, by their names in the table. KeyError for another name."""
    for name, value in values.items():
        if BY_NAME[name].kind != "gauge" or BY_NAME[name].labels:
            raise KeyError(f"{name} is not a gauge without labels")
        _gauges.set(name, value)


def info(**versions: str) -> None:
    """What runs: encoder, model, ranker, store, index, law, version, torch. May be called
    again with what has changed. KeyError for a name that no info metric has."""
    infos = [metric for metric in METRICS if metric.kind == "info"]
    known = {label.name for metric in infos for label in metric.labels}
    if unknown := versions.keys() - known:
        raise KeyError(f"no info metric has {sorted(unknown)}; they have {sorted(known)}")
    _versions.update(versions)
    now: Mapping[str, str] = {**_versions, "worker": _worker}
    for metric in infos:
        names = [label.name for label in metric.labels]
        if versions.keys() & set(names):
            _gauges.replace(metric.name, tuple(now.get(name, "") for name in names))


def encoded(modality: str, n: int = 1) -> None:
    """So many contents went through an encoder."""
    _child("encoded_total", modality).inc(n)


def reused(n: int = 1) -> None:
    """So many contents were unchanged and left alone."""
    _child("encode_reused_total").inc(n)


def signal(cause: str, n: int = 1) -> None:
    """So many Signals were written."""
    _child("signals_total", cause).inc(n)


def trends(*, tables: int, rows: int, seconds: Sequence[float]) -> None:
    """One publish of trends: its records and rows, and how old each event in it was."""
    _child("trend_tables_total").inc(tables)
    _child("trend_rows_total").inc(rows)
    if len(seconds):
        _collectors["event_to_trend_seconds"].observe(seconds)


def model_loaded(outcome: str) -> None:
    """A model that a card named was taken into use, or why not."""
    _child("models_loaded_total", outcome).inc()


def model_published() -> None:
    """Training put a model in force."""
    _child("models_published_total").inc()


def not_published(reason: str) -> None:
    """A round of learning put no model in force, for this reason."""
    _child("models_refused_total", reason).inc()


def media_failure(reason: str, n: int = 1) -> None:
    """So many contents could not be used."""
    _child("media_failures_total", reason).inc(n)


def dropped(reason: str, n: int = 1) -> None:
    """So many contents, or parts of them, were not worth encoding."""
    _child("prepare_dropped_total", reason).inc(n)


def changed(change: str, n: int = 1) -> None:
    """In so many contents this was put right or noted."""
    _child("prepare_changed_total", change).inc(n)


def rebalance(lost: Iterable[tuple[str, int]] = ()) -> None:
    """Our partitions changed; the lag of those that we lost is no longer ours to show."""
    _child("rebalances_total").inc()
    for topic, partition in lost:
        _gauges.drop("lag_messages", (topic, str(partition)))
        _gauges.drop("lag_seconds", (topic, str(partition)))


def restart(cause: str) -> None:
    """A batch was rolled back and its partitions begin again."""
    _child("restarts_total", cause).inc()


set_worker(_worker)
