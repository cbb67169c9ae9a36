"""Three Kafka nodes on loopback: what one node cannot show is what the others do when it is gone."""

from __future__ import annotations

import os
import shutil
import subprocess
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

import deploy
from tests.support.kafka import free_port
from tests.support.programs import missing
from tests.support.waiting import wait_for
from workers import laptop_kafka
from workers.laptop_kafka import KafkaUnavailableError

NODES, START_S = 3, 60.0
SETTINGS = """process.roles=broker,controller
node.id={node}
controller.quorum.voters={voters}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
log.dirs={folder}/data
auto.create.topics.enable=false
message.max.bytes=10485760
default.replication.factor=3
min.insync.replicas=2
offsets.topic.replication.factor=3
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=3
transaction.state.log.min.isr=2
transaction.state.log.num.partitions=4
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
transaction.abort.timed.out.transaction.cleanup.interval.ms=1000
log.cleaner.dedupe.buffer.size=16777216
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=3000
"""


@dataclass(frozen=True)
class Cluster:
    """Nodes by their ids, each a process."""

    bootstrap: str
    nodes: dict[int, subprocess.Popen[bytes]]

    def leader(self, topic: str, partition: int) -> int:
        """The node that leads this partition now."""
        admin = AdminClient({"bootstrap.servers": self.bootstrap})
        found = admin.list_topics(topic, timeout=30).topics[topic].partitions[partition]
        return int(found.leader)

    def kill(self, node: int) -> None:
        """As a machine that goes away does."""
        self.nodes[node].kill()
        self.nodes[node].wait(30)


@contextmanager
def running_cluster(folder: Path) -> Iterator[Cluster]:
    """Three nodes of small heaps, ended by their process ids; skips without Java or Maven."""
    try:
        class_path = f"{laptop_kafka.resolve_jars()}/*"
    except KafkaUnavailableError as error:
        missing(str(error))
    ports = {node: (free_port(), free_port()) for node in range(1, NODES + 1)}
    bootstrap = ",".join(f"127.0.0.1:{port}" for port, _ in ports.values())
    _format(folder, ports, class_path)
    nodes = {node: _run(folder / str(node), class_path) for node in ports}
    try:
        wait_for(lambda: _up(bootstrap), limit_s=START_S, what="three nodes", every_s=0.2)
        yield Cluster(bootstrap, nodes)
    finally:
        for process in nodes.values():
            process.kill()
            process.wait(30)


def _format(folder: Path, ports: dict[int, tuple[int, int]], class_path: str) -> None:
    voters = ",".join(f"{n}@127.0.0.1:{controller}" for n, (_, controller) in ports.items())
    cluster = urlsafe_b64encode(os.urandom(16)).decode().rstrip("=")
    under_way = []
    for node, (port, controller) in ports.items():
        own = folder / str(node)
        own.mkdir(parents=True)
        settings = SETTINGS.format(
            node=node, voters=voters, port=port, controller=controller, folder=own
        )
        (own / "server.properties").write_text(settings)
        tool = ["kafka.tools.StorageTool", "format", "--config", f"{own}/server.properties"]
        command = _java(own, class_path, *tool, f"--cluster-id={cluster}")
        under_way.append(subprocess.Popen(command, stdout=subprocess.DEVNULL))
    assert [process.wait(60) for process in under_way] == [0] * len(ports)


def _run(folder: Path, class_path: str) -> subprocess.Popen[bytes]:
    command = _java(folder, class_path, "kafka.Kafka", f"{folder}/server.properties")
    if shutil.which("setpriv"):
        command = ["setpriv", "--pdeathsig", "KILL", *command]
    with (folder / "start.log").open("wb") as log:
        return subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )


def _java(folder: Path, class_path: str, *words: str) -> list[str]:
    return [
        "java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
        f"-Dlog4j2.configurationFile={deploy.HERE}/kafka/log4j2.properties",
        f"-Dstreamrec.kafka.logs={folder}/logs", "-cp", class_path, *words,
    ]  # fmt: skip


def _up(bootstrap: str) -> bool:
    try:
        admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
        return len(admin.list_topics(timeout=2).brokers) == NODES
    except KafkaException:
        return False
