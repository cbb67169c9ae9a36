"""`rec encoders ...`: what turns content into vectors here, and what is fitted on a catalogue."""

from pathlib import Path
from typing import Annotated

import typer

encoders = typer.Typer(rich_markup_mode=None, invoke_without_command=True)


@encoders.callback()
def list_encoders(
    context: typer.Context,
    no_rate: Annotated[
        bool, typer.Option("--no-rate", help="Do not measure how fast they are.")
    ] = False,
    json: Annotated[
        bool, typer.Option("--json", help="One JSON value, for programs.")
    ] = False,
) -> None:
    """List the encoders: what works now, and how to have the others.

    Each is loaded and run for half a second on this machine; `*` marks the configured ones.
    """
    if context.invoked_subcommand is None:
        from workers.encoders_report import report

        raise typer.Exit(report(rates=not no_rate, as_json=json))


@encoders.command("fit")
def fit(
    method: Annotated[str, typer.Argument(help="tf-idf, word2vec or labels.")],
    items: Annotated[
        Path, typer.Option(help="Items as JSON lines, as `rec produce` takes.")
    ],
    out: Annotated[Path, typer.Option(help="The folder for what is fitted.")],
    width: Annotated[
        int,
        typer.Option(help="Of the vectors; 0: 2,048 words for tf-idf, 64 for word2vec."),
    ] = 0,
    epochs: Annotated[int, typer.Option(help="Of word2vec, over the catalogue.")] = 40,
    seed: Annotated[
        int, typer.Option(help="Of word2vec and labels; the same gives the same file.")
    ] = 0,
    copies: Annotated[
        int, typer.Option(help="Of labels: copies of each text with some words left out.")
    ] = 0,
    json: Annotated[
        bool, typer.Option("--json", help="One JSON value, for programs.")
    ] = False,
) -> None:
    """Fit a text encoder or label heads on a catalogue, and say the spec that names it.

    Texts are made and cleaned of items as `rec worker encode` does. Lines of other records are
    passed over. labels: learns the categories of items that have some from their other texts and
    pictures, through the encoders that are configured, for items that have none.
    """
    if method == "labels":
        from workers.encoders_labels import LabelFit, fit_label_heads

        asked = LabelFit(items=items, out=out, copies=copies, seed=seed, as_json=json)
        raise typer.Exit(fit_label_heads(asked))
    from workers.encoders_fit import Fit, fit_encoder

    wanted = Fit(
        method=method, items=items, out=out, width=width, epochs=epochs, seed=seed,
        as_json=json,
    )  # fmt: skip
    raise typer.Exit(fit_encoder(wanted))
