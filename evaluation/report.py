"""The report's three files: numbers (JSON), a page for people (HTML), a text for diffs (Markdown)."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from evaluation.drawing import three
from evaluation.intervals import Interval
from evaluation.page import COLUMNS, best_of, page
from evaluation.summary import HEAD, Score, Summary


def write_report(
    summary: Summary,
    folder: Path,
    *,
    origin: Mapping[str, str],
    focus: str = "",
    name: str = "report",
) -> list[Path]:
    """Write NAME.json, NAME.md and NAME.html; their paths. `focus`: whom the page is about; the
    best by hit rate where it is empty or was not run."""
    named = [score.name for score in summary.scores if "@" not in score.name]
    if not named:
        raise ValueError("nothing to report: run at least one recommender with live state")
    focus = focus if focus in named else named[0]
    folder.mkdir(parents=True, exist_ok=True)
    written = {
        "json": json.dumps(
            _finite({"origin": dict(origin), "focus": focus, **asdict(summary)}), indent=1
        )
        + "\n",
        "md": markdown(summary, origin, focus=focus),
        "html": page(summary, origin, focus=focus),
    }
    files = []
    for kind, text in written.items():
        file = folder / f"{name}.{kind}"
        file.write_text(text)
        files.append(file)
    return files


def markdown(summary: Summary, origin: Mapping[str, str], *, focus: str) -> str:
    """The tables of the page, as text."""
    live = [score for score in summary.scores if "@" not in score.name]
    ours = next(score for score in live if score.name == focus)
    split = summary.split
    parts = [
        f"# Evaluation on {summary.log}: {focus}",
        "\n".join(f"- {key}: `{value}`" for key, value in origin.items()),
        (
            f"{split.history:,} events of history, {split.stream:,} of the stream, "
            f"{summary.stream_users:,} people in it, {summary.items:,} items. Before each event its "
            "user's list is asked for, without what he touched; a hit: the event's item is in it. "
            "Intervals: 95 %, people resampled."
        ),
        _main_table(summary, live),
        "## Hit rate at 20 by slice, with intervals",
        _grid(
            live, {part: [s.accuracy[part][HEAD] for s in live] for part in ours.accuracy}
        ),
        "## By the time since the user's last event",
        _grid(live, {band: [s.gap[band] for s in live] for band in ours.gap}),
        "## By how many events the user had",
        _grid(live, {band: [s.length[band] for s in live] for band in ours.length}),
        *_lift(summary),
        *_differences(ours),
        *(f"Not run: {who}: {why}" for who, why in summary.not_run.items()),
        "## Settings",
        "\n".join(
            f"- `{s.name}`: {s.about}; `{s.settings or 'none'}`"
            for s in sorted(summary.scores, key=lambda s: s.name)
        ),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _main_table(summary: Summary, live: list[Score]) -> str:
    rivals = [score for score in live if score.family != "floor"] or live
    best = [best_of(rivals, get, way) for _, get, way in COLUMNS]
    rows = [["", *(head for head, _, _ in COLUMNS)]]
    for score in summary.scores:
        cells = [
            f"**{three(get(score))}**"
            if get(score) == top and score in rivals
            else three(get(score))
            for (_, get, _), top in zip(COLUMNS, best, strict=True)
        ]
        rows.append([score.name, *cells])
    return table(rows)


def _grid(scores: list[Score], columns: Mapping[str, list[Interval]]) -> str:
    """A row a recommender, a column a slice; how many events under the head."""
    heads = [f"{name} (n={values[0].events:,})" for name, values in columns.items()]
    rows = [["", *heads]]
    for n, score in enumerate(scores):
        rows.append([score.name, *(_spread(values[n]) for values in columns.values())])
    return table(rows)


def _lift(summary: Summary) -> list[str]:
    stale = [score for score in summary.scores if "@" in score.name]
    if not stale:
        return []
    bases = {score.name.split("@")[0] for score in stale}
    rows = [["", "hit@20", "cold items", "first 5 events"]]
    for score in summary.scores:
        if score.name in bases or score in stale:
            parts = ("all", "cold items", "first 5 events")
            rows.append([score.name, *(_spread(score.accuracy[p][HEAD]) for p in parts)])
    return ["## The lift of live state: told of each event so late", table(rows)]


def _differences(ours: Score) -> list[str]:
    if not ours.against:
        return []
    rows = [["events", "best other", "difference of hit@20", "95 % interval", "people"]]
    for part, (rival, gap) in ours.against.items():
        low_high = f"{gap.low:+.3f} to {gap.high:+.3f}"
        rows.append([part, rival, f"{gap.mean:+.3f}", low_high, f"{gap.people:,}"])
    return [f"## {ours.name} against the best of the others, paired by person", table(rows)]


def table(rows: list[list[str]]) -> str:
    """Markdown; the first row is the head."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    lines.insert(1, "| --- |" + " ---: |" * (len(rows[0]) - 1))
    return "\n".join(lines)


def _spread(value: Interval) -> str:
    if not value.events:
        return "—"
    return f"{three(value.mean)} [{three(value.low)}, {three(value.high)}]"


def _finite(tree: Any) -> Any:
    """JSON knows no NaN: what is not known is null."""
    if isinstance(tree, dict):
        return {key: _finite(value) for key, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        return [_finite(value) for value in tree]
    return None if isinstance(tree, float) and not math.isfinite(tree) else tree
