"""What every result file says: the question, the machine, the commit, the command, the rows."""

import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which this share lies (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def write(
    name: str, question: str, rows: Sequence[Mapping[str, object]], *notes: str
) -> None:
    """Print the table and keep it as results/<date>-<name>.md."""
    columns = list(rows[0])
    lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    lines += ["| " + " | ".join(str(row[c]) for c in columns) + " |" for row in rows]
    now = datetime.now(UTC)
    text = "\n".join(
        [
            f"# {question}", "",
            f"- date: {now:%Y-%m-%d %H:%M} UTC",
            f"- machine: {os.cpu_count()} cores, {_memory_gib()} GiB, {_cpu()}",
            f"- commit: {_commit()}",
            f"- command: `python {' '.join([_script(), *sys.argv[1:]])}`",
            *(f"- {note}" for note in notes), "", *lines, "",
        ]
    )  # fmt: skip
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{now:%Y-%m-%d}-{name}.md").write_text(text)
    print(text)


def _script() -> str:
    return str(Path(sys.argv[0]).resolve().relative_to(RESULTS.parent.parent))


def _commit() -> str:
    def git(*words: str) -> str:
        return subprocess.run(
            ["git", *words], cwd=RESULTS.parent, capture_output=True, text=True, check=False
        ).stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no")
    return (git("rev-parse", "--short", "HEAD") or "unknown") + (
        " + changes" if changed else ""
    )


def _memory_gib() -> int:
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()
