"""Programs of the system that a test needs: skipped with one line where missing, never in CI."""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest


def missing(reason: str) -> NoReturn:
    """Skips the test and says why; under STREAMREC_CI=1 it fails instead."""
    if os.environ.get("STREAMREC_CI") == "1":
        pytest.fail(f"CI has to have this: {reason}", pytrace=False)
    pytest.skip(reason)


def need(program: str, *, apt: str) -> str:
    """The path of a program, or a skip that ends with the command that installs it."""
    path = shutil.which(program)
    if path is None:
        missing(f"{program} is not installed: apt-get install -y {apt}")
    return path
