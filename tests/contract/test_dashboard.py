"""The dashboard and the rules as files: complete, and about metrics that there are."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.grafana.dashboard import dashboard, queries
from tests.support.programs import need
from workers.metric_table import BY_NAME, METRICS, series

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "deploy/prometheus"
RULES = yaml.safe_load((PROMETHEUS / "rules.yml").read_text())
RULE_LIST: list[dict[str, Any]] = [
    rule for group in RULES["groups"] for rule in group["rules"]
]
ALERTS = [rule for rule in RULE_LIST if "alert" in rule]
PANELS = [panel for panel in dashboard()["panels"] if panel["type"] != "row"]
FOREIGN = {"up", "process_resident_memory_bytes", "process_cpu_seconds_total"}


def expressions() -> Iterator[Any]:
    for title, expression in queries():
        yield pytest.param(expression, id=title.replace(" ", "-"))
    for rule in RULE_LIST:
        yield pytest.param(rule["expr"], id=rule.get("alert", rule.get("record")))


@pytest.mark.parametrize("expression", list(expressions()))
def test_every_query_is_about_metrics_that_the_workers_have(expression: str):
    bare = re.sub(r"\b(by|on|le)\s*\([^)]*\)|\{[^}]*\}|\[[^\]]*\]", " ", expression)
    names = set(re.findall(r"[a-zA-Z_][\w:]*(?![\w:]*\s*\()", bare)) - {"and", "or"}
    recorded = {rule["record"] for rule in RULE_LIST if "record" in rule}
    for name in names - recorded - FOREIGN:
        short = name.removeprefix("streamrec_")
        metric = BY_NAME.get(short) or BY_NAME[re.sub(r"_(bucket|sum|count)$", "", short)]
        assert (name != series(metric)) == (metric.kind == "histogram"), name


@pytest.mark.parametrize("expression", list(expressions()))
def test_labels_that_are_grouped_by_are_labels_of_the_metric(expression: str):
    own = {"job", "instance", "le"}
    metrics = [metric for metric in METRICS if series(metric) in expression]
    labels = {label.name for metric in metrics for label in metric.labels}
    for group in re.findall(r"by \(([^)]*)\) ?\((?:rate|increase)?\(?(\w+)", expression):
        assert set(group[0].split(", ")) <= own | labels, group


def test_every_metric_is_looked_at_by_a_panel_or_a_rule():
    asked = " ".join([e for _, e in queries()] + [rule["expr"] for rule in RULE_LIST])
    assert [series(metric) for metric in METRICS if series(metric) not in asked] == []


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_every_panel_says_what_it_shows_in_which_unit(panel: dict[str, Any]):
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["datasource"]["uid"] == "prometheus"
    assert all(
        target["legendFormat"] for target in panel["targets"] if "format" not in target
    )


def test_panels_have_numbers_of_their_own_and_none_covers_another():
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        grid = panel["gridPos"]
        cells = {
            (grid["x"] + x, grid["y"] + y)
            for x in range(grid["w"])
            for y in range(grid["h"])
        }
        assert not cells & taken, panel["title"]
        assert grid["x"] + grid["w"] <= 24
        taken |= cells


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_every_alert_says_how_bad_it_is_and_what_to_do(rule: dict[str, Any]):
    assert rule["labels"]["severity"] in ("info", "warning", "critical")
    assert rule["annotations"]["summary"]
    assert rule["annotations"]["runbook"].endswith(".")


def test_the_dashboard_and_the_rules_mean_the_same_jobs_as_the_scraper():
    config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    jobs = {job["job_name"] for job in config["scrape_configs"]}
    assert {"encode", "recommend"} <= jobs
    asked = " ".join([e for _, e in queries()] + [rule["expr"] for rule in RULE_LIST])
    assert set(re.findall(r'job=~"([^"]*)"', asked)) == {"encode|recommend|trend|train"}


@pytest.mark.prom
@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["check", "config", "prometheus.yml"], id="config"),
        pytest.param(["check", "rules", "rules.yml"], id="rules"),
        pytest.param(["test", "rules", "rules.test.yml"], id="alerts fire when they must"),
    ],
)
def test_promtool_finds_nothing_wrong(arguments: list[str]):
    promtool = need("promtool", apt="prometheus")
    done = subprocess.run(
        [promtool, *arguments], cwd=PROMETHEUS, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
