"""`rec demo`: from nothing to three people's lists. Read `run`, then `story`.

    data -> Kafka, topics, workers -> films -> half of the ratings -> a new film is uploaded
    -> ratings at a steady rate, measured -> the other half -> a rating is taken back
    -> three people's lists -> everything is stopped -> one line of figures

All that is measured is measured from outside (demo_stage.py): nothing in the workers knows
of the demo.
"""

import shutil
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from workers import children, demo_system
from workers.demo_acts import load_films, show_people, take_back
from workers.demo_cast import Cast
from workers.demo_show import Bar, heading, moment_of
from workers.demo_stage import Stage, open_stage
from workers.demo_upload import upload_film
from workers.ledger import percentile
from workers.movielens import MovieLens, Rating, fetch, interaction_of, read
from workers.terminal import CommandError, Exit, console, hush
from workers.topics_report import create_topics

DEFAULT_EVENTS = 100_000
WINDOW = 2_000
CACHE = Path.home() / ".cache" / "streamrec" / "data"


@dataclass(frozen=True, slots=True, kw_only=True)
class Demo:
    """How it is to run. `events` 0: the default."""

    events: int = 0
    posters: Path | None = None
    wheel: Path | None = None
    folder: Path = Path("var/demo")
    rate: float = 200.0
    seconds: float = 25.0
    keep: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What was measured."""

    upload_ms: float
    went_back: bool


def run(demo: Demo) -> int:
    """The whole demo. Exit code 1 if an event was lost or doubled, or a list did not go back."""
    if demo.events < 0 or demo.rate <= 0 or demo.seconds <= 0:
        raise CommandError(
            "--events, --rate and --seconds are positive numbers", Exit.USAGE
        )
    hush()
    out, began_s = console(), time.perf_counter()
    heading(
        out, "Real people's ratings of real films, through a real Kafka, on this machine"
    )
    folder = demo_system.empty(demo.folder)
    data = read(fetch(cache=CACHE, wheel=demo.wheel))
    try:
        with children.ended_by_sigterm(), children.stopped_in_peace() as stack:
            stage = set_up(demo, data, folder, out, stack)
            figures = story(demo, data, stage, out)
            out.print("stopping the workers and Kafka", style="dim")
    except CommandError as error:
        raise CommandError(
            f"{error}\n(everything is kept in {folder})", error.code
        ) from error
    if not demo.keep:
        shutil.rmtree(folder)
    return verdict(stage, figures, out, took_s=time.perf_counter() - began_s)


def set_up(
    demo: Demo, data: MovieLens, folder: Path, out: Console, stack: ExitStack
) -> Stage:
    """Kafka, topics, and workers that are on their way up; all stopped by the stack."""
    heading(out, "1  The data")
    first, last = data.ratings[0].at_ms, data.ratings[-1].at_ms
    out.print(
        f"MovieLens-100k: {len(data.films):,} films and {len(data.ratings):,} ratings that "
        f"people gave between {moment_of(first)} and {moment_of(last)}"
    )
    heading(out, "2  Kafka, topics, workers")
    began_s = time.perf_counter()
    bootstrap = demo_system.start_kafka(folder, stack)
    out.print(f"Kafka is up on {bootstrap} after {time.perf_counter() - began_s:.1f} s")
    settings = demo_system.environment(folder, bootstrap, posters=demo.posters)
    config = demo_system.config_of(settings)
    weights = ", ".join(f"{name} {share:g}" for name, share in demo_system.WEIGHTS.items())
    create_topics(as_json=False, config=config)
    running = demo_system.start_workers(folder, settings, stack)
    out.print(
        f"workers are starting, one each: {', '.join(demo_system.roles())}; their logs are in "
        f"{demo.folder}. In an item's vector text weighs 1, {weights} (STREAMREC_ENCODERS__WEIGHTS)"
    )
    return open_stage(config, running, stack)


def story(demo: Demo, data: MovieLens, stage: Stage, out: Console) -> Figures:
    """Everything that is shown, in the order in which it happens."""
    load_films(stage, data, out, folder=demo.folder.resolve(), posters=demo.posters)
    wanted = min(demo.events or DEFAULT_EVENTS, len(data.ratings))
    ratings = data.ratings[:wanted]
    half = ratings[: wanted // 2]
    steady = ratings[len(half) :][: int(demo.rate * demo.seconds)]
    rest = ratings[len(half) + len(steady) :]

    heading(out, f"4  Ratings, in the order of time: {wanted:,} of {len(data.ratings):,}")
    bulk(stage, half, "as fast as lists come back", out)
    heading(out, "5  Half way: a new film is uploaded")
    upload_ms = upload_film(stage, Cast(data, half), out)
    heading(out, f"6  Latency, at a steady {demo.rate:g} events/s")
    measure(stage, steady, out, per_s=demo.rate)
    heading(out, "7  The rest of the ratings")
    bulk(stage, rest, "as fast as lists come back", out)
    cast = Cast(data, ratings)
    heading(out, "8  A rating is taken back")
    went_back = take_back(stage, cast, out)
    heading(out, "9  Three people's lists")
    show_people(stage, cast, out)
    stage.drain(limit_s=60.0)
    return Figures(upload_ms=upload_ms, went_back=went_back)


def bulk(stage: Stage, ratings: tuple[Rating, ...], how: str, out: Console) -> None:
    """Streams them with a bounded number that wait for their lists."""
    before, began_s = stage.ledger.lists, time.perf_counter()
    with Bar(out, how, total=len(ratings)) as bar:
        stage.stream(
            map(interaction_of, ratings),
            window=WINDOW,
            progress=lambda event: bar.advance(event.at_ms),
        )
        stage.until(lambda: not stage.ledger.open, limit_s=60.0, what="the last lists")
    took_s = time.perf_counter() - began_s
    out.print(
        f"{len(ratings):,} ratings, {stage.ledger.lists - before:,} lists in {took_s:.1f} s "
        f"({len(ratings) / took_s:,.0f} ratings/s; at most {WINDOW:,} wait for their list)"
    )


def measure(
    stage: Stage, ratings: tuple[Rating, ...], out: Console, *, per_s: float
) -> None:
    """Streams them at a steady rate and says what that took."""
    with Bar(out, f"{per_s:g} events/s", total=len(ratings)) as bar:
        stage.stream_steadily(
            [interaction_of(rating) for rating in ratings],
            per_s=per_s,
            progress=lambda event: bar.advance(event.at_ms),
        )
        stage.until(lambda: not stage.ledger.open, limit_s=60.0, what="the last lists")
    waits = stage.ledger.waited_s.get("steady", [])
    out.print(
        f"{len(ratings):,} events in {len(ratings) / per_s:.0f} s; from the hand-over to the "
        "producer until a read_committed consumer had the list: "
        + ", ".join(f"p{p} {1000 * percentile(waits, p):.0f} ms" for p in (50, 90, 99, 100))
    )


def verdict(stage: Stage, figures: Figures, out: Console, *, took_s: float) -> int:
    """The last line, and whether all was as it has to be."""
    ledger, waits = stage.ledger, stage.ledger.waited_s.get("steady", [])
    missing, doubled = ledger.lost(), ledger.doubled()
    if missing or doubled:
        named = ", ".join([*missing, *doubled][:5])
        out.print(f"{len(missing)} events have no list, {len(doubled)} have two: {named} …")
    if not figures.went_back:
        out.print("the list did not go back to what it was after the undo")
    out.print(
        f"all of it took {took_s:.0f} s; p50 and p99 are those of step 6", style="dim"
    )
    out.print(
        f"demo: events={len(ledger.sent_at_s)} lists={ledger.lists} "
        f"lost={len(missing) + len(doubled)} "
        f"p50_ms={1000 * percentile(waits, 50):.0f} p99_ms={1000 * percentile(waits, 99):.0f} "
        f"upload_to_recommendable_ms={figures.upload_ms:.0f}",
        soft_wrap=True,
    )
    fine = not missing and not doubled and figures.went_back
    return Exit.DONE if fine else Exit.NO
