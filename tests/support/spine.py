"""Real workers as child processes on a real Kafka: start, kill, stop, produce, read lists."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError

import msgspec
import numpy as np
from confluent_kafka import Consumer, Producer, TopicPartition

from encoders.config import EncoderConfig
from encoders.fusion import fusion_version
from schemas import Event, Item, ItemVectors, Slate, Slot, encode
from tests.support.rec import ROOT, run_rec
from tests.support.waiting import wait_for
from workers.config import Config, load_config, topic
from workers.topics import create_topics

WIDTH = 32
SPACE = fusion_version(EncoderConfig(width=WIDTH))
START_S = 90.0


@dataclass
class Process:
    """A worker that runs, or ran."""

    role: str
    name: str
    folder: Path
    child: subprocess.Popen[bytes]

    @property
    def output(self) -> str:
        return (self.folder / f"{self.role}-{self.name}.log").read_text()[-4_000:]

    def get(self, path: str) -> tuple[int, bytes]:
        """An answer of its HTTP port; status 0 while there is none."""
        try:
            said = json.loads(
                (self.folder / f"var/http/{self.role}-{self.name}.json").read_text()
            )
            if said["pid"] != self.child.pid:
                return 0, b""
            with urllib.request.urlopen(said["url"] + path, timeout=10) as answer:
                return answer.status, answer.read()
        except HTTPError as error:
            return error.code, error.read()
        except (OSError, URLError, ValueError):
            return 0, b""

    def wait_ready(self) -> None:
        def ready() -> bool:
            assert self.child.poll() is None, f"{self.name} ended:\n{self.output}"
            return self.get("/readyz")[0] == 200

        wait_for(ready, limit_s=START_S, what=f"{self.role} {self.name} ready", every_s=0.1)

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.child.pid, number)

    def kill(self) -> None:
        """As a machine that goes away does."""
        self.child.kill()
        self.child.wait(30)

    def stop(self) -> int:
        """As an orchestrator does; the exit code."""
        if self.child.poll() is None:
            self.child.terminate()
        try:
            return self.child.wait(60)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.name} did not stop:\n{self.output}") from None


@dataclass
class Spine:
    """Topics of their own on a broker, and what runs on them."""

    bootstrap: str
    prefix: str
    folder: Path
    more: Mapping[str, str] = field(default_factory=dict)
    children: list[Process] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.config = self.settings("worker-0")
        create_topics(self.config.kafka, keep_events=True)
        self.producer = Producer(
            {
                "bootstrap.servers": self.bootstrap,
                "partitioner": "murmur2_random",
                "linger.ms": 1,
            }
        )

    def env(self, name: str, **more: str) -> dict[str, str]:
        return {
            "STREAMREC_KAFKA__BOOTSTRAP": self.bootstrap,
            "STREAMREC_KAFKA__PREFIX": self.prefix,
            "STREAMREC_KAFKA__GROUP": self.prefix,
            "STREAMREC_KAFKA__WORKER": name,
            "STREAMREC_KAFKA__PARTITIONS": "3",
            "STREAMREC_KAFKA__SESSION_TIMEOUT_MS": "6000",
            "STREAMREC_QDRANT__PATH": str(self.folder / "store"),
            "STREAMREC_ENCODERS__WIDTH": str(WIDTH),
            "STREAMREC_ENCODERS__THREADS": "1",
            "STREAMREC_LOG__FORMAT": "console",
        } | {**self.more, **more}

    def settings(self, name: str, **more: str) -> Config:
        return load_config(self.env(name, **more))

    def topic(self, role: str) -> str:
        return topic(self.config.kafka, role)

    def start(self, role: str, name: str = "worker-0", **more: str) -> Process:
        """A worker as a child; use `wait_ready` before relying on it."""
        own = {k: v for k, v in os.environ.items() if not k.startswith("STREAMREC_")}
        with (self.folder / f"{role}-{name}.log").open("ab") as log:
            child = subprocess.Popen(
                [sys.executable, "-m", "workers.cli", "worker", role],
                cwd=self.folder,
                env=own | {"PYTHONPATH": str(ROOT)} | self.env(name, **more),
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.children.append(Process(role, name, self.folder, child))
        return self.children[-1]

    def rec(self, *words: str) -> str:
        """What a command of ours says; AssertionError where it fails."""
        done = run_rec(*words, cwd=self.folder, env=self.env("cli"), limit_s=120.0)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def send(self, *events: Event, wire: str = "msgpack") -> None:
        for event in events:
            self.put("events", event.user_id, encode(event, wire))  # type: ignore[arg-type]

    def put(self, role: str, key: str, value: bytes | None, **more: Any) -> None:
        self.producer.produce(self.topic(role), key=key.encode(), value=value, **more)
        self.producer.poll(0)

    def flush(self) -> None:
        assert self.producer.flush(30) == 0

    def catalogue(self, names: Iterable[str], **more: Any) -> None:
        """Items with ready vectors, as an encode worker of this width would write them."""
        width = self.config.encoders.width
        space = fusion_version(self.config.encoders)
        for name in names:
            data = vector_of(name, width).tobytes()
            slot = Slot(vector=data, encoder="t", source=(self.topic("items"), 0, 0))
            record = ItemVectors(
                item_id=name, slots={"text": slot}, fused=data, encoder=space
            )
            self.put(
                "items", name, encode(Item(item_id=name, title=f"Title {name}", **more))
            )
            self.put("item-vectors", name, encode(record))
        self.flush()


@contextmanager
def spine(bootstrap: str, prefix: str, folder: Path, **more: str) -> Iterator[Spine]:
    """A spine whose children are gone at the end."""
    with ExitStack() as stack:
        made = Spine(bootstrap, prefix, folder, more)
        stack.callback(lambda: [child.kill() for child in made.children])
        yield made


class Reader:
    """An outside subscriber: read_committed, all partitions from the start."""

    def __init__(self, bootstrap: str, name: str) -> None:
        self.consumer = Consumer(
            {
                "bootstrap.servers": bootstrap, "group.id": f"reader-{name}",
                "isolation.level": "read_committed", "enable.auto.commit": False,
            }
        )  # fmt: skip
        parts = self.consumer.list_topics(name, timeout=30).topics[name].partitions
        self.consumer.assign([TopicPartition(name, number, 0) for number in parts])
        self.messages: list[Any] = []
        self.named: Counter[str] = Counter()
        self.slates: list[Slate] = []
        self.seen_at_s: dict[str, float] = {}

    def poll(self, timeout_s: float = 0.1) -> None:
        for message in self.consumer.consume(1_000, timeout_s):
            assert message.error() is None, message.error()
            self.messages.append(message)
            if message.value() is not None:
                slate = slate_of(message)
                self.slates.append(slate)
                self.named.update(slate.caused_by)
                for event in slate.caused_by:
                    self.seen_at_s.setdefault(event, time.time())

    def until(self, events: Iterable[str], *, limit_s: float = 60.0) -> None:
        """Read until each of these is named."""
        wanted, end = set(events), time.monotonic() + limit_s
        while wanted - self.named.keys():
            left = wanted - self.named.keys()
            assert time.monotonic() < end, (
                f"{len(left)} never answered, e.g. {sorted(left)[:5]}"
            )
            self.poll()

    def settle(self, quiet_polls: int = 10) -> None:
        """Read on until nothing more comes for a while."""
        quiet = 0
        while quiet < quiet_polls:
            before = len(self.messages)
            self.poll()
            quiet = 0 if len(self.messages) > before else quiet + 1

    def close(self) -> None:
        self.consumer.close()


@contextmanager
def reading(spine_: Spine, role: str = "recommendations") -> Iterator[Reader]:
    reader = Reader(spine_.bootstrap, spine_.topic(role))
    try:
        yield reader
    finally:
        reader.close()


def slate_of(message: Any) -> Slate:
    headers = dict(message.headers() or [])
    if headers["content-type"] == b"application/json":
        return msgspec.json.decode(message.value(), type=Slate)
    return msgspec.msgpack.decode(message.value(), type=Slate)


def ids(slate: Slate) -> list[str]:
    return [item.item_id for item in slate.items]


def vector_of(name: str, width: int = WIDTH) -> np.ndarray[Any, np.dtype[np.float32]]:
    """A unit vector that belongs to a name."""
    seed = int.from_bytes(name.encode()[:8].ljust(8, b"."), "little")
    vector = np.random.default_rng(seed).standard_normal(width)
    return (vector / np.linalg.norm(vector)).astype("<f4")


def newest(slates: Sequence[Slate], user_id: str) -> Slate:
    return [s for s in slates if s.user_id == user_id][-1]
