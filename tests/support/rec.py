"""`rec` as people and programs run it, and the same command line within the test."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
Done = subprocess.CompletedProcess[str]


def run_rec(
    *words: str,
    env: Mapping[str, str],
    cwd: Path = ROOT,
    stdin: str = "",
    limit_s: float = 90.0,
) -> Done:
    """A process of its own, with these settings and no others."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("STREAMREC_")}
    plain = {"PYTHONPATH": str(ROOT), "NO_COLOR": "1", "COLUMNS": "100"}
    return subprocess.run(
        [sys.executable, "-m", "workers.cli", *words],
        input=stdin,
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**kept, **plain, **env},
        timeout=limit_s,
        check=False,
    )


@dataclass(frozen=True)
class RecHere:
    """The command line without the seconds that a new process needs to load torch."""

    monkeypatch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]

    def __call__(self, *words: str) -> Done:
        from workers.cli import main

        self.monkeypatch.setattr(sys, "argv", ["rec", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        said = self.capsys.readouterr()
        return Done(list(words), int(ended.value.code or 0), said.out, said.err)
