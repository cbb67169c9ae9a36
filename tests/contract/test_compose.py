"""docker-compose.yml as docker-compose itself understands it; no engine is needed."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.programs import need

pytestmark = pytest.mark.compose
ROOT = Path(__file__).resolve().parents[2]
WORKERS = {"encode", "recommend", "trend", "train"}


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    compose = need("docker-compose", apt="docker-compose")
    done = subprocess.run(
        [compose, "-f", str(ROOT / "docker-compose.yml"), "config"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = yaml.safe_load(done.stdout)["services"]
    return found


def test_everything_that_a_deployment_needs_is_there(services: dict[str, Any]) -> None:
    rest = {"kafka", "qdrant", "topics", "prometheus", "grafana"}
    assert set(services) == WORKERS | rest
    assert services["kafka"]["image"] == "apache/kafka:4.3.1"
    for name in WORKERS | {"topics"}:
        assert services[name]["build"]["dockerfile"] == "deploy/Dockerfile"
    assert services["encode"]["command"] == ["rec", "worker", "encode"]
    assert services["recommend"]["command"] == ["rec", "worker", "recommend"]
    assert services["trend"]["command"] == ["rec", "worker", "trend"]
    assert services["train"]["command"] == ["rec", "worker", "train"]


def test_images_are_pinned(services: dict[str, Any]) -> None:
    for name, service in services.items():
        tag = service["image"].partition(":")[2]
        assert tag not in ("", "latest"), name


def test_ports_are_on_loopback_and_each_is_used_once(services: dict[str, Any]) -> None:
    ports = [port for service in services.values() for port in service.get("ports", ())]
    published = [str(port).removeprefix("127.0.0.1:").partition(":")[0] for port in ports]
    assert ports
    assert all(str(port).startswith("127.0.0.1:") for port in ports)
    assert len(set(published)) == len(published)


def test_each_service_says_whether_it_is_well(services: dict[str, Any]) -> None:
    for name in set(services) - WORKERS - {"topics"}:
        assert services[name]["healthcheck"]["test"][0] == "CMD", name
    # The workers' own is in the image, so that it holds wherever the image runs.
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text()
    assert "HEALTHCHECK" in dockerfile
    assert "/readyz" in dockerfile
    assert services["topics"]["healthcheck"] == {"test": ["NONE"]}


def test_workers_wait_for_the_topics_and_the_store(services: dict[str, Any]) -> None:
    assert services["topics"]["depends_on"]["kafka"]["condition"] == "service_healthy"
    for name in WORKERS:
        waits = services[name]["depends_on"]
        assert waits["topics"]["condition"] == "service_completed_successfully"
        assert waits["qdrant"]["condition"] == "service_healthy"


def test_every_setting_in_it_is_known_to_the_workers(services: dict[str, Any]) -> None:
    from workers.config import load_config

    names = set()
    for name in WORKERS | {"topics"}:
        settings = services[name]["environment"]
        assert load_config(settings).kafka.bootstrap == "kafka:19092"
        names.add(settings.get("STREAMREC_KAFKA__WORKER"))
    assert len(names) == len(WORKERS) + 1, (
        "two workers under one name would fence each other"
    )


def test_files_that_it_mounts_exist(services: dict[str, Any]) -> None:
    mounts = [volume for one in services.values() for volume in one.get("volumes", ())]
    files = [volume.split(":")[0] for volume in mounts if volume.startswith("/")]
    assert len(files) == 4
    for file in files:
        assert Path(file).exists(), file


def test_prometheus_scrapes_the_port_that_the_workers_serve(
    services: dict[str, Any],
) -> None:
    text = (ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text()
    ports = {
        name: part["port"]
        for job in yaml.safe_load(text)["scrape_configs"]
        for part in job.get("dns_sd_configs", ())
        for name in part["names"]
    }
    assert ports.keys() == WORKERS
    for name, port in ports.items():
        assert services[name]["environment"]["STREAMREC_HTTP__PORT"] == str(port)
        assert services[name]["environment"]["STREAMREC_HTTP__HOST"] == "0.0.0.0"


def test_grafana_is_given_its_source_and_its_dashboards() -> None:
    provisioning = ROOT / "deploy" / "grafana" / "provisioning"
    source = yaml.safe_load((provisioning / "datasources" / "prometheus.yml").read_text())
    (only,) = source["datasources"]
    assert (only["uid"], only["url"]) == ("prometheus", "http://prometheus:9090")
    shown = yaml.safe_load((provisioning / "dashboards" / "streamrec.yml").read_text())
    (provider,) = shown["providers"]
    compose = (ROOT / "docker-compose.yml").read_text()
    assert f"/grafana/dashboards:{provider['options']['path']}:ro" in compose
