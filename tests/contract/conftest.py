"""Every store and log that there is, under the names that the contract suites run them by."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest
from qdrant_client import QdrantClient

from tests.support.log_doors import KINDS, Doors, KafkaDoors, MemoryDoors
from tests.support.stores import EdgeServer, running_edge_server
from workers.ports import UserStore

SERVER = os.environ.get("STREAMREC_TEST_QDRANT_URL", "")
"""A real Qdrant, such as http://127.0.0.1:6333; none installs from the registries."""
NETWORK = ["local", "rest", *(["server"] if SERVER else [])]
"""What qdrant-client talks to: its own engine, our small server, a real one."""


@dataclass(frozen=True)
class Writers:
    """Two who write into one store. Where only one may open it, both are the same."""

    first: UserStore
    second: UserStore


@pytest.fixture(scope="session")
def edge_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EdgeServer]:
    """One well server for all; whoever breaks one starts its own."""
    with running_edge_server(tmp_path_factory.mktemp("qdrant")) as server:
        yield server


@pytest.fixture
def collection() -> str:
    """A collection name that no other test has."""
    return f"test_{uuid4().hex[:10]}"


@pytest.fixture
def url_of(request: pytest.FixtureRequest) -> Callable[[str], str]:
    """The URL behind `rest` or `server`; the small server is started by who asks."""

    def url(kind: str) -> str:
        if kind == "server":
            return SERVER
        server: EdgeServer = request.getfixturevalue("edge_server")
        return server.url

    return url


@pytest.fixture
def dropped(collection: str) -> Iterator[ExitStack]:
    """Closes what was opened, and leaves no collection behind on a real server."""
    with ExitStack() as stack:
        yield stack
    if SERVER:
        client = QdrantClient(url=SERVER, check_compatibility=False)
        for suffix in ("", "_progress"):
            client.delete_collection(collection + suffix)
        client.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture(params=KINDS)
def doors(request: pytest.FixtureRequest, topic_prefix: str) -> Iterator[Doors]:
    if request.param == "memory":
        opened: Doors = MemoryDoors()
    else:
        bootstrap = request.getfixturevalue("broker").bootstrap
        assignor = "cooperative-sticky" if request.param == "kafka" else "range"
        opened = KafkaDoors(bootstrap, topic_prefix, assignor)
    yield opened
    opened.close()
