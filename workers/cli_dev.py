"""`rec dev ...`, `rec doctor`, `rec rebuild`, `rec demo`: commands for this machine."""

from pathlib import Path
from typing import Annotated

import typer

dev = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
kafka = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
dev.add_typer(kafka, name="kafka", help="One real Kafka node on loopback.")

Folder = Annotated[
    Path | None, typer.Option(help="Where its data is; a default if not given.")
]
Json = Annotated[bool, typer.Option("--json", help="One JSON value, for programs.")]


@kafka.command("up")
def kafka_up(folder: Folder = None, port: int = 0, json: Json = False) -> None:
    """Start it, or find it running."""
    from workers.development import kafka_up as up

    raise typer.Exit(up(folder, port=port or None, as_json=json))


@kafka.command("down")
def kafka_down(folder: Folder = None, json: Json = False) -> None:
    """Stop it; its data stays."""
    from workers.development import kafka_down as down

    raise typer.Exit(down(folder, as_json=json))


@kafka.command("status")
def kafka_status(folder: Folder = None, json: Json = False) -> None:
    """Whether it runs (exit code 1: no)."""
    from workers.development import kafka_status as status

    raise typer.Exit(status(folder, as_json=json))


@dev.command("up")
def dev_up() -> None:
    """Kafka, topics and one worker of each role, until Ctrl-C.

    Encode, recommend, trend (where the extra `trend` is installed) and train.
    """
    from workers.development import up

    raise typer.Exit(up())


@dev.command("docs")
def dev_docs() -> None:
    """Write the pages that are generated from the code."""
    from workers.development import docs

    raise typer.Exit(docs())


def doctor(json: Json = False) -> None:
    """Say what is wrong here, and what to do.

    Looks at the settings, the broker and its clock, topics, store, models, the laptop Kafka
    and the workers that run here. Exit code 1 if something fails.
    """
    from workers.doctor import examine

    raise typer.Exit(examine(as_json=json))


def rebuild(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Forget all users, to fold the log afresh.

    Refuses while workers run here. Nobody gets a second list for what was answered before.
    """
    from workers.rebuild import rebuild as forget

    raise typer.Exit(forget(yes=yes))


def demo(
    scenario: Annotated[
        str,
        typer.Option(
            help="A small invented world with media instead: ecommerce, social, education or "
            "smarthome."
        ),
    ] = "",
    events: Annotated[int, typer.Option(help="Ratings to stream; 0: the default.")] = 0,
    posters: Annotated[
        Path | None, typer.Option(help="A folder of <film number>.jpg.", exists=True)
    ] = None,
    wheel: Annotated[
        Path | None,
        typer.Option(help="The wheel with MovieLens-100k, instead of a download."),
    ] = None,
    folder: Annotated[Path, typer.Option(help="Emptied, then used.")] = Path("var/demo"),
    rate: Annotated[
        float, typer.Option(help="Events a second while latency is measured.")
    ] = 200.0,
    seconds: Annotated[float, typer.Option(help="How long latency is measured.")] = 25.0,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave the folder at the end.")
    ] = False,
) -> None:
    """From nothing to three people's lists.

    Starts a Kafka and workers in a folder of its own, streams real people's ratings of real
    films (MovieLens-100k), and stops everything at the end. With --scenario, the items and
    events of a shop, a network, a school or a home, with pictures, sounds, films and sensor
    readings that are made here (docs/scenarios.md).
    """
    from workers.demo import Demo, run

    if scenario:
        from workers.demo_scenario import run as play
        from workers.terminal import CommandError, Exit

        if events or posters or wheel:
            raise CommandError(
                "--events, --posters and --wheel are of the demo with films; leave them out "
                "or --scenario",
                Exit.USAGE,
            )
        raise typer.Exit(play(scenario, folder=folder, keep=keep))

    wanted = Demo(
        events=events, posters=posters, wheel=wheel, folder=folder, rate=rate,
        seconds=seconds, keep=keep,
    )  # fmt: skip
    raise typer.Exit(run(wanted))
