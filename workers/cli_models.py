"""`rec models ...`: which models there are, which is in force, and back to another one."""

from pathlib import Path
from typing import Annotated

import typer

models = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

Json = Annotated[bool, typer.Option("--json", help="One JSON value a line, for programs.")]
Name = Annotated[str, typer.Option(help="ranker: what makes lists; fusion: the space.")]


@models.command("list")
def models_list(json: Json = False) -> None:
    """Every model that can be in force: version, when, sha256, where."""
    from workers.models_report import show

    raise typer.Exit(show(as_json=json))


@models.command("publish")
def models_publish(
    file: Annotated[Path, typer.Argument(help="A safetensors file.", exists=True)],
    name: Name = "ranker",
) -> None:
    """Put a file in force. Training leaves it alone until `rec models release`."""
    from workers.models_report import publish

    raise typer.Exit(publish(file, name=name))


@models.command("rollback")
def models_rollback(
    version: Annotated[
        str,
        typer.Argument(help="A version of `rec models list`; the one before if not given."),
    ] = "",
    name: Name = "ranker",
) -> None:
    """Put an earlier model in force again.

    Workers reload it within a second or two. Training leaves it alone until
    `rec models release`.
    """
    from workers.models_report import rollback

    raise typer.Exit(rollback(version, name=name))


@models.command("release")
def models_release(name: Name = "ranker") -> None:
    """Let training put newer models in force again."""
    from workers.models_report import release

    raise typer.Exit(release(name=name))


@models.command("confirm")
def models_confirm() -> None:
    """Stop writing vectors of the space before the fusion in force.

    Encode workers do so by themselves STREAMREC_MODELS__BOTH_S after its card.
    """
    from workers.models_report import confirm

    raise typer.Exit(confirm())
