"""Trends of small worlds, saved as those of large ones are."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ranking import trend_saved


@pytest.fixture(scope="module", autouse=True)
def small_parts() -> Iterator[None]:
    """Items of a few rows are saved in parts as well. In force where it is imported."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trend_saved, "SMALL", 0)
        patch.setattr(trend_saved, "HEAD", 0)
        yield
