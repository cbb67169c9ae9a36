"""Metrics: declared once, counted cheaply, shown without a false zero."""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from tests.support.programs import need
from workers import metrics
from workers.metric_table import BY_NAME, METRICS, OTHER, REASONS, STAGES, Role, series
from workers.ports import TransientError

ROOT = Path(__file__).parents[2]
LABELLED = {
    "stage": ("stage_seconds", 1), "events": ("events_total", 0),
    "dead_letter": ("dead_letters_total", 0), "lists": ("lists_total", 0),
    "store": ("store_seconds", 0), "media": ("media_seconds", 0),
    "encoded": ("encoded_total", 0), "signal": ("signals_total", 0),
    "media_failure": ("media_failures_total", 0), "restart": ("restarts_total", 0),
    "dropped": ("prepare_dropped_total", 0), "changed": ("prepare_changed_total", 0),
}  # fmt: skip


@pytest.fixture
def role(request: pytest.FixtureRequest) -> Iterator[Role]:
    chosen: Role = getattr(request, "param", "recommend")
    metrics.set_worker(chosen)
    yield chosen
    metrics.set_worker("recommend")


def shown() -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Every sample that a scrape would see now."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(metrics.exposition().decode())
        for sample in family.samples
    }


def value(name: str, **labels: str) -> float:
    return shown().get((f"streamrec_{name}", tuple(sorted(labels.items()))), 0.0)


def test_each_metric_is_declared_once_with_a_name_that_follows_the_rules():
    assert len(BY_NAME) == len(METRICS)
    for metric in METRICS:
        assert re.fullmatch(r"streamrec_[a-z][a-z_]*[a-z]", series(metric))
        assert metric.name.endswith("_total") == (metric.kind == "counter"), metric.name
        assert bool(metric.buckets) == (metric.kind == "histogram"), metric.name
        for unit in ("seconds", "bytes", "info"):
            assert metric.name.endswith(f"_{unit}") == (metric.unit == unit), metric.name


def test_each_metric_says_what_it_is_and_how_to_act_on_it():
    for metric in METRICS:
        assert metric.help.endswith("."), metric.name
        assert metric.act.endswith("."), metric.name


def test_no_label_can_hold_an_id():
    for metric in METRICS:
        for label in metric.labels:
            assert label.values or label.bound, (metric.name, label.name)
            assert not label.name.endswith("id"), (metric.name, label.name)
            assert len(label.values) < 40, (metric.name, label.name)


@given(st.lists(st.floats(0, 20), max_size=50))
def test_many_observations_at_once_count_as_each_alone(seconds: list[float]):
    before = shown()
    metrics.event_to_list(seconds)
    after = shown()
    name = "streamrec_event_to_list_seconds"
    for bound in BY_NAME["event_to_list_seconds"].buckets:
        key = (f"{name}_bucket", (("le", str(bound)),))
        assert after[key] - before[key] == sum(s <= bound for s in seconds)
    assert after[f"{name}_count", ()] - before[f"{name}_count", ()] == len(seconds)
    assert after[f"{name}_sum", ()] - before[f"{name}_sum", ()] == pytest.approx(
        sum(seconds)
    )


def test_a_column_of_numbers_is_observed_as_it_is(role: Role):
    before = value("event_to_list_seconds_count")
    metrics.event_to_list(np.asarray([0.01, 0.02]))
    assert value("event_to_list_seconds_count") == before + 2


def test_a_label_value_outside_its_closed_set_is_counted_as_other(role: Role):
    before = value("dead_letters_total", reason=OTHER)
    metrics.dead_letter("u1 sent a strange thing", 2)
    assert value("dead_letters_total", reason=OTHER) == before + 2
    assert not any("u1" in str(labels) for _, labels in shown())


def test_counters_are_there_from_zero_so_that_the_first_increase_is_seen(role: Role):
    reasons = {dict(labels)["reason"] for name, labels in shown() if "dead_letters" in name}
    assert reasons == set(REASONS)


@pytest.mark.parametrize("role", ["encode", "recommend"], indirect=True)
def test_a_worker_shows_the_metrics_of_its_role_only(role: Role):
    metrics.gauges(users_dirty=3.0, ready=1.0)
    names = {re.sub(r"_(bucket|sum|count)$", "", name) for name, _ in shown()}
    mine = {series(metric) for metric in METRICS if role in metric.roles}
    assert {name for name in names if name.startswith("streamrec_")} <= mine
    assert ("streamrec_users_dirty" in names) == (role == "recommend")
    assert "process_resident_memory_bytes" in names


def test_a_gauge_that_was_never_set_is_absent_and_not_zero(role: Role):
    assert "streamrec_cache_bytes" not in {name for name, _ in shown()}
    metrics.gauges(cache_bytes=12.0)
    assert value("cache_bytes") == 12.0


def test_a_gauge_that_the_table_does_not_have_is_refused():
    with pytest.raises(KeyError):
        metrics.gauges(commit_seconds=1.0)


def test_the_store_is_up_by_its_last_call_and_a_mistake_of_ours_is_not_its_fault(
    role: Role,
):
    with metrics.store("load"):
        pass
    assert value("store_up") == 1.0
    with pytest.raises(TransientError), metrics.store("save"):
        raise TransientError("away")
    assert value("store_up") == 0.0
    with metrics.store("save"):
        pass
    with pytest.raises(ZeroDivisionError), metrics.store("save"):
        raise ZeroDivisionError
    assert value("store_up") == 1.0


def test_a_stage_is_timed_under_the_role_even_where_it_fails(role: Role):
    labels = {"worker": "recommend", "stage": "fold"}
    before = value("stage_seconds_count", **labels)
    with pytest.raises(ValueError, match="bad"), metrics.stage("fold"):
        raise ValueError("bad")
    assert value("stage_seconds_count", **labels) == before + 1


def test_the_lag_of_a_partition_goes_with_the_partition(role: Role):
    metrics.lag("rec.events.v1", 3, 7, 1.5)
    assert value("lag_messages", topic="rec.events.v1", partition="3") == 7
    metrics.rebalance([("rec.events.v1", 3)])
    assert "streamrec_lag_messages" not in {name for name, _ in shown()}
    assert "streamrec_lag_seconds" not in {name for name, _ in shown()}


def test_versions_are_one_series_each_and_the_newest_counts(role: Role):
    metrics.info(encoder="e1", ranker="r1", law="abc")
    metrics.info(model="m2", encoder="e2")
    infos = [dict(labels) for name, labels in shown() if name == "streamrec_model_info"]
    assert infos == [{"encoder": "e2", "model": "m2", "ranker": "r1"}]
    assert value("law_info", law="abc") == 1.0
    with pytest.raises(KeyError, match="weather"):
        metrics.info(weather="rain")


def calls() -> Iterator[tuple[str, str, str]]:
    """(where, metric, label value) of each literal that our code passes to a metric."""
    for path in sorted((ROOT / "workers").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            function = node.func
            if (
                getattr(function.value, "id", "") != "metrics"
                or function.attr not in LABELLED
            ):
                continue
            name, first = LABELLED[function.attr]
            labels = BY_NAME[name].labels[first:]
            for label, argument in zip(labels, node.args, strict=False):
                for leaf in ast.walk(argument):
                    if isinstance(leaf, ast.Constant) and isinstance(leaf.value, str):
                        yield f"{path.name}:{node.lineno} {label.name}", name, leaf.value


def test_every_label_value_that_our_code_passes_is_in_its_closed_set():
    known = {
        name: {value for label in BY_NAME[name].labels for value in label.values}
        for name, _ in LABELLED.values()
    }
    assert not [
        (where, text) for where, name, text in calls() if text not in known[name] - {OTHER}
    ]


def test_every_reason_of_a_refusal_is_in_the_closed_set():
    said = re.compile(r"(?:DecodeError|_bad|refused)\(\s*\"([a-z_]+)\"")
    for room in ("schemas", "workers"):
        for path in sorted((ROOT / room).glob("*.py")):
            unknown = set(said.findall(path.read_text())) - set(REASONS)
            assert not unknown, f"{path.name}: {unknown} are not in metric_table.REASONS"


def test_each_role_has_its_stages_in_the_label():
    values = set(BY_NAME["stage_seconds"].labels[1].values)
    assert values == {stage for stages in STAGES.values() for stage in stages} | {OTHER}


@pytest.mark.prom
@pytest.mark.parametrize("role", ["encode", "recommend"], indirect=True)
def test_promtool_finds_nothing_to_mend(role: Role):
    promtool = need("promtool", apt="prometheus")
    ours = b"".join(
        line
        for line in metrics.exposition().splitlines(keepends=True)
        if b" streamrec_" in line or line.startswith(b"streamrec_")
    )
    done = subprocess.run(
        [promtool, "check", "metrics"], input=ours, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
