"""A new fusion rolled out by its card: every item is fused a second time, from the slots that
it has, and both vectors stand beside each other until nobody needs the first.

    card "fusion" -> loaded -> items of both spaces -> (recommend workers switch) -> confirmed

No content is encoded again. Going back is the same the other way round: the space that was to
come is then the one in force, and the one before it comes next. What is confirmed is written
alone: by `rec models confirm`, or by the first encode worker that has had both for
`models.both_s`.
"""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import structlog
from msgspec.structs import replace

from encoders.fusion_load import Fusion
from encoders.fusion_model import FusionModel, load
from encoders.specs import SpecError
from schemas import ModelCard
from workers import metrics
from workers.model_cards import CONFIRMED, FUSION, Cards, fits, in_force
from workers.model_files import ModelError, read_file
from workers.models import Models
from workers.ports import FatalError, Table
from workers.underway import Worker

log = structlog.get_logger(__name__)


@dataclass(slots=True, eq=False, kw_only=True)
class Rollout:
    """What is known of fusions. `configured`: the one that needs no card. `alone_at_s`: when
    the space in force has been written beside the next for long enough."""

    table: Table
    models: Models[FusionModel]
    configured: Fusion
    both_s: float
    topic: str
    cards: Cards = field(default_factory=Cards)
    loaded: FusionModel | None = None
    alone_at_s: float | None = None

    def read(self) -> None:
        """Cards that are new; the file of one that is not configured is fetched beside us."""
        for record in self.table.refresh(limit=100, timeout_s=0.0):
            self.cards.apply([record])
            now = self.cards.current.get(FUSION)
            if now is not None and now.version != self.configured.version:
                self.models.apply(record)
        self.loaded = self.models.take() or self.loaded

    def catch_up(self) -> None:
        """At start: the fusion in force is at hand before the first item is fused. FatalError
        where it is not: nothing is fused back into a space that nobody reads any more."""
        while self.table.behind():
            self.read()
        self.models.settle()
        self.read()
        if self.cards.confirmed(FUSION) and self.wanted() is None:
            card = self.cards.current[FUSION]
            raise FatalError(
                f"fusion {card.version}, which is in force, can't be had from {card.uri}: put "
                "its file back there, or `rec models rollback --name fusion`"
            )

    def wanted(self) -> tuple[ModelCard, Fusion] | None:
        """The card in force and its fusion; None without a card, or while it is loaded."""
        card = self.cards.current.get(FUSION)
        if card is None:
            return None
        known = (self.configured, self.loaded)
        fusion = next((f for f in known if f and f.version == card.version), None)
        return None if fusion is None else (card, fusion)


def follow(worker: Worker, rollout: Rollout, *, now: float) -> None:
    """Bring the worker in line with the card. Called between two batches."""
    rollout.read()
    if (found := rollout.wanted()) is None:
        return
    card, fusion = found
    if card.state == CONFIRMED:
        _change(worker, fusion, None)
        rollout.alone_at_s = None
        return
    following = worker.shelf.next
    if fusion.version == worker.fusion.version and following is not None:
        _change(worker, following, worker.fusion)
        rollout.alone_at_s = None
    elif fusion.version != worker.fusion.version:
        _change(worker, worker.fusion, fusion)
    worker.shelf.both = worker.shelf.next is not None and not worker.outdated
    if worker.shelf.both and not worker.pending:
        _confirm_when_due(worker, rollout, card, now=now)


def _confirm_when_due(
    worker: Worker, rollout: Rollout, card: ModelCard, *, now: float
) -> None:
    if rollout.alone_at_s is None:
        rollout.alone_at_s = now + rollout.both_s
    elif now >= rollout.alone_at_s and not _fits(worker, card):
        rollout.alone_at_s = now + rollout.both_s  # said again then
    elif now >= rollout.alone_at_s:
        confirmed = replace(card, state=CONFIRMED)
        worker.sink.publish(in_force(confirmed, topic=rollout.topic), {})
        rollout.alone_at_s = now + rollout.both_s  # heard of by the table before long


def _fits(worker: Worker, card: ModelCard) -> bool:
    """Whether the next fusion has a vector of about all of our items that have one."""
    told = [v for items in worker.shelf.items.values() for v in items.values() if v.fused]
    many = sum(v.fused_next is not None for v in told)
    if fits(many, of=len(told)):
        return True
    log.warning(
        "fusion_fits_too_few", version=card.version, items=many, of=len(told),
        remedy="rec models rollback --name fusion, or confirm it if that is meant",
    )  # fmt: skip
    return False


def _change(worker: Worker, fusion: Fusion, following: Fusion | None) -> None:
    """These two from here on: whatever is fused otherwise is fused again."""
    shelf = worker.shelf
    told = (fusion.version, following.version if following else "")
    if told == (shelf.version, shelf.version_next):
        return
    log.info("fusion", in_force=told[0], next=told[1] or None)
    worker.fusion, shelf.version, shelf.next = fusion, fusion.version, following
    shelf.both = False
    worker.outdated |= set(shelf.items)
    metrics.info(encoder=fusion.version)


def load_fusion_file(
    card: ModelCard,
    *,
    width: int,
    max_bytes: int,
    allow: Sequence[str] = (),
    wait: Callable[[float], object] | None = None,
) -> FusionModel:
    """The fusion that a card names, checked. Raises ModelError."""
    data = read_file(card, max_bytes=max_bytes, allow=allow, wait=wait)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "fusion.safetensors"
        file.write_bytes(data)
        try:
            model = load(file, card.sha256)
        except SpecError as error:
            raise ModelError("unreadable", str(error)) from error
    if model.width != width:
        raise ModelError(
            "wrong_dims",
            f"fusion {model.version} is {model.width} wide, the space {width}; train one of "
            "this width",
        )
    if model.version != card.version:
        raise ModelError(
            "unreadable",
            f"the file is fusion {model.version} and its card says {card.version}; publish it "
            "by `rec models publish`",
        )
    return model
