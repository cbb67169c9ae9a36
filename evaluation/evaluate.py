"""`rec evaluate`: the log, each recommender over it, the report.

log -> split -> [outcome of each recommender, kept as .npz] -> summary -> report
"""

import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from encoders.specs import SpecError
from evaluation.baselines.factors import PEERS
from evaluation.protocol import Outcome, Recommender, Split, run
from evaluation.recorded import Log, movielens_100k, read_jsonl
from evaluation.registry import RECOMMENDERS, Entry, Setting
from evaluation.report import write_report
from evaluation.summary import HEAD, Summary, summarise
from workers.terminal import CommandError, Exit, console

Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What to measure, on what, and where to. `history`, `stream`: counts, or fractions
    below 1; `stream` 0: all the rest."""

    only: tuple[str, ...] = ()
    events: Path | None = None
    items: Path | None = None
    out: Path = Path("var/evaluation")
    history: float = 0.8
    stream: float = 0.0
    limit: int = 0
    resume: bool = False
    focus: str = ""
    seed: int = 0
    wheel: Path | None = None
    peers: Path = PEERS


def evaluate(
    wanted: Evaluation, recommenders: Mapping[str, Entry] = RECOMMENDERS
) -> Summary:
    """Measure, write the report to `wanted.out`, say where it is. CommandError: usage, or
    nothing could be run."""
    names = wanted.only or tuple(recommenders)
    if unknown := [name for name in names if name not in recommenders]:
        raise CommandError(
            f"--only {unknown[0]}: known are {', '.join(recommenders)}", Exit.USAGE
        )
    log = _log(wanted)
    split = _split(wanted, log)
    setting = Setting(log=log.head(0), cache=wanted.out / "vectors", peers=wanted.peers)
    outcomes, not_run = [], {}
    for name in names:
        try:
            recommender = recommenders[name].make(setting)
            outcomes.append(_outcome(recommender, log, split, wanted=wanted))
        except (CommandError, SpecError) as error:
            # A peer or weights that are not installed cost their row, not the table.
            not_run[name] = str(error)
            console(stderr=True).print(f"{name}: not run: {error}")
    if not any("@" not in outcome.name for outcome in outcomes):
        raise CommandError(
            f"nothing was measured: {'; '.join(not_run.values()) or 'name one without @'}",
            Exit.MISSING,
        )
    summary = summarise(
        log, split, outcomes, not_run=not_run, seed=wanted.seed,
        told={name: (entry.family, entry.about) for name, entry in recommenders.items()},
    )  # fmt: skip
    files = write_report(summary, wanted.out, origin=origin(), focus=wanted.focus)
    _say(summary, files)
    return summary


def _log(wanted: Evaluation) -> Log:
    if wanted.items and not wanted.events:
        raise CommandError("--items goes with --events", Exit.USAGE)
    if wanted.events:
        return read_jsonl(wanted.events, wanted.items)
    from workers.demo import CACHE

    return movielens_100k(cache=CACHE, wheel=wanted.wheel)


def _split(wanted: Evaluation, log: Log) -> Split:
    try:
        return Split.of(
            log, history=wanted.history, stream=wanted.stream, limit=wanted.limit
        )
    except ValueError as error:
        raise CommandError(str(error), Exit.USAGE) from error


def _outcome(
    recommender: Recommender, log: Log, split: Split, *, wanted: Evaluation
) -> Outcome:
    # The file's name says what it is of: another log, split or setting is another file.
    kept = sha256(f"{recommender.settings}|{split}|{fingerprint(log)}".encode()).hexdigest()
    file = wanted.out / "outcomes" / f"{recommender.name}-{kept[:10]}.npz"
    if wanted.resume and file.exists():
        return Outcome.load(file)
    with _progress(recommender.name, split.stream) as progress:
        outcome = run(recommender, log, split, progress=progress)
    outcome.save(file)
    return outcome


def fingerprint(log: Log) -> str:
    """A hash of who touched what, when: two logs with the same one are the same."""
    digest = sha256()
    for column in (log.user_E, log.item_E, log.at_ms_E, log.value_E, log.wanted_E):
        digest.update(column.tobytes())
    digest.update("\0".join(item.item_id for item in log.items).encode())
    return digest.hexdigest()


@contextmanager
def _progress(name: str, total: int) -> Iterator[Progress]:
    from rich import progress

    shown = progress.Progress(
        progress.TextColumn("{task.description:<22}"), progress.BarColumn(),
        progress.MofNCompleteColumn(), progress.TimeElapsedColumn(),
        progress.TimeRemainingColumn(), console=console(stderr=True),
    )  # fmt: skip
    with shown:
        task = shown.add_task(name, total=total)
        # A redraw an event would cost more than the event.
        yield (
            lambda done: (
                shown.update(task, completed=done)
                if done % 100 == 0 or done == total
                else None
            )
        )


def _say(summary: Summary, files: list[Path]) -> None:
    out = console()
    for score in summary.scores:
        value, cold = score.accuracy["all"][HEAD], score.accuracy["cold items"][HEAD]
        out.print(
            f"{score.name:<22} hit@20 {value.mean:.3f} [{value.low:.3f}, {value.high:.3f}]  "
            f"cold {cold.mean:.3f}  coverage {score.coverage:.2f}  "
            f"{score.p50_ms:.2f} ms a list"
        )
    out.print(f"report: {', '.join(str(file) for file in files)}")


def origin() -> dict[str, str]:
    """What a reader needs to make it again."""

    def git(*words: str) -> str:
        done = subprocess.run(
            ["git", *words], cwd=Path(__file__).parent, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        return done.stdout.strip()

    changed = " + changes" if git("status", "--porcelain", "--untracked-files=no") else ""
    memory = round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)
    return {
        "command": " ".join(["rec", *sys.argv[1:]]),
        "machine": f"{os.cpu_count()} cores, {memory} GiB, {_cpu()}",
        "commit": (git("rev-parse", "--short", "HEAD") or "unknown") + changed,
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    named = [
        line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")
    ]
    return named[0] if named else platform.processor()
