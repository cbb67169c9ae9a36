"""What benchmarks at a steady rate of events share: their options, stamps and memory."""

import argparse
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any


def options_of(description: str | None, *, seconds: float) -> argparse.ArgumentParser:
    """Rates, how long each, and how many items and users (MovieLens-100k's, if not told)."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument(
        "--rates", default="200,1000", help="events a second, comma-separated"
    )
    made.add_argument("--seconds", type=float, default=seconds)
    made.add_argument("--items", type=int, default=1682)
    made.add_argument("--users", type=int, default=943)
    return made


@dataclass
class Appended:
    """When the broker appended each event, in seconds since the epoch."""

    at_s: dict[str, float] = field(default_factory=dict)

    def of(self, name: str) -> Any:
        """What a producer calls once it knows, for the event of this name."""
        return partial(self._delivered, name)

    def _delivered(self, name: str, error: object, message: Any) -> None:
        assert error is None, error
        self.at_s[name] = message.timestamp()[1] / 1000


def rss_mib(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) // 1024
    return 0
