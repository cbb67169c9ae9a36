"""Encoders that are loaded once for the flows that use them, and a log with a worker on it."""

import pytest

from encoders.config import EncoderConfig
from encoders.load import load_encoders
from tests.support.workshop import Workshop


@pytest.fixture(scope="session")
def encoders():
    return load_encoders(EncoderConfig(device="cpu", video="none", sensor="none"))


@pytest.fixture
def shop(encoders):
    return Workshop(encoders)
