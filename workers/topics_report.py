"""`rec topics create`: what was made, what was there, what differs and what to do."""

from dataclasses import asdict

from workers.bootstrap import for_tools
from workers.config import Config
from workers.terminal import Exit, console, say_json
from workers.topics import TopicReport
from workers.topics import create_topics as make

STYLES = {"created": "green", "mended": "green", "present": "dim", "differs": "red"}


def create_topics(*, as_json: bool, fix: bool = False, config: Config | None = None) -> int:
    """Makes what is missing. Exit code 1 if a topic differs from what it has to be."""
    config = config or for_tools()
    reports = make(config.kafka, keep_events=keeps_events(config), fix=fix)
    if as_json:
        say_json([asdict(report) for report in reports])
    else:
        show(reports)
    return Exit.NO if any(report.problems for report in reports) else Exit.DONE


def keeps_events(config: Config) -> bool:
    """An embedded store is rebuilt from the log, which therefore has to keep everything."""
    return config.qdrant.url in ("", ":memory:")


def show(reports: list[TopicReport]) -> None:
    """A table, and the problems below it."""
    from rich.table import Table

    out, table = console(), Table(box=None, padding=(0, 1), show_header=False)
    for report in reports:
        style = STYLES.get(report.state, "red")
        partitions = f"{report.partitions} partition{'s' if report.partitions != 1 else ''}"
        table.add_row(report.name, partitions, f"[{style}]{report.state}[/]")
    out.print(table)
    for report in reports:
        for problem in report.problems:
            out.print(f"{report.name} {problem}", markup=False, style="red", soft_wrap=True)
