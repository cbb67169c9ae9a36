"""A real Prometheus for a test: scrapes what it is told to, answers queries, and ends."""

import math
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.support.kafka import free_port
from tests.support.programs import need
from tests.support.waiting import wait_for

Sample = tuple[dict[str, str], float]


@dataclass(frozen=True)
class Prometheus:
    """One that runs and answers on loopback."""

    client: httpx.Client

    def query(self, expression: str) -> list[Sample]:
        """What an expression gives now; AssertionError with the reason for a bad one."""
        answer = self.client.get("/api/v1/query", params={"query": expression}).json()
        assert answer["status"] == "success", f"{expression}: {answer.get('error')}"
        data = answer["data"]
        if data["resultType"] == "scalar":
            return [({}, float(data["result"][1]))]
        return [(one["metric"], float(one["value"][1])) for one in data["result"]]

    def numbers(self, expression: str) -> list[Sample]:
        """As `query`, without what is no number (a quantile of nothing)."""
        return [one for one in self.query(expression) if not math.isnan(one[1])]

    def alerts(self) -> list[dict[str, Any]]:
        """Alerts that fire or are about to."""
        found: list[dict[str, Any]] = self.client.get("/api/v1/alerts").json()["data"][
            "alerts"
        ]
        return found


@contextmanager
def running_prometheus(
    folder: Path, *, targets: Mapping[str, str], rules: Path, every: str = "500ms"
) -> Iterator[Prometheus]:
    """Scrapes each target (`host:port` by job name) and evaluates the rules, both `every` so
    often; skips where the program is missing."""
    program = need("prometheus", apt="prometheus")
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "global": {"scrape_interval": every, "evaluation_interval": every},
        "rule_files": [str(rules)],
        "scrape_configs": [
            {"job_name": job, "static_configs": [{"targets": [target]}]}
            for job, target in targets.items()
        ],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    port = free_port()
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(
            [
                program,
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=log,
        )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            wait_for(lambda: _ready(client, process), limit_s=30, what="Prometheus")
            yield Prometheus(client)
    finally:
        process.terminate()
        process.wait(30)


def _ready(client: httpx.Client, process: "subprocess.Popen[bytes]") -> bool:
    assert process.poll() is None, "Prometheus ended: see prometheus.log"
    try:
        return client.get("/-/ready").status_code == 200
    except httpx.TransportError:
        return False
