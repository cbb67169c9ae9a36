"""Content in memory before the model needs it: fetched and decoded on threads.

One batch is with the model and one is prepared here meanwhile. Whoever is slow to serve a file
costs its record the time, not the batch (`Batch.part`), and never the group membership: the path
polls on.
"""

import hashlib
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from encoders.clean import clean
from encoders.content import Content, TextContent
from encoders.preparation import PrepareConfig, Unusable
from schemas import MediaRef, Slot
from workers import metrics
from workers.contents import Job, Part, Refusal, item_of
from workers.media import MediaError, MediaLimits, fetch
from workers.media_decode import decode
from workers.media_limits import path
from workers.ports import Partition

_FETCHERS = 16
"""Fetching is waiting: more threads than cores. Decoding takes turns among them."""
_LONG = 2_000
"""Characters of a text that is cleaned on a thread: up to here it takes less than a turn."""

Reusable = Callable[[int, str, str, str], Slot | None]
"""By partition number, item, name and content: a slot that is right already (Shelf)."""


@dataclass(frozen=True, slots=True)
class Ready:
    """One content, cleaned, and the sha256 of what it was; or its `vector`, where it was
    encoded before."""

    sha256: str
    content: Content | None = None
    vector: bytes | None = None


Outcome = Ready | MediaError


@dataclass(slots=True, eq=False)
class Batch:
    """Records on their way: what they ask for, what was refused, where to go on after them.
    `outcomes` are those of each job's parts."""

    jobs: list[Job] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    next_offsets: dict[Partition, int] = field(default_factory=dict)
    outcomes: list[list[Future[Outcome]]] = field(default_factory=list)
    opened_s: float | None = None

    def prepared(self) -> bool:
        """Whether every part is ready or refused."""
        return all(map(all_done, self.outcomes))

    def part(self) -> "Batch":
        """Take the jobs out that are not prepared yet."""
        done = [all_done(of_job) for of_job in self.outcomes]
        pairs = list(zip(self.jobs, self.outcomes, done, strict=True))
        self.jobs = [job for job, _, is_done in pairs if is_done]
        self.outcomes = [of_job for _, of_job, is_done in pairs if is_done]
        return Batch(
            jobs=[job for job, _, is_done in pairs if not is_done],
            outcomes=[of_job for _, of_job, is_done in pairs if not is_done],
        )

    def add(self, other: "Batch") -> None:
        """Take in what another one has."""
        self.jobs += other.jobs
        self.outcomes += other.outcomes
        self.refusals += other.refusals
        self.next_offsets |= other.next_offsets

    def drop(self, numbers: set[int]) -> None:
        """Forget what came from these partitions: its new owner reads it again."""
        kept = [at for at, j in enumerate(self.jobs) if j.record.partition not in numbers]
        if self.outcomes:
            self.outcomes = [self.outcomes[at] for at in kept]
        self.jobs = [self.jobs[at] for at in kept]
        self.refusals = [r for r in self.refusals if r[0].partition not in numbers]
        self.next_offsets = {
            at: offset for at, offset in self.next_offsets.items() if at[1] not in numbers
        }


def all_done(of_job: Sequence[Future[Outcome]]) -> bool:
    """Whether all parts of a job are ready or refused."""
    return all(outcome.done() for outcome in of_job)


class Preparer:
    """The threads. `threads` of them decode at a time; what came inline has its own, so that
    it does not wait behind what is fetched."""

    def __init__(
        self, *, limits: MediaLimits, threads: int, prepare: PrepareConfig | None = None
    ) -> None:
        self._limits, self.settings = limits, prepare or PrepareConfig()
        self._fetching = ThreadPoolExecutor(_FETCHERS, thread_name_prefix="fetch")
        self._inline = ThreadPoolExecutor(threads, thread_name_prefix="inline")
        self._turns = threading.BoundedSemaphore(threads)
        self._closing = threading.Event()

    def start(self, batch: Batch, reusable: Reusable) -> None:
        """Begin to prepare all parts of a batch; `batch.prepared()` tells when it is done."""
        batch.outcomes = [
            [self._begin(job, part, reusable) for part in job.parts] for job in batch.jobs
        ]

    def close(self) -> None:
        """Drop what waits, give up what is fetched, let what is decoded come to its end."""
        self._closing.set()
        for pool in (self._fetching, self._inline):
            pool.shutdown(wait=True, cancel_futures=True)

    def _begin(self, job: Job, part: Part, reusable: Reusable) -> Future[Outcome]:
        if part.ref is None:
            if len(part.text) > _LONG:
                return self._inline.submit(self._text, part)
            return _done(self._text(part))
        if (ready := _unchanged(job, part, part.ref, reusable)) is not None:
            return _done(ready)
        pool = self._inline if part.ref.data else self._fetching
        return pool.submit(self._outcome, part.ref, part.field)

    def _text(self, part: Part) -> Outcome:
        try:
            content = self._cleaned(TextContent(part.text), part.field)
        except MediaError as error:
            return error
        return Ready(hashlib.sha256(part.text.encode()).hexdigest(), content)

    def _cleaned(self, content: Content, name: str) -> Content:
        """The content as it is to be encoded; what was done to it is counted. Raises
        MediaError."""
        try:
            cleaned = clean(content, self.settings)
        except Unusable as unusable:
            metrics.dropped(unusable.reason)
            raise MediaError(unusable.reason, f"field `{path(name)}`: {unusable}") from None
        except (
            Exception
        ) as error:  # hostile content: it is this record's, not the batch's, end
            raise MediaError(
                "undecodable", f"field `{path(name)}` cannot be cleaned ({error})"
            ) from error
        for change in cleaned.changes:
            metrics.changed(change)
        for reason in cleaned.dropped:
            metrics.dropped(reason)
        return cleaned.content

    def _outcome(self, ref: MediaRef, name: str) -> Outcome:
        try:
            with metrics.media("fetch"):
                data = fetch(ref, limits=self._limits, field=name, wait=self._closing.wait)
            with self._turns, metrics.media("decode"):
                decoded = decode(ref, data, limits=self._limits, field=name)
                content = self._cleaned(decoded, name)
        except MediaError as error:
            return error
        return Ready(hashlib.sha256(data).hexdigest(), content)


def _unchanged(job: Job, part: Part, ref: MediaRef, reusable: Reusable) -> Ready | None:
    """What need not even be fetched: an item's slot was made of this very content."""
    item_id = item_of(job)
    alone = sum(other.modality == part.modality for other in job.parts) == 1
    if item_id is None or not alone or not ref.sha256:
        return None
    slot = reusable(job.record.partition, item_id, part.modality, ref.sha256.lower())
    return None if slot is None else Ready(slot.content, vector=slot.vector)


def _done(outcome: Outcome) -> Future[Outcome]:
    future: Future[Outcome] = Future()
    future.set_result(outcome)
    return future
