"""The demo's own Kafka, topics and workers, in a folder of its own; nothing outlives it."""

import json
import shutil
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from workers import children, laptop_kafka
from workers.config import Config, load_config
from workers.development import ROLES, learning_roles, worker_command
from workers.terminal import CommandError, Exit

MARK = ".streamrec-demo"
PREFIX = "demo"
WEIGHTS = {"image": 0.3, "audio": 0.3}
"""Of a slot in the fused vector, where text has 1: in this catalogue titles and genres say most,
and with equal weights a film with picture and sound is unlike all that have text alone."""


def empty(folder: Path) -> Path:
    """An empty folder, where there was nothing or an earlier demo; never anyone else's."""
    folder = folder.resolve()
    if folder.exists() and any(folder.iterdir()):
        if not (folder / MARK).exists():
            raise CommandError(
                f"{folder} is not empty and no folder of the demo: name another --folder",
                Exit.USAGE,
            )
        laptop_kafka.stop(folder / "kafka")  # of a demo that was killed
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARK).touch()
    return folder


def environment(folder: Path, bootstrap: str, *, posters: Path | None) -> dict[str, str]:
    """Settings of the demo's processes: nothing of the caller's comes in."""
    settings = {
        "STREAMREC_KAFKA__BOOTSTRAP": bootstrap,
        "STREAMREC_KAFKA__PREFIX": PREFIX,
        "STREAMREC_KAFKA__GROUP": PREFIX,
        "STREAMREC_KAFKA__WORKER": PREFIX,
        "STREAMREC_QDRANT__PATH": str(folder / "store"),
        "STREAMREC_ENCODERS__WEIGHTS": json.dumps(WEIGHTS),
        "STREAMREC_LOG__FORMAT": "console",
    }
    if posters is not None:
        allowed = [f"{posters.resolve().as_uri()}/"]
        settings["STREAMREC_MEDIA__ALLOW"] = json.dumps(allowed)
    return settings


def start_kafka(folder: Path, stack: ExitStack) -> str:
    """A node over the demo's folder, on any free port; where it is."""
    kafka = folder / "kafka"
    stack.callback(laptop_kafka.stop, kafka)
    return laptop_kafka.start(folder=kafka, attached=True).bootstrap


def roles() -> list[str]:
    """What a demo runs: no train worker, which would have both cores for minutes."""
    return [*ROLES, *(role for role in learning_roles() if role == "trend")]


def start_workers(
    folder: Path, settings: dict[str, str], stack: ExitStack
) -> list[children.Child]:
    """One worker of each role, writing into logs. They run in the folder, so that what they
    announce is there and not where the caller's own workers are looked for."""
    running: list[children.Child] = []
    stack.callback(children.stop, running)
    for role in roles():
        children.start(
            f"{role} worker",
            worker_command(role),
            among=running,
            env=children.clean_env(settings),
            cwd=folder,
            log=folder / f"{role}.log",
        )
    return running


def config_of(settings: dict[str, str]) -> Config:
    """What the demo itself goes by: the same settings as its workers."""
    return load_config(settings)


def await_ready(
    folder: Path,
    running: list[children.Child],
    *,
    limit_s: float,
    wait: Callable[[float], None] = time.sleep,
) -> None:
    """Until all workers say so themselves, by /readyz."""
    deadline = time.monotonic() + limit_s
    while missing := [role for role in roles() if not _ready(folder, role)]:
        children.check(running)
        if time.monotonic() > deadline:
            logs = ", ".join(f"{folder / role}.log" for role in missing)
            raise CommandError(f"not ready after {limit_s:g} s: see {logs}")
        wait(0.1)


def _ready(folder: Path, role: str) -> bool:
    from workers import http

    for worker in http.announced(folder / http.FOLDER):
        if worker.role == role and worker.alive():
            try:
                with urlopen(f"{worker.url}/readyz", timeout=2.0) as answer:
                    return bool(answer.status == 200)
            except (URLError, TimeoutError, ConnectionError):
                return False
    return False
