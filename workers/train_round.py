"""One round of learning, in a thread of its own: the loop goes on reading, and can end it.

A learner learns from all but the newest slice; then it judges the candidate and the model in
force on that slice, event by event.
"""

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import structlog
from torch import Tensor

from encoders.law import Law
from ranking.learn_log import Judged, LearnLog, gain
from ranking.trend_config import TrendConfig
from workers import metrics
from workers.model_files import Model, path_of

log = structlog.get_logger(__name__)


class Stopped(Exception):
    """The worker stops: what this round learned is forgotten."""


class Learner(Protocol):
    """What makes models and judges them; a module will do."""

    def learn(
        self,
        log: LearnLog,
        *,
        previous: Path | None,
        seed: int,
        progress: Callable[[str, float], None],
        trends: TrendConfig,
        law: Law,
    ) -> dict[str, Tensor]:
        """Tensors of a model; equal for equal log, previous model, settings and seed.
        `previous`: the file of the model in force, to go on from. `progress` (what, share
        done) is called now and then, and may raise to end the learning. `trends`, `law`:
        what lists are made with."""
        ...

    def judge(
        self,
        tensors: Mapping[str, Tensor] | None,
        log: LearnLog,
        *,
        newest: int,
        trends: TrendConfig,
        law: Law,
    ) -> Judged:
        """How this model (None: no model) does on the newest events of the log, each asked
        before it is known."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What a round came to; `current` names the version that was judged beside it."""

    tensors: Mapping[str, Tensor]
    encoder: str
    candidate: Judged
    in_force: Judged
    current: str

    def worse(self, *, tolerance: float) -> bool:
        """Whether the candidate hits less than the model in force, event by event, by more
        than the tolerance."""
        return gain(self.candidate, self.in_force) < -tolerance


@dataclass(slots=True, eq=False)
class Round:
    """Learning under way. `current`: the model in force, where its file can be read;
    `version`: its card's. `done` and `outcome` are for the loop's thread."""

    learner: Learner
    log: LearnLog
    newest: int
    current: Model | None
    version: str
    seed: int
    trends: TrendConfig
    law: Law
    told: str = ""
    _stop: threading.Event = field(default_factory=threading.Event)
    _result: "Future[Outcome]" = field(default_factory=Future)
    _thread: threading.Thread | None = None

    def start(self) -> "Round":
        """Begin, in a thread that does not keep the process alive."""
        self._thread = threading.Thread(target=self._run, name="learn", daemon=True)
        self._thread.start()
        return self

    def done(self) -> bool:
        """Whether there is an outcome, or an error."""
        return self._result.done()

    def outcome(self) -> Outcome:
        """What it came to. Raises what the learner raised."""
        return self._result.result(0)

    def end(self, limit_s: float) -> None:
        """Give it up: at its next word of progress it ends."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(limit_s)

    def _run(self) -> None:
        try:
            self._result.set_result(self._learned())
        except BaseException as error:  # noqa: BLE001  # handed to the loop
            self._result.set_exception(error)

    def _learned(self) -> Outcome:
        previous = path_of(self.current.card) if self.current else None
        with metrics.stage("learn"):
            tensors = self.learner.learn(
                self.log.before(self.newest),
                previous=previous if previous and previous.exists() else None,
                seed=self.seed,
                progress=self._progress,
                trends=self.trends,
                law=self.law,
            )
        self._progress("judge", 0.0)
        with metrics.stage("judge"):
            candidate = self._judged(tensors)
            self._progress("judge", 0.5)
            in_force = self._judged(self.current.tensors if self.current else None)
        return Outcome(tensors, self.log.items.encoder, candidate, in_force, self.version)

    def _judged(self, tensors: Mapping[str, Tensor] | None) -> Judged:
        return self.learner.judge(
            tensors, self.log, newest=self.newest, trends=self.trends, law=self.law
        )

    def _progress(self, what: str, share: float) -> None:
        if self._stop.is_set():
            raise Stopped(what)
        if what != self.told:
            self.told = what
            log.info("learning", step=what, share=round(share, 3))
