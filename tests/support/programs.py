"""Programs of the system that a test needs: skipped with one line where missing, never in CI."""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest

# Taken out of the environment at once: the programs that tests start refuse variables of ours
# that are no setting of theirs.
IN_CI = os.environ.pop("STREAMREC_CI", "") == "1"


def missing(reason: str) -> NoReturn:
    """Skips the test and says why; under STREAMREC_CI=1 it fails instead."""
    if IN_CI:
        pytest.fail(f"CI has to have this: {reason}", pytrace=False)
    pytest.skip(reason)


def need(program: str, *, apt: str) -> str:
    """The path of a program, or a skip that ends with the command that installs it."""
    path = shutil.which(program)
    if path is None:
        missing(f"{program} is not installed: apt-get install -y {apt}")
    return path
