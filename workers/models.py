"""Trained models, reloaded while events flow: read and checked beside the loop, handed over
between two batches.

    card -> (a thread: fetch, sha256, safetensors, dims) -> take() -> lists

A model that can't be used leaves the one before in force, is logged and counted, and is tried
again for as long as its card stands: its file may come later than its card.
"""

import queue
import threading
import time
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

import structlog

from schemas import ModelCard
from workers import metrics
from workers.config import ModelsConfig
from workers.health import Health
from workers.model_cards import RANKER, card_of
from workers.model_files import ModelError
from workers.ports import Record

log = structlog.get_logger(__name__)
CLOSE_S = 5.0


class Versioned(Protocol):
    """What a file became."""

    @property
    def version(self) -> str: ...


Ready = TypeVar("Ready", bound=Versioned)


class Models(Generic[Ready]):
    """Follows the card of one name. `apply`, `take` and `settle` belong to the loop's thread;
    one thread more reads files, one at a time: only the newest card is waited for."""

    def __init__(
        self,
        config: ModelsConfig,
        *,
        width: int,
        health: Health,
        load: Callable[..., Ready],
        name: str = RANKER,
    ) -> None:
        self.version, self._name, self._width = "", name, width
        self._config, self._health, self._load = config, health, load
        self._wanted: ModelCard | None = None
        self._cards: queue.Queue[ModelCard] = queue.Queue(maxsize=1)
        self._stop, self._settled = threading.Event(), threading.Event()
        self._settled.set()
        self._lock = threading.Lock()
        self._ready: Ready | None = None
        self._thread: threading.Thread | None = None
        health.set("model", ok=True, why="none is published yet")

    def apply(self, record: Record) -> None:
        """A record of rec.models.v1. Never waits, never raises for what it says."""
        if record.key != self._name.encode():
            return
        card = card_of(record)
        if card is None or card.name != self._name:
            if record.value is not None:
                metrics.model_loaded("unreadable")
                log.warning("card_unreadable", offset=record.offset)
            return
        wanted, self._wanted = self._wanted, card
        if wanted is not None and (wanted.version, wanted.sha256) == (
            card.version,
            card.sha256,
        ):
            return
        metrics.gauges(model_at_seconds=card.at_ms / 1000)
        self._hand_over(card)

    def take(self) -> Ready | None:
        """The newest model that became ready since the last call. Called between two batches."""
        if self._ready is None:
            return None
        with self._lock:
            ready, self._ready = self._ready, None
        if ready is not None:
            self.version = ready.version
            if self._name == RANKER:
                metrics.info(model=ready.version)
            log.info("model_in_force", version=ready.version, name=self._name)
        return ready

    def settle(self) -> bool:
        """Waits, as configured, until the newest card was tried once: at start, so that the
        first list is of the model in force."""
        return self._settled.wait(self._config.wait_s)

    def close(self) -> None:
        """Stops reading; a fetch under way is given up."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(CLOSE_S)

    def _hand_over(self, card: ModelCard) -> None:
        self._settled.clear()
        while True:  # one that nobody took up yet is not wanted any more
            try:
                self._cards.put_nowait(card)
                break
            except queue.Full:
                try:
                    self._cards.get_nowait()
                except queue.Empty:
                    continue
        if self._thread is None:
            self._thread = threading.Thread(target=self._read, name="models", daemon=True)
            self._thread.start()

    def _read(self) -> None:
        """The thread: the newest card, and again while it can't be had."""
        card: ModelCard | None = None
        again_s = float("inf")
        while not self._stop.is_set():
            try:
                card = self._cards.get(timeout=0.1)
            except queue.Empty:
                if card is None or time.monotonic() < again_s:
                    continue
            assert card is not None
            again_s = (
                float("inf") if self._try(card) else time.monotonic() + self._config.retry_s
            )
            if self._cards.empty():
                self._settled.set()

    def _try(self, card: ModelCard) -> bool:
        try:
            model = self._load(
                card,
                width=self._width,
                max_bytes=self._config.max_mb << 20,
                allow=self._config.allow,
                wait=self._stop.wait,
            )
        except ModelError as error:
            return self._keep(card, error.reason, str(error))
        except Exception as error:  # noqa: BLE001  # the edge: a model must not stop lists
            return self._keep(card, "other", f"{type(error).__name__}: {error}")
        with self._lock:
            self._ready = model
        metrics.model_loaded("loaded")
        self._health.set("model", ok=True, why=f"{card.version} of {card.at_ms} ms")
        return True

    def _keep(self, card: ModelCard, reason: str, why: str) -> bool:
        """The model before stays. Ready all the same: lists go on."""
        metrics.model_loaded(reason)
        log.warning("model_refused", version=card.version, reason=reason, why=why)
        said = f"{card.version} can't be used ({reason}): {why}; keeping what was in force"
        self._health.set("model", ok=True, why=said)
        return False
