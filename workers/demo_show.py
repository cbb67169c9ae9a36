"""How the demo looks: headings, a bar that shows the day of the stream, lists with reasons."""

from collections.abc import Callable
from datetime import UTC, datetime
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from schemas import Slate, SlateItem

SOURCES = {
    "popular": "popular now",
    "fresh": "new",
    "query": "asked for",
    "explore": "by chance",
}


def heading(out: Console, text: str) -> None:
    """A line between two acts."""
    out.print()
    out.print(Rule(Text(text, style="bold"), align="left", style="dim"))


def moment_of(at_ms: int) -> str:
    """The day, in the time of the events."""
    day = datetime.fromtimestamp(at_ms / 1000, tz=UTC)
    return f"{day.day} {day:%b %Y}"


class Bar:
    """Progress of a stream; nothing where nobody looks."""

    def __init__(self, out: Console, name: str, *, total: int) -> None:
        self._done, self._at_ms, self._total = 0, 0, total
        self._progress = Progress(
            TextColumn(name),
            BarColumn(bar_width=32),
            MofNCompleteColumn(),
            TextColumn("{task.fields[day]}"),
            console=out,
            transient=True,
            disable=not out.is_terminal,
        )
        self._task = self._progress.add_task(name, total=total, day="")

    def __enter__(self) -> "Bar":
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def advance(self, at_ms: int) -> None:
        """One more, at this time of the stream."""
        self.reach(self._done + 1, at_ms)

    def reach(self, done: int, at_ms: int = 0) -> None:
        """So many by now. Drawn once in a hundred: it is read by people."""
        drawn = self._done // 100
        self._done, self._at_ms = done, at_ms
        if done // 100 != drawn or done == self._total:
            day = moment_of(at_ms) if at_ms else ""
            self._progress.update(self._task, completed=done, day=day)


def list_table(
    slate: Slate,
    title: Callable[[str], str],
    because: Callable[[str], str],
    *,
    limit: int = 10,
    mark: str = "",
    past: str = "you rated",
) -> Table:
    """Places, titles and the first reason. `because` names something of the past, and `past`
    what was done to it; `mark` is an item that is to be seen at once."""
    table = Table(box=None, padding=(0, 1), show_header=False, expand=True)
    table.add_column(justify="right", style="dim", width=2)
    table.add_column(overflow="ellipsis", no_wrap=True, ratio=5)
    table.add_column(overflow="ellipsis", no_wrap=True, ratio=6, style="dim")
    for item in slate.items[:limit]:
        style = "bold green" if item.item_id == mark else "bold"
        place = Text(title(item.item_id), style=style)
        table.add_row(str(item.rank), place, Text(in_words(item, because, past)))
    if not slate.items:
        table.add_row("", "an empty list", "")
    return table


def in_words(
    item: SlateItem, because: Callable[[str], str], past: str = "you rated"
) -> str:
    """Why an item is in a list: the weightiest reason, in a sentence."""
    source = SOURCES.get(item.source, item.source)
    if not item.reasons or item.source == "query":
        return source
    first = item.reasons[0]
    modality = f"{first.modality} " if first.modality else ""
    asked = f"{source}, and " if item.source == "query" else ""
    return f"{asked}because {past} {because(first.because)} ({modality}{first.weight:.2f})"
