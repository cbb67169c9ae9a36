"""`rec tune ...`: settings of models, by search."""

from pathlib import Path
from typing import Annotated

import typer

tune = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


@tune.callback()
def searching() -> None:
    """Settings of models, by search on a recorded log."""


@tune.command("tower")
def tune_tower(
    events: Annotated[
        Path, typer.Option(help="JSONL of interactions (and item vectors).", exists=True)
    ],
    storage: Annotated[Path, typer.Option(help="Where trials are kept, to go on from.")],
    trials: Annotated[int, typer.Option(min=1, help="Trials in all.")] = 20,
    seconds: Annotated[
        float | None, typer.Option(help="No trial begins after so many seconds.")
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="One JSON value, for programs.")
    ] = False,
) -> None:
    """Search settings of the user tower by temporal cross-validation.

    Ended early, it goes on where it was when it is given the same storage again.
    """
    from workers.tune import tune_tower as search

    raise typer.Exit(
        search(events, trials=trials, seconds=seconds, storage=storage, as_json=json)
    )
