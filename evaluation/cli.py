"""`rec evaluate`: its options. workers/cli.py takes it in by name, for imports go downwards."""

from pathlib import Path
from typing import Annotated

import typer


def evaluate(
    only: Annotated[
        str, typer.Option(help="Names with commas; without it, everything.")
    ] = "",
    events: Annotated[
        Path | None,
        typer.Option(
            help="Your log, one JSON record a line; without it MovieLens-100k.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    items: Annotated[
        Path | None, typer.Option(help="Its items.", exists=True, dir_okay=False)
    ] = None,
    out: Annotated[Path, typer.Option(help="Where the report goes.")] = Path(
        "var/evaluation"
    ),
    history: Annotated[
        float, typer.Option(help="Events, or the share of them, that are known before.")
    ] = 0.8,
    stream: Annotated[
        float, typer.Option(help="Events, or the share, after them; 0: all the rest.")
    ] = 0.0,
    limit: Annotated[
        int, typer.Option(help="Ask for no more than so many lists; 0: all.", min=0)
    ] = 0,
    resume: Annotated[
        bool, typer.Option("--resume", help="Take what is already measured in --out.")
    ] = False,
    focus: Annotated[
        str, typer.Option(help="Whom the page is about; without it, the best.")
    ] = "",
    seed: Annotated[int, typer.Option(help="Of the intervals' resamples.")] = 0,
    wheel: Annotated[
        Path | None,
        typer.Option(help="The wheel with MovieLens-100k, instead of a download."),
    ] = None,
    known: Annotated[bool, typer.Option("--list", help="Show the names and stop.")] = False,
) -> None:
    """Measure lists on a recorded log, beside what people would use instead.

    Before each event of the stream its user's list is asked for, then the event happens.
    Writes report.html, report.md, report.json, and what each did (.npz), to --out.
    """
    from evaluation.evaluate import Evaluation
    from evaluation.evaluate import evaluate as measure
    from workers.terminal import hush

    hush()  # rounds of learning tell a worker's log how far they are
    if known:
        _show()
        return
    measure(
        Evaluation(
            only=tuple(name.strip() for name in only.split(",") if name.strip()),
            events=events, items=items, out=out, history=history, stream=stream, limit=limit,
            resume=resume, focus=focus, seed=seed, wheel=wheel,
        )
    )  # fmt: skip


def _show() -> None:
    from evaluation.registry import RECOMMENDERS
    from workers.terminal import console

    for name, entry in RECOMMENDERS.items():
        console().print(f"{name:<22} {entry.family:<11} {entry.about}")
