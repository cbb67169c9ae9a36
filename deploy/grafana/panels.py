"""How a panel is written down for Grafana. What the panels show is in dashboard.py."""

from typing import Any

SOURCE = {"type": "prometheus", "uid": "prometheus"}
RATE = "$__rate_interval"
Panel = dict[str, Any]
Query = tuple[str, str]
"""(expression, legend)"""


def quantiles(bucket: str, *at: float, by: str = "") -> list[Query]:
    """Quantiles of a histogram over all workers, or one set for each value of a label."""
    labels, legend = (f"le, {by}", f"{{{{{by}}}}} ") if by else ("le", "")
    return [
        (
            f"histogram_quantile({q}, sum by ({labels}) (rate({bucket}[{RATE}])))",
            f"{legend}p{q * 100:g}",
        )
        for q in at
    ]


def _targets(asked: tuple[Query, ...], **more: Any) -> list[dict[str, Any]]:
    return [
        {
            "refId": chr(ord("A") + n),
            "datasource": SOURCE,
            "expr": e,
            "legendFormat": legend,
        }
        | more
        for n, (e, legend) in enumerate(asked)
    ]


def lines(
    title: str,
    description: str,
    unit: str,
    *asked: Query,
    stacked: bool = False,
    line: float | None = None,
) -> Panel:
    """Curves over time; stacked where their sum means something, with a line to stay under."""
    custom: dict[str, Any] = {
        "lineWidth": 1,
        "fillOpacity": 30 if stacked else 0,
        "stacking": {"mode": "normal" if stacked else "none"},
        "thresholdsStyle": {"mode": "off" if line is None else "line"},
    }
    return {
        "type": "timeseries",
        "title": title,
        "description": description,
        "datasource": SOURCE,
        "targets": _targets(asked),
        "fieldConfig": {
            "defaults": {
                "unit": unit,
                "min": 0,
                "custom": custom,
                "thresholds": _thresholds(good="transparent", bad="red", at=line),
            },
            "overrides": [],
        },
        "options": {
            "legend": {
                "displayMode": "table",
                "placement": "bottom",
                "calcs": ["lastNotNull", "max"],
                "sortBy": "Max",
                "sortDesc": True,
            },
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
    }


def stat(title: str, description: str, unit: str, *asked: Query, red_below: float) -> Panel:
    """The newest values, large; red below a number."""
    return {
        "type": "stat",
        "title": title,
        "description": description,
        "datasource": SOURCE,
        "targets": _targets(asked),
        "fieldConfig": {
            "defaults": {
                "unit": unit,
                "thresholds": _thresholds(good="red", bad="green", at=red_below),
            },
            "overrides": [],
        },
        "options": {
            "reduceOptions": {"calcs": ["lastNotNull"]},
            "textMode": "value_and_name",
            "colorMode": "background",
            "graphMode": "area",
        },
    }


def table(title: str, description: str, *metrics: str) -> Panel:
    """One row a worker and kind, with what its info metrics say."""
    hidden = {"Time": True, "Value": True, "__name__": True}
    hidden |= {f"Value #{chr(ord('A') + n)}": True for n in range(len(metrics))}
    return {
        "type": "table",
        "title": title,
        "description": description,
        "datasource": SOURCE,
        "targets": _targets(
            tuple((metric, "") for metric in metrics), format="table", instant=True
        ),
        "fieldConfig": {"defaults": {"unit": "string", "custom": {}}, "overrides": []},
        "options": {"showHeader": True, "cellHeight": "sm"},
        "transformations": [
            {"id": "merge", "options": {}},
            {"id": "organize", "options": {"excludeByName": hidden}},
        ],
    }


def row(title: str, *, at: tuple[int, int], number: int) -> Panel:
    grid = {"h": 1, "w": 24, "x": at[0], "y": at[1]}
    return {
        "type": "row",
        "title": title,
        "id": number,
        "collapsed": False,
        "gridPos": grid,
    }


def _thresholds(*, good: str, bad: str, at: float | None) -> dict[str, Any]:
    """Colour `good` from the bottom and `bad` from `at` on."""
    steps: list[dict[str, Any]] = [{"color": good, "value": None}]
    if at is not None:
        steps.append({"color": bad, "value": at})
    return {"mode": "absolute", "steps": steps}
