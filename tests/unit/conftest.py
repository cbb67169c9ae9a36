"""What several files of unit tests ask for."""

import pytest

from tests.support.texts import GLOVE, USE, loaded


@pytest.fixture
def folder(tmp_path):
    """A folder that may be read, `allowed`, beside what may not."""
    (tmp_path / "allowed").mkdir()
    (tmp_path / "allowed" / "a.bin").write_bytes(b"content")
    (tmp_path / "allowed-not").mkdir()
    (tmp_path / "allowed-not" / "b.bin").write_bytes(b"secret")
    (tmp_path / "secret.bin").write_bytes(b"secret")
    return tmp_path


@pytest.fixture(scope="session")
def universal():
    return loaded(USE)


@pytest.fixture(scope="session")
def glove():
    return loaded(GLOVE)
