"""`rec dev ...`: Kafka on this machine, a whole small system in the foreground, the docs."""

import os
import sys
from importlib.util import find_spec
from pathlib import Path

from workers import children, laptop_kafka
from workers.bootstrap import settings
from workers.laptop_kafka import Broker
from workers.terminal import Exit, console, hush, say_json

ROLES = ("encode", "recommend")
"""What a list needs at least."""
LEARNING = ("trend", "train")
"""What makes it better."""
PATIENCE_S = 0.5


def kafka_up(folder: Path | None, *, port: int | None = None, as_json: bool = False) -> int:
    """Starts the laptop Kafka, on port 9092 if that is free; finds it if it runs."""
    folder = folder or laptop_kafka.default_folder()
    before = laptop_kafka.status(folder)
    broker = before or laptop_kafka.start(folder=folder, port=port or _usual_port(folder))
    _say(broker, "runs already" if before else "is up", as_json=as_json)
    return Exit.DONE


def kafka_down(folder: Path | None, *, as_json: bool = False) -> int:
    """Stops it. Fine if there is none."""
    stopped = laptop_kafka.stop(folder or laptop_kafka.default_folder())
    if as_json:
        say_json({"stopped": stopped})
    else:
        console().print(
            "Kafka is stopped; its data stays" if stopped else "no Kafka runs here"
        )
    return Exit.DONE


def kafka_status(folder: Path | None, *, as_json: bool = False) -> int:
    """Exit code 0 if it runs, 1 if not."""
    broker = laptop_kafka.status(folder or laptop_kafka.default_folder())
    if broker is not None:
        _say(broker, "runs", as_json=as_json)
        return Exit.DONE
    if as_json:
        say_json({"running": False})
    else:
        console().print("no Kafka runs here: `rec dev kafka up` starts one")
    return Exit.NO


def up() -> int:
    """Kafka, topics and one worker of each role, until Ctrl-C or until one of them ends.
    A Kafka that ran before is left running."""
    from workers.topics_report import create_topics

    hush()
    folder = laptop_kafka.default_folder()
    ours = laptop_kafka.status(folder) is None
    config = settings(start=True)
    ours = ours and laptop_kafka.status(folder) is not None
    env = {**os.environ, "STREAMREC_KAFKA__BOOTSTRAP": config.kafka.bootstrap}
    running: list[children.Child] = []
    try:
        with children.ended_by_sigterm():
            create_topics(as_json=False, config=config)
            roles = [*ROLES, *learning_roles()]
            for role in roles:
                command = worker_command(role)
                children.start(
                    f"{role} worker", command, among=running, env=env, cwd=Path.cwd()
                )
            told = ", ".join(roles)
            console().print(
                f"workers run on {config.kafka.bootstrap} ({told}); Ctrl-C stops all",
                markup=False,
            )
            while True:
                children.wait_for_end(running, timeout_s=PATIENCE_S)
                children.check(running)
    except KeyboardInterrupt:
        return Exit.DONE
    finally:
        children.stop(running)
        if ours:
            laptop_kafka.stop(folder)


def learning_roles() -> list[str]:
    """The roles that learn, as far as what they need is installed (extra `trend`)."""
    return [role for role in LEARNING if role != "trend" or find_spec("faust")]


def worker_command(role: str) -> list[str]:
    """What starts a worker in a process of its own."""
    return [sys.executable, "-m", "workers.cli", "worker", role]


def docs() -> int:
    """Writes the pages that are generated from the code."""
    from workers.documents import write

    written = write()
    for path in written or ():
        console().print(f"wrote {path}", markup=False)
    return Exit.DONE


def _usual_port(folder: Path) -> int | None:
    """9092 where it is free and the folder had no other before: clients look there."""
    fresh = not (folder / "server.properties").exists()
    return laptop_kafka.PORT if fresh and laptop_kafka.is_free(laptop_kafka.PORT) else None


def _say(broker: Broker, how: str, *, as_json: bool) -> None:
    if as_json:
        say_json(
            {
                "running": True,
                "bootstrap": broker.bootstrap,
                "pid": broker.pid,
                "folder": str(broker.folder),
            }
        )
    else:
        said = (
            f"Kafka {how} on {broker.bootstrap} (pid {broker.pid}, data in {broker.folder})"
        )
        console().print(said, markup=False, soft_wrap=True)
