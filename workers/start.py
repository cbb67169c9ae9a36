"""One worker in this process: doors opened, signals heard, the path run, doors closed.

Exit codes: 0 stopped as asked; 1 stopped by something that must be mended first (the log
says what); 75 something outside was away for too long: start me again.
"""

import gc
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import version

import structlog

from workers import http, logs, metrics
from workers.config import Config, topic
from workers.health import Health, Questions
from workers.metric_table import Role
from workers.ports import FatalError, Restarted, TransientError

log = structlog.get_logger(__name__)
STOPPED, BROKEN, AGAIN = 0, 1, 75


@dataclass(frozen=True, slots=True)
class Running:
    """What a path needs of the process that it runs in."""

    health: Health
    questions: Questions
    stack: ExitStack
    should_stop: Callable[[], bool]


def recommend(config: Config) -> int:
    """Run a recommend worker until SIGTERM or SIGINT; the exit code."""
    from workers.recommend import run
    from workers.recommend_doors import assemble

    def work(here: Running) -> None:
        worker = assemble(
            config, health=here.health, questions=here.questions, stack=here.stack
        )
        run(worker, should_stop=here.should_stop)

    return _guarded(config, "recommend", Health(), work)


def encode(config: Config) -> int:
    """Run an encode worker until SIGTERM or SIGINT; the exit code."""
    from workers.encode import run
    from workers.encode_doors import CONDITIONS, assemble

    def work(here: Running) -> None:
        worker = assemble(config, health=here.health, stack=here.stack)
        run(worker, should_stop=here.should_stop)

    return _guarded(config, "encode", Health(conditions=CONDITIONS), work)


def trend(config: Config) -> int:
    """Run a trend worker until SIGTERM or SIGINT; the exit code."""
    from workers.kafka import partition_count
    from workers.trend import CONDITIONS, start

    def work(here: Running) -> None:
        partitions = partition_count(config.kafka, topic(config.kafka, "events"))
        partition_count(config.kafka, topic(config.kafka, "trends"))
        start(config, here.health, partitions=partitions, should_stop=here.should_stop)

    return _guarded(config, "trend", Health(conditions=CONDITIONS), work)


def train(config: Config) -> int:
    """Run a train worker until SIGTERM or SIGINT; the exit code."""
    from workers.train import CONDITIONS, run
    from workers.train_doors import assemble

    def work(here: Running) -> None:
        worker = assemble(config, health=here.health, stack=here.stack)
        run(worker, should_stop=here.should_stop)

    return _guarded(config, "train", Health(conditions=CONDITIONS), work)


def _guarded(
    config: Config, role: Role, health: Health, work: Callable[[Running], None]
) -> int:
    """Signals and fates: the only place where everything is caught."""
    logs.configure(config.log, role=role, worker=config.kafka.worker)
    metrics.set_worker(role)
    metrics.info(version=version("streamrec"), torch=_torch(config, role))
    gc.set_threshold(50_000, 20, 50)  # batches make many small values and few cycles
    try:
        with _stop_signals() as stop, ExitStack() as stack:
            questions = Questions()
            server = http.serve(
                config.http,
                health,
                questions if role == "recommend" else None,  # users are asked about there
                role=role,
                worker=config.kafka.worker,
            )
            stack.callback(server.close)
            log.info("listening", url=server.url)
            work(Running(health, questions, stack, stop.is_set))
    except FatalError as error:
        log.error("stopped", why=str(error))
        return BROKEN
    except (TransientError, Restarted) as error:
        log.error("gave_up_waiting", why=str(error), broker=config.kafka.bootstrap)
        return AGAIN
    except Exception:
        log.exception("broken")
        return BROKEN
    log.info("stopped", why="asked to")
    return STOPPED


def _torch(config: Config, role: Role) -> str:
    """Its version; it is set up where the role computes with it. Trends are counted without:
    that is half a GiB less."""
    if role == "trend":
        return version("torch")
    import torch

    # a batch's threads wait for the slowest: on cores shared with a broker fewer are faster
    torch.set_num_threads(config.encoders.threads or max(1, torch.get_num_threads() // 2))
    return str(torch.__version__)


@contextmanager
def _stop_signals() -> Iterator[threading.Event]:
    stop = threading.Event()
    before = {
        number: signal.signal(number, lambda *_: stop.set())
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
