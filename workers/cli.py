"""`rec`: the commands and their options. What they do is in the files that they name.

Everything heavy is imported where it is used: `rec --help` answers at once.
"""

import os
import sys
from importlib import import_module
from typing import Annotated

import typer

from workers.cli_data import import_
from workers.cli_dev import demo, dev, doctor, rebuild
from workers.cli_encoders import encoders
from workers.cli_learn import tune
from workers.cli_models import models
from workers.terminal import EXIT_CODES, CommandError, Exit, complain, wanted

app = typer.Typer(
    name="rec",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    epilog="Exit codes: " + "; ".join(f"{int(c)} {said}" for c, said in EXIT_CODES.items()),
)
topics = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
worker = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
app.add_typer(topics, name="topics", help="The topics on the broker.")
app.add_typer(worker, name="worker", help="Run one worker here, until SIGTERM or Ctrl-C.")
app.add_typer(encoders, name="encoders", help="What turns content into vectors.")
app.add_typer(models, name="models", help="Trained models: which is in force, and back.")
app.add_typer(tune, name="tune", help="Settings of models, by search.")
app.add_typer(dev, name="dev", help="Kafka and workers on this machine, and the docs.")

Json = Annotated[bool, typer.Option("--json", help="One JSON value a line, for programs.")]
Url = Annotated[
    str, typer.Option(help="A worker's address; otherwise the ones found here.")
]
User = Annotated[str, typer.Argument(help="A user id.")]


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Fresh recommendations from a stream of events and media, on Kafka.

    Settings are environment variables STREAMREC_<SECTION>__<NAME> (docs/configuration.md).
    """
    wanted["debug"] = debug
    # Before numpy is loaded. Threads of a small product wait for each other, and on cores that a
    # broker uses too that costs twenty times the product.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


@topics.command("create")
def topics_create(
    fix: Annotated[bool, typer.Option("--fix", help="Set settings that differ.")] = False,
    json: Json = False,
) -> None:
    """Make what is missing; say what differs."""
    from workers.topics_report import create_topics

    raise typer.Exit(create_topics(as_json=json, fix=fix))


@app.command()
def produce(
    file: Annotated[str, typer.Argument(help="A file of JSON lines, or - for stdin.")],
    topic: Annotated[str, typer.Option(help="Send all to this topic.")] = "",
    wire: Annotated[str, typer.Option(help="msgpack or json.")] = "msgpack",
    rate: Annotated[
        float, typer.Option(help="Records a second; 0: as fast as it goes.")
    ] = 0.0,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Go on past bad lines.")
    ] = False,
    json: Json = False,
) -> None:
    """Send records, one JSON map a line.

    Topic and key follow from each record. {"withdraw": "item id"} takes an item back.
    """
    from workers.produce import Production, produce_lines

    production = Production(
        file=file, topic=topic, wire=wire, rate=rate, skip_bad=skip_bad, as_json=json
    )
    raise typer.Exit(produce_lines(production))


@app.command()
def watch(
    user: Annotated[str, typer.Argument(help="A user id.")] = "",
    everyone: Annotated[bool, typer.Option("--all", help="Everybody's lists.")] = False,
    count: Annotated[int, typer.Option(help="Stop after so many; 0: never.")] = 0,
    timeout: Annotated[
        float, typer.Option(help="Stop after so many seconds; 0: never.")
    ] = 0.0,
    from_start: Annotated[
        bool, typer.Option("--from-start", help="First those that the topic has already.")
    ] = False,
    json: Json = False,
) -> None:
    """Show lists as they arrive, with titles."""
    from workers.watch import Watch, watch_lists

    if bool(user) == everyone:
        raise CommandError("name one user, or --all", Exit.USAGE)
    watching = Watch(
        user=user, count=count, timeout_s=timeout, from_start=from_start, as_json=json
    )
    raise typer.Exit(watch_lists(watching))


@app.command()
def why(
    user: User,
    item: Annotated[str, typer.Argument(help="An item id.")],
    url: Url = "",
    json: Json = False,
) -> None:
    """Why an item is in a user's list, or is not."""
    from workers.ask import why as answer

    raise typer.Exit(answer(user, item, url=url, as_json=json))


@app.command("user")
def about_user(user: User, url: Url = "", json: Json = False) -> None:
    """What is known of a user, in words."""
    from workers.ask import user as answer

    raise typer.Exit(answer(user, url=url, as_json=json))


@worker.command("encode")
def worker_encode() -> None:
    """Items, media and what people say, into vectors."""
    from workers.bootstrap import settings
    from workers.start import encode

    raise typer.Exit(encode(settings()))


@worker.command("recommend")
def worker_recommend() -> None:
    """Events into users' interests and fresh lists."""
    from workers.bootstrap import settings
    from workers.start import recommend

    raise typer.Exit(recommend(settings()))


@worker.command("trend")
def worker_trend() -> None:
    """Events into what is popular and what follows what."""
    from workers.bootstrap import settings
    from workers.start import trend

    raise typer.Exit(trend(settings()))


@worker.command("train")
def worker_train() -> None:
    """The log into models, put in force where they are not worse."""
    from workers.bootstrap import settings
    from workers.start import train

    raise typer.Exit(train(settings()))


app.command("import")(import_)
app.command()(doctor)
app.command()(rebuild)
app.command()(demo)
# evaluation/ stands above workers/ and imports it; taken in by name, no import goes back.
app.command()(import_module("evaluation.cli").evaluate)


def main() -> None:
    """The console script. Errors are one line on stderr; --debug shows where they are from."""
    try:
        app()
    except CommandError as error:
        _end(error, error.code)
    except KeyboardInterrupt:
        sys.exit(Exit.INTERRUPTED)
    except BrokenPipeError:  # the reader of our stdout has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(Exit.DONE)
    except Exception as error:  # noqa: BLE001  # the edge
        _end(error, _code_of(error))


def _end(error: Exception, code: Exit) -> None:
    if wanted["debug"]:
        raise error
    named = isinstance(error, (CommandError, *_known()))
    complain(
        str(error) if named else f"{type(error).__name__}: {error} (--debug shows where)"
    )
    sys.exit(code)


def _code_of(error: Exception) -> Exit:
    from workers.config import ConfigError
    from workers.laptop_kafka import KafkaUnavailableError
    from workers.ports import TransientError

    if isinstance(error, ConfigError):
        return Exit.USAGE
    return (
        Exit.MISSING
        if isinstance(error, (KafkaUnavailableError, TransientError))
        else Exit.NO
    )


def _known() -> tuple[type[Exception], ...]:
    """Errors whose message alone says what to do."""
    from workers.config import ConfigError
    from workers.laptop_kafka import KafkaUnavailableError
    from workers.ports import FatalError, TransientError

    return ConfigError, KafkaUnavailableError, FatalError, TransientError


if __name__ == "__main__":
    main()
