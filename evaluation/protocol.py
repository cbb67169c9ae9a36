"""The protocol of every number here: ask for the list, then let the event happen.

    for event in the stream, in order of time:
        list = recommender.lists(the event's user)      what the user would see now
        note where the event's item stands in it
        recommender.apply(event)                        only now is it known

Nobody can peek: a recommender gets the history as a copy, and an event after its list.

Legend:  E = events of the stream,  K = places of a list,  U = users asked at once
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Protocol

import numpy as np
import numpy.typing as npt

from evaluation.recorded import Event, Floats, Ints, Log

K = 20


class Recommender(Protocol):
    """What is measured: a baseline of evaluation/baselines/, or the served system."""

    @property
    def name(self) -> str:
        """Short and fixed: a column's head and a file's name."""

    @property
    def settings(self) -> str:
        """What it was set to, in words; another string, and it is measured anew."""

    def fit(self, history: Log) -> None:
        """Learn from the past. Called once, first. `history` has the whole catalogue."""

    def lists(
        self, user_U: Ints, at_ms_U: Ints, *, k: int, exclude: Sequence[Ints]
    ) -> Ints:
        """U x k item numbers, best first, -1 where there are no more; without each user's
        `exclude`, which is what he touched before this moment."""

    def apply(self, event: Event) -> None:
        """It happened. Called once an event, in order of time."""


class PeekError(ValueError):
    """A recommender listed what it may not: the name, the event, the item."""


@dataclass(frozen=True, slots=True)
class Split:
    """Events [0, history) are the past, [history, history + stream) are asked for."""

    history: int
    stream: int

    @classmethod
    def of(cls, log: Log, *, history: float, stream: float = 0, limit: int = 0) -> "Split":
        """By count, or by fraction of the log where a number is below 1. `stream` 0: all that
        is left; `limit`: no more than so many. ValueError where the log is too short."""
        first = int(history * len(log)) if history < 1 else int(history)
        rest = len(log) - first
        wanted = int(stream * len(log)) if 0 < stream < 1 else int(stream)
        wanted = min(wanted or rest, limit or rest)
        if not 0 < first < len(log) or not 0 < wanted <= rest:
            raise ValueError(
                f"history {history:g} and stream {stream:g} do not fit a log of {len(log)} "
                "events: give counts or fractions that leave something on both sides"
            )
        return cls(first, wanted)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Outcome:
    """What a recommender did, event by event; every metric is a function of it.

    `rank_E` is 1..K, or 0: not in the list. `ms_E` is the time of the list, `apply_ms` the
    mean time of an event's application."""

    name: str
    settings: str
    list_EK: npt.NDArray[np.int32]
    rank_E: npt.NDArray[np.int16]
    ms_E: Floats
    apply_ms: float
    fit_s: float

    def save(self, file: Path) -> None:
        """Whole or not at all: a run that is cut off leaves nothing half-written."""
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(".part.npz")
        np.savez_compressed(
            part, name=self.name, settings=self.settings, list_EK=self.list_EK,
            rank_E=self.rank_E, ms_E=self.ms_E, apply_ms=self.apply_ms, fit_s=self.fit_s,
        )  # fmt: skip
        part.replace(file)

    @classmethod
    def load(cls, file: Path) -> "Outcome":
        with np.load(file, allow_pickle=False) as told:
            return cls(
                name=str(told["name"]), settings=str(told["settings"]),
                list_EK=told["list_EK"], rank_E=told["rank_E"], ms_E=told["ms_E"],
                apply_ms=float(told["apply_ms"]), fit_s=float(told["fit_s"]),
            )  # fmt: skip


def run(
    recommender: Recommender,
    log: Log,
    split: Split,
    *,
    k: int = K,
    progress: Callable[[int], None] = lambda _: None,
) -> Outcome:
    """Fit on the history, then ask before each event of the stream. `progress` hears how many
    events are done. PeekError if a list holds what its user touched, or an item twice."""
    began = perf_counter()
    recommender.fit(log.head(split.history))
    fit_s = perf_counter() - began
    touched = touched_before(log, split.history)
    list_EK = np.full((split.stream, k), -1, np.int32)
    ms_E = np.zeros(split.stream, np.float32)
    applied_s = 0.0
    for n in range(split.stream):
        event = log.event(split.history + n)
        exclude = np.array(touched[event.user], np.int64)
        asked = perf_counter()
        found_UK = recommender.lists(
            np.array([event.user]), np.array([event.at_ms]), k=k, exclude=[exclude]
        )
        answered = perf_counter()
        ms_E[n] = 1000 * (answered - asked)
        list_EK[n, : found_UK.shape[1]] = found_UK[0]
        _check(recommender.name, event, found_UK[0], exclude)
        asked = perf_counter()
        recommender.apply(event)
        applied_s += perf_counter() - asked
        touched[event.user].append(event.item)
        progress(n + 1)
    item_E = log.item_E[split.history : split.history + split.stream]
    return Outcome(
        name=recommender.name,
        settings=recommender.settings,
        list_EK=list_EK,
        rank_E=ranks(list_EK, item_E),
        ms_E=ms_E,
        apply_ms=1000 * applied_s / split.stream,
        fit_s=fit_s,
    )


def ranks(list_EK: npt.NDArray[np.int32], item_E: Ints) -> npt.NDArray[np.int16]:
    """Where each event's item stands in its list, from 1; 0: nowhere."""
    at_EK = list_EK == item_E[:, None]
    return np.where(at_EK.any(axis=1), at_EK.argmax(axis=1) + 1, 0).astype(np.int16)


def touched_before(log: Log, count: int) -> defaultdict[int, list[int]]:
    """The items of each user among the first `count` events."""
    touched: defaultdict[int, list[int]] = defaultdict(list)
    for user, item in zip(
        log.user_E[:count].tolist(), log.item_E[:count].tolist(), strict=True
    ):
        touched[user].append(item)
    return touched


def _check(name: str, event: Event, found_K: Ints, exclude: Ints) -> None:
    listed = found_K[found_K >= 0]
    again = np.intersect1d(listed, exclude)
    if len(again) or len(np.unique(listed)) < len(listed):
        raise PeekError(
            f"{name}, event {event.row}: the list of user {event.user} holds "
            f"{'item ' + str(again[0]) + ', which he touched' if len(again) else 'an item twice'}"
            "; leave out `exclude` and list each item once"
        )
