"""One round of learning, in a thread of its own: the loop goes on reading, and can end it.

    all but the newest slice -> candidate;  candidate, model in force -> judged on the slice
    -> candidate, if it is not worse, learned on with the slice

The slice is new to both: the model in force had not come so far (`until_ms`).
"""

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Protocol

import structlog
import torch
from torch import Tensor

from encoders.law import Law
from ranking.learn_log import UNTIL_MS, Judged, LearnLog, gain
from ranking.trend_config import TrendConfig
from workers import metrics
from workers.model_files import Model

log = structlog.get_logger(__name__)


SURE = 1.64  # standard errors: one model in twenty that is no worse seems so


class Stopped(Exception):
    """The worker stops: what this round learned is forgotten."""


class Learner(Protocol):
    """What makes models and judges them; a module will do."""

    def learn(
        self,
        log: LearnLog,
        *,
        previous: Mapping[str, Tensor] | None,
        seed: int,
        progress: Callable[[str, float], None],
        trends: TrendConfig,
        law: Law,
    ) -> dict[str, Tensor]:
        """Tensors of a model; equal for equal log, previous model, settings and seed.
        `previous`: an earlier model, to go on from if one can. `progress` (what, share
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
        than the tolerance and than chance: a slice is short, and of two models that are
        equally good each hits less in every second one."""
        more, error = gain(self.candidate, self.in_force)
        return more + SURE * error < -tolerance


@dataclass(slots=True, eq=False)
class Round:
    """Learning under way. `newest`: events of the slice, at most; `current`: the model in
    force, where its file can be read; `version`: its card's; `tolerance`: by how much a
    candidate may hit less. `done` and `outcome` are for the loop's thread."""

    learner: Learner
    log: LearnLog
    newest: int
    current: Model | None
    version: str
    seed: int
    trends: TrendConfig
    law: Law
    tolerance: float = 0.0
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

    def learned(self) -> Outcome:
        """The round itself, from its beginning to its end."""
        current = self.current.tensors if self.current else None
        newest = slice_of(self.log, self.newest, current)
        with metrics.stage("learn"):
            tensors = self._learn(self.log.before(newest), current)
        self._progress("judge", 0.0)
        with metrics.stage("judge"):
            candidate = self._judged(tensors, newest)
            self._progress("judge", 0.5)
            in_force = self._judged(current, newest)
        encoder = self.log.items.encoder
        outcome = Outcome(tensors, encoder, candidate, in_force, self.version)
        if not newest or outcome.worse(tolerance=self.tolerance):
            return outcome
        with metrics.stage("learn"):
            return replace(outcome, tensors=self._learn(self.log, tensors))

    def _run(self) -> None:
        try:
            self._result.set_result(self.learned())
        except BaseException as error:  # noqa: BLE001  # handed to the loop
            self._result.set_exception(error)

    def _learn(
        self, log: LearnLog, previous: Mapping[str, Tensor] | None
    ) -> dict[str, Tensor]:
        tensors = self.learner.learn(
            log, previous=previous, seed=self.seed, progress=self._progress,
            trends=self.trends, law=self.law,
        )  # fmt: skip
        return {UNTIL_MS: torch.tensor(int(log.at_ms_E.max(initial=0))), **tensors}

    def _judged(self, tensors: Mapping[str, Tensor] | None, newest: int) -> Judged:
        return self.learner.judge(
            tensors, self.log, newest=newest, trends=self.trends, law=self.law
        )

    def _progress(self, what: str, share: float) -> None:
        if self._stop.is_set():
            raise Stopped(what)
        if what != self.told:
            self.told = what
            log.info("learning", step=what, share=round(float(share), 3))


def slice_of(log: LearnLog, newest: int, current: Mapping[str, Tensor] | None) -> int:
    """How many of the newest events to judge on: at most a fifth of the log, and half of what
    the model in force has not learned from, so that a candidate has the other half."""
    until_ms = current.get(UNTIL_MS) if current is not None else None
    new = len(log) if until_ms is None else int((log.at_ms_E > int(until_ms)).sum())
    return min(newest, len(log) // 5, new // 2)
