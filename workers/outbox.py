"""The batch that is on its way out while the next one is made.

A transaction waits for the broker most of its time; meanwhile the next lists are made. One batch
is under way at a time and they go in order, so what is committed is always what was made
first. Whatever must stand on committed lists (saving users, handing partitions over, beginning)
settles first.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from typing import Any

from workers import metrics
from workers.ports import Outbound, Partition, Restarted, Sink, TransientError


class Inline(Executor):
    """Does at once what it is given: nothing is ever under way. For clocks of one's own."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        done = Future[Any]()
        try:
            done.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001  # handed to who settles
            done.set_exception(error)
        return done


@dataclass(slots=True, eq=False)
class Outbox:
    """Sends batches by `sink`, one at a time, where `beside` runs it."""

    sink: Sink
    beside: Executor = field(default_factory=Inline)
    _going: Future[None] | None = None
    _partitions: frozenset[Partition] = frozenset()

    def send(
        self,
        outbound: Sequence[Outbound],
        next_offsets: Mapping[Partition, int],
        *,
        partitions: frozenset[Partition],
        done: Callable[[], None],
    ) -> None:
        """Begin to publish a batch with records of these partitions; what was under way is
        settled. `done` is called once it is acknowledged, where the publishing runs."""
        assert self._going is None, "settle first"

        def publish() -> None:
            with metrics.stage("publish"):
                self.sink.publish(outbound, next_offsets)
            done()

        self._partitions = partitions
        self._going = self.beside.submit(publish)

    def settle(self, also: frozenset[Partition] = frozenset()) -> None:
        """Wait until what is under way is committed. Raises Restarted where it was not: it
        names all partitions of that batch, and `also`, whose records were folded after it."""
        going, self._going = self._going, None
        if going is None:
            return
        try:
            with metrics.stage("settle"):
                going.result()
        except (Restarted, TransientError) as error:  # folded but not listed
            cause = error.cause if isinstance(error, Restarted) else "store"
            raise Restarted(str(error), self._partitions | also, cause) from error

    def wait(self) -> bool:
        """Wait like `settle`, which tells afterwards what came of it; whether it went well."""
        return self._going is None or self._going.exception() is None
