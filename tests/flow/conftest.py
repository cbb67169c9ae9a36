"""What several flows begin with: encoders, loaded once, and logs with workers on them."""

from pathlib import Path

import pytest

from encoders.config import EncoderConfig
from encoders.load import load_encoders
from ranking.trend_config import TrendConfig
from tests.support.academy import Academy
from tests.support.house import House
from tests.support.town import Town
from tests.support.workshop import Workshop


@pytest.fixture(scope="session")
def encoders():
    return load_encoders(EncoderConfig(device="cpu", video="none", sensor="none"))


@pytest.fixture
def shop(encoders):
    return Workshop(encoders)


@pytest.fixture
def house() -> House:
    """Thirty items, half of them even."""
    made = House()
    for n in range(30):
        made.item(f"i{n}", categories=["even" if n % 2 == 0 else "odd"])
    return made


@pytest.fixture
def academy(tmp_path: Path) -> Academy:
    """A train worker's topics and folder, with items."""
    made = Academy(tmp_path)
    made.catalogue()
    return made


@pytest.fixture
def town() -> Town:
    """Where lists are blended and nothing is known of trends yet."""
    return Town(House(trends=TrendConfig()))
