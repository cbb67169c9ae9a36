"""`rec import`: its options."""

from pathlib import Path
from typing import Annotated

import typer


def import_(
    mapping: Annotated[
        Path, typer.Option("--map", help="What your columns are (docs/import.md).")
    ],
    events: Annotated[
        Path | None, typer.Option(help="Your events: CSV, TSV or JSON lines.")
    ] = None,
    items: Annotated[Path | None, typer.Option(help="Your items.")] = None,
    out: Annotated[
        str, typer.Option(help="A folder for items.jsonl and events.jsonl; -: stdout.")
    ] = "-",
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Go on past bad lines.")
    ] = False,
    json: Annotated[
        bool, typer.Option("--json", help="One JSON value a line, for programs.")
    ] = False,
) -> None:
    """Files with other columns, as lines for `rec produce`.

    A map in TOML says which column is which field. Each line is checked as a worker would.
    """
    from workers.importing import Import, import_files

    wanted = Import(
        mapping=mapping,
        events=events,
        items=items,
        out=out,
        skip_bad=skip_bad,
        as_json=json,
    )
    raise typer.Exit(import_files(wanted))
