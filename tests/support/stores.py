"""A small Qdrant of our own, as its own process: shared, slowed, failing, killed, restored."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.support.kafka import free_port
from tests.support.waiting import wait_for

ROOT = Path(__file__).parents[2]


@dataclass
class EdgeServer:
    """tests/support/edge_server.py in a process that we may do anything to."""

    folder: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Answers on return."""
        program = [sys.executable, "-m", "tests.support.edge_server"]
        options = ["--port", str(self.port), "--path", str(self.folder)]
        self.process = subprocess.Popen([*program, *options], cwd=ROOT)
        wait_for(self._answers, limit_s=30.0, what=f"the edge server on port {self.port}")

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, "the edge server ended"
        try:
            return httpx.get(f"{self.url}/healthz", timeout=5.0).is_success
        except httpx.TransportError:
            return False

    def kill(self) -> None:
        """SIGKILL, in the middle of whatever it does."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def restart(self) -> None:
        """Again on the same folder and port."""
        self.kill()
        self.start()

    def _end(self, how: signal.Signals) -> None:
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(30)
            self.process = None

    def faults(self, **faults: Any) -> None:
        """status=503, delay_s=2, status=503 with after=True; nothing: all is well again."""
        self._control("_faults", faults)

    def snapshot(self, folder: Path) -> None:
        """A copy of all collections into a new folder."""
        self._control("_snapshot", {"dir": str(folder)})

    def restore(self, folder: Path) -> None:
        """Such a copy in the place of all collections."""
        self._control("_restore", {"dir": str(folder)})

    def _control(self, name: str, asked: dict[str, Any]) -> None:
        httpx.post(f"{self.url}/{name}", json=asked, timeout=30.0).raise_for_status()


@contextmanager
def running_edge_server(folder: Path) -> Iterator[EdgeServer]:
    """A server over this folder, ended by its process id."""
    server = EdgeServer(folder / "edge-server")
    server.start()
    try:
        yield server
    finally:
        server.kill()
