"""What a round came to, into a model in force, or a reason why not."""

from collections.abc import Callable, Sequence
from pathlib import Path

import structlog

from workers import metrics
from workers.config import ModelsConfig, TrainConfig
from workers.model_cards import PINNED, Cards, in_force, retired
from workers.model_files import Model, ModelError, load_model, path_of, write_model
from workers.ports import Outbound
from workers.train_round import Outcome

log = structlog.get_logger(__name__)
Write = Callable[[Sequence[Outbound]], None]


def current_model(
    cards: Cards, name: str, *, width: int, models: ModelsConfig
) -> Model | None:
    """The model in force; None where there is none, or none that can be read."""
    card = cards.current.get(name)
    if card is None:
        return None
    metrics.gauges(model_at_seconds=card.at_ms / 1000)
    try:
        max_bytes = models.max_mb << 20
        return load_model(card, width=width, max_bytes=max_bytes, allow=models.allow)
    except ModelError as error:
        log.warning("model_in_force_unreadable", version=card.version, why=str(error))
        return None


def refusal(outcome: Outcome, cards: Cards, config: TrainConfig) -> str:
    """Why this model is not published; empty where it is."""
    now = cards.current.get(config.name)
    if (now.version if now else "") != outcome.current:
        return "overtaken"
    if now is not None and now.state == PINNED:
        return "pinned"
    return "worse" if outcome.worse(tolerance=config.tolerance) else ""


def put_in_force(
    outcome: Outcome,
    cards: Cards,
    config: TrainConfig,
    *,
    width: int,
    at_ms: int,
    write: Write,
    topic: str,
) -> str:
    """The file, then its card; its version, or nothing where it is the model in force. The
    oldest beyond `config.keep` go, card first."""
    folder = Path(config.out).resolve()
    card = write_model(
        outcome.tensors,
        folder=folder,
        name=config.name,
        encoder=outcome.encoder,
        width=width,
        at_ms=at_ms,
    )
    if card.version == outcome.current:
        return ""
    write(in_force(card, topic=topic))
    metrics.model_published()
    metrics.gauges(model_at_seconds=at_ms / 1000)
    kept = {card.version, outcome.current}
    old = [c for c in cards.history(config.name) if c.version not in kept]
    gone = old[: max(0, len(old) + len(kept) - config.keep)]
    write(retired(gone, topic=topic))
    for one in gone:
        if (file := path_of(one)) is not None and file.parent == folder:
            file.unlink(missing_ok=True)
    return card.version
