"""The report as one page that needs nothing else: no script, no font, no server.

what it is · the bars · where it loses · slices · the lift of live state · by gap and by
history · accuracy against coverage · the table · settings · how to make it again
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from html import escape
from pathlib import Path

from evaluation.drawing import Bar, Curve, Dot, bars, curves, dots, kinds, three
from evaluation.intervals import Interval
from evaluation.summary import ACCURACY, HEAD, Score, Summary

STYLE = Path(__file__).with_name("page.css")
CURVES = 6
AGES = ("live", "1min", "5min", "1h", "1d")


def page(summary: Summary, origin: Mapping[str, str], *, focus: str) -> str:
    """The whole HTML. `origin`: what is said of how it was made, by its name. `focus`: the
    recommender that the page is about."""
    live = [score for score in summary.scores if "@" not in score.name]
    ours = next(score for score in live if score.name == focus)
    title = f"{focus} on {summary.log}"
    sections = [
        _everyone(live, focus),
        _against(ours, live),
        _panels(live, focus),
        _lifts(summary, focus),
        _bands(live, focus),
        _beyond(live, focus),
        _table(summary, focus),
        _settings(summary),
    ]
    head = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE.read_text()}</style></head>"
    )
    body = "".join(f"<section>{section}</section>" for section in sections if section)
    foot = "".join(
        f"<p>{escape(name)}: <code>{escape(value)}</code></p>"
        for name, value in origin.items()
    )
    return (
        f"{head}<body><main>{_opening(summary, ours)}{body}"
        f"<footer>{foot}</footer></main></body></html>\n"
    )


def _opening(summary: Summary, ours: Score) -> str:
    best = ours.accuracy["all"][HEAD]
    split = summary.split
    facts = [
        (
            "lead",
            three(best.mean),
            f"hit rate at 20, {three(best.low)} to {three(best.high)}",
        ),
        ("", three(ours.accuracy["all"]["ndcg@20"].mean), "NDCG at 20"),
        ("", three(ours.accuracy["cold items"][HEAD].mean), "on cold items"),
        ("", three(ours.accuracy["first 5 events"][HEAD].mean), "on first five events"),
        ("", f"{100 * ours.coverage:.0f} %", "of the catalogue listed"),
        ("", f"{ours.p50_ms:.2g} ms", "a list (median)"),
    ]
    shown = "".join(
        f'<div class="{kind}"><b>{value}</b><span>{escape(said)}</span></div>'
        for kind, value, said in facts
    )
    return (
        f"<h1>{escape(ours.name)} on {escape(summary.log)}</h1>"
        f'<p class="soft">{split.history:,} events of history; then, before each of '
        f"{split.stream:,} events of {summary.stream_users:,} people, the list is asked for that "
        f"the person would see, among {summary.items:,} items without those touched. A hit: "
        "the item that came next is among the first 20.</p>"
        f'<div class="facts">{shown}</div>'
    )


def _everyone(live: Sequence[Score], focus: str) -> str:
    rows = [Bar(s.name, s.accuracy["all"][HEAD], _kind(s, focus), s.about) for s in live]
    return (
        "<h2>Hit rate at 20, all events</h2>"
        '<p class="soft">Lines are 95 % intervals over people. Two that overlap may still '
        "differ surely: the same people are in both (next section).</p>" + bars(rows)
    )


def _against(ours: Score, live: Sequence[Score]) -> str:
    if not ours.against or len(live) < 2:
        return ""
    rows = []
    for part, (rival, gap) in ours.against.items():
        word, kind = "within noise", ""
        if gap.low > 0:
            word, kind = "ahead", "good"
        elif gap.high < 0:
            word, kind = "behind", "bad"
        rows.append(
            f"<tr><td>{escape(part)}</td><td>{three(ours.accuracy[part][HEAD].mean)}</td>"
            f"<td>{escape(rival)}</td><td>{three(ours.accuracy[part][HEAD].mean - gap.mean)}</td>"
            f'<td class="{kind}">{gap.mean:+.3f}</td><td>{gap.low:+.3f} to {gap.high:+.3f}</td>'
            f'<td class="{kind}">{word}</td><td>{gap.events:,}</td></tr>'
        )
    heads = (
        "events",
        ours.name,
        "best other",
        "has",
        "difference",
        "95 % interval",
        "",
        "n",
    )
    return (
        f"<h2>Where {escape(ours.name)} wins and loses</h2>"
        '<p class="soft">Against the best of the others on each slice, paired: the same events '
        "and the same people on both sides.</p>"
        f'<div class="scroll"><table><tr>{"".join(f"<th>{escape(h)}</th>" for h in heads)}</tr>'
        f"{''.join(rows)}</table></div>"
    )


def _panels(live: Sequence[Score], focus: str) -> str:
    panels = []
    for part, measures in live[0].accuracy.items():
        value = measures[HEAD]
        if part == "all" or not value.events:
            continue
        ordered = sorted(live, key=lambda s: -s.accuracy[part][HEAD].mean)
        rows = [Bar(s.name, s.accuracy[part][HEAD], _kind(s, focus)) for s in ordered]
        panels.append(
            f"<div><h3>{escape(part)} <span class='soft'>{value.events:,} events, "
            f"{value.people:,} people</span></h3>{bars(rows)}</div>"
        )
    return (
        "<h2>By slice</h2>"
        '<p class="soft">Cold items have at most 5 events in the history. A person\'s first 5 '
        "events count over the whole log; new users have none in the history. Each panel has its "
        f'own scale.</p><div class="panels">{"".join(panels)}</div>'
    )


def _lifts(summary: Summary, focus: str) -> str:
    by_name = {score.name: score for score in summary.scores}
    bases = sorted({name.split("@")[0] for name in by_name if "@" in name})
    bases = [base for base in bases if base in by_name]
    if not bases:
        return ""
    lines: list[tuple[str, Curve]] = []
    for base in bases:
        for kind, said in (("", "refreshed each"), ("-old", "told late by")):
            names = [base if age == "live" else f"{base}@{age}{kind}" for age in AGES]
            if any(name in by_name for name in names[1:]):
                values = [
                    by_name[n].accuracy["all"][HEAD] if n in by_name else None
                    for n in names
                ]
                lines.append((base, Curve(f"{base}, {said}", values, f"c{len(lines) % 6}")))
    drawn_lines = [
        replace(line, kind="ours") if base == focus and "each" in line.name else line
        for base, line in lines
    ]
    told = []
    for base in bases:
        live, daily = by_name[base], by_name.get(f"{base}@1d")
        if daily is not None and daily.accuracy["all"][HEAD].mean:
            times = live.accuracy["all"][HEAD].mean / daily.accuracy["all"][HEAD].mean
            told.append(f"{base}: live state is worth {times:.1f} times a daily one.")
    drawn = curves(AGES, drawn_lines, label="age of what it knows", band=True)
    return (
        "<h2>The lift of live state</h2>"
        '<p class="soft">The same recommender, with what it knows refreshed at each full '
        "minute, hour, day, or told of every event so late. What "
        f"people touched is left out at once all the same. {escape(' '.join(told))}</p>"
        f'<div class="two"><figure>{drawn}</figure></div>'
    )


def _bands(live: Sequence[Score], focus: str) -> str:
    chosen = _chosen(live, focus)
    colour = kinds([score.name for score in chosen], focus)

    def drawn(bands: Callable[[Score], Mapping[str, Interval]], label: str) -> str:
        steps = list(bands(chosen[0]))
        lines = [
            Curve(s.name, [bands(s)[step] for step in steps], colour[s.name])
            for s in chosen
        ]
        return f"<figure>{curves(steps, lines, label=label)}</figure>"

    return (
        "<h2>When, and how well known</h2>"
        '<p class="soft">Hit rate at 20 by the time since the person\'s last event, and by how '
        f'many events he had.</p><div class="two">'
        f"{drawn(lambda s: s.gap, 'since the last event')}"
        f"{drawn(lambda s: s.length, 'events before this one')}</div>"
    )


def _beyond(live: Sequence[Score], focus: str) -> str:
    def scatter(get: Callable[[Score], float], across: str) -> str:
        points = [
            Dot(s.name, get(s), s.accuracy["all"][HEAD].mean, _kind(s, focus)) for s in live
        ]
        drawn = dots(points, across=across, up="hit rate at 20")
        return f"<figure>{drawn}</figure>"

    return (
        "<h2>Accuracy is not all</h2>"
        '<p class="soft">Hit rate at 20 (upwards) against how much of the catalogue is ever '
        "listed, and how little known what is listed is. Up and to the right is better.</p>"
        f'<div class="two">{scatter(lambda s: s.coverage, "share of the catalogue listed")}'
        f"{scatter(lambda s: s.novelty.mean, 'novelty, bits')}</div>"
    )


COLUMNS: Sequence[tuple[str, Callable[[Score], float], int]] = (
    # head, value, and which way is better: 1 up, -1 down, 0 neither
    *((n, lambda s, n=n: s.accuracy["all"][n].mean, 1) for n in ACCURACY),
    ("cold items", lambda s: s.accuracy["cold items"][HEAD].mean, 1),
    ("first 5", lambda s: s.accuracy["first 5 events"][HEAD].mean, 1),
    (">= 5", lambda s: s.accuracy["users with >= 5"][HEAD].mean, 1),
    ("coverage", lambda s: s.coverage, 1),
    ("diversity", lambda s: s.diversity.mean, 1),
    ("novelty, bits", lambda s: s.novelty.mean, 1),
    ("calibration, KL", lambda s: s.calibration.mean, -1),
    ("popularity lift", lambda s: s.popularity_lift.mean, 0),
    ("ms a list, p50", lambda s: s.p50_ms, -1),
    ("p99", lambda s: s.p99_ms, -1),
    ("fit, s", lambda s: s.fit_s, 0),
)


def best_of(scores: Sequence[Score], get: Callable[[Score], float], way: int) -> float:
    """The best value of a column (NaN where neither way is better)."""
    values = [get(score) for score in scores if get(score) == get(score)]
    return max(values, key=lambda v: way * v) if values and way else float("nan")


def _table(summary: Summary, focus: str) -> str:
    live = [score for score in summary.scores if "@" not in score.name]
    # Chance and popularity win what is not to be won: the best is among those that recommend.
    rivals = [score for score in live if score.family != "floor"] or live
    best = [best_of(rivals, get, way) for _, get, way in COLUMNS]
    heads = "".join(f"<th>{escape(head)}</th>" for head, _, _ in COLUMNS)
    rows = []
    for score in summary.scores:
        cells = "".join(
            f"<td{' class=best' if get(score) == top and score in rivals else ''}>{three(get(score))}</td>"
            for (_, get, _), top in zip(COLUMNS, best, strict=True)
        )
        kind = ' class="ours"' if score.name == focus else ""
        rows.append(f"<tr{kind}><td>{escape(score.name)}</td>{cells}</tr>")
    return (
        "<h2>All numbers</h2>"
        '<p class="soft">Bold: the best of a column, the floor (random, popularity) and stale '
        "state left out. Slices are hit rates at 20. Times are of one thread on a shared machine."
        f'</p><div class="scroll"><table><tr><th></th>{heads}</tr>{"".join(rows)}</table></div>'
    )


def _settings(summary: Summary) -> str:
    rows = "".join(
        f'<tr><td>{escape(s.name)}</td><td class="words">{escape(s.about)}</td>'
        f'<td class="words"><code>{escape(s.settings)}</code></td></tr>'
        for s in sorted(summary.scores, key=lambda s: s.name)
    )
    absent = "".join(
        f'<p class="bad">{escape(name)} was not run: {escape(why)}</p>'
        for name, why in summary.not_run.items()
    )
    return (
        "<h2>Settings</h2>"
        '<p class="soft">Found on the last part of the history, never on the stream. Reasons are '
        f'in evaluation/registry.py.</p>{absent}<div class="scroll"><table>{rows}</table></div>'
    )


def _chosen(live: Sequence[Score], focus: str) -> list[Score]:
    """The one in focus and the best of each other family: what a plot of lines can hold."""
    found = [score for score in live if score.name == focus]
    for score in live:
        if score.family not in {other.family for other in found} and len(found) < CURVES:
            found.append(score)
    return found


def _kind(score: Score, focus: str) -> str:
    if score.name == focus:
        return "ours"
    return "floor other" if score.family == "floor" else "other"
