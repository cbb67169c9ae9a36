"""What `rec models` does: reads the cards, shows them, writes one."""

import time
from datetime import UTC, datetime
from pathlib import Path

from msgspec.structs import replace

from encoders.fusion_load import load_fusion
from schemas import ModelCard
from workers.bootstrap import for_tools
from workers.config import Config, topic
from workers.kafka import Writer, read_partition
from workers.model_cards import CONFIRMED, FUSION, PINNED, Cards, in_force
from workers.model_files import ModelError, keep, load_model, parse
from workers.terminal import CommandError, Exit, console, say_json


def show(*, as_json: bool, config: Config | None = None) -> int:
    """Every card, oldest first, with the one in force marked."""
    cards = cards_of(config or for_tools())
    names = sorted({*cards.archive, *cards.current})
    rows = [
        {
            "name": name,
            "version": card.version,
            "in_force": (now := cards.current.get(name)) is not None
            and now.version == card.version,
            "state": now.state if now and now.version == card.version else "",
            "at": datetime.fromtimestamp(card.at_ms / 1000, UTC).isoformat(
                timespec="seconds"
            ),
            "dims": card.dims,
            "sha256": card.sha256,
            "uri": card.uri,
        }
        for name in names
        for card in cards.history(name)
    ]
    if as_json:
        for row in rows:
            say_json(row)
    else:
        _table(rows)
    return Exit.DONE


def publish(file: Path, *, name: str, config: Config | None = None) -> int:
    """Copies the file beside the others under its content's name, and writes its card."""
    config = config or for_tools()
    if name == FUSION:
        _check_one_at_a_time(config)
    data = file.read_bytes()
    card = keep(
        data,
        folder=Path(config.train.out),
        name=name,
        version=_fusion_version(file) if name == FUSION else "",
        dims=_dims(data, name, config),
        at_ms=int(time.time() * 1000),
    )
    _put(config, replace(card, state="" if name == FUSION else PINNED))
    return Exit.DONE


def rollback(version: str, *, name: str, config: Config | None = None) -> int:
    """Writes an archived card under the current key again, once its file was looked at."""
    config = config or for_tools()
    cards = cards_of(config)
    if version:
        found = [card for card in cards.history(name) if card.version.startswith(version)]
        if len(found) != 1:
            raise CommandError(
                f"{len(found)} models of {name!r} have a version that begins with {version!r}: "
                "see `rec models list`",
                Exit.USAGE,
            )
        card = found[0]
    elif (former := cards.former(name)) is not None:
        card = former
    elif name == FUSION and FUSION in cards.current:
        _put(config, _configured(config))
        return Exit.DONE
    else:
        raise CommandError(f"{name!r} has no model before the one in force", Exit.NO)
    _check(card, config)
    _put(config, replace(card, state="" if name == FUSION else PINNED))
    return Exit.DONE


def release(*, name: str, config: Config | None = None) -> int:
    """The card in force, without the mark that keeps training away."""
    config = config or for_tools()
    _put(config, replace(_current(config, name), state=""))
    return Exit.DONE


def confirm(*, config: Config | None = None) -> int:
    """The fusion in force stays: nothing is written in the space before it from now on."""
    config = config or for_tools()
    _put(config, replace(_current(config, FUSION), state=CONFIRMED))
    return Exit.DONE


def cards_of(config: Config) -> Cards:
    """What rec.models.v1 says now."""
    cards = Cards()
    cards.apply(read_partition(config.kafka, topic(config.kafka, "models"), 0))
    return cards


def _configured(config: Config) -> ModelCard:
    """A card of the fusion that workers have by their configuration: it needs no file."""
    version = load_fusion(config.encoders).version
    uri, now_ms = f"config:{config.encoders.fusion}", int(time.time() * 1000)
    return ModelCard(name=FUSION, version=version, uri=uri, sha256="", at_ms=now_ms)


def _check_one_at_a_time(config: Config) -> None:
    """Two spaces stand beside each other, not three: what was confirmed has to be what the
    workers are configured with before another one is rolled out."""
    confirmed = cards_of(config).confirmed(FUSION)
    if confirmed and confirmed != load_fusion(config.encoders).version:
        raise CommandError(
            f"fusion {confirmed} is in force by its card: set STREAMREC_ENCODERS__FUSION=path: "
            "to its file for all workers before you roll out another",
            Exit.NO,
        )


def _current(config: Config, name: str) -> ModelCard:
    card = cards_of(config).current.get(name)
    if card is None:
        raise CommandError(f"no model {name!r} is in force: see `rec models list`", Exit.NO)
    return card


def _put(config: Config, card: ModelCard) -> None:
    writer = Writer(config.kafka)
    try:
        writer.write(in_force(card, topic=topic(config.kafka, "models")))
    finally:
        writer.close()
    state = f" ({card.state})" if card.state else ""
    console().print(f"{card.name} {card.version} is in force{state}", markup=False)


def _check(card: ModelCard, config: Config) -> None:
    """Nobody is sent back to a file that is gone."""
    if card.uri.startswith("config:"):
        return
    try:
        load_model(
            card,
            width=config.encoders.width,
            max_bytes=config.models.max_mb << 20,
            allow=config.models.allow,
        )
    except ModelError as error:
        raise CommandError(str(error), Exit.MISSING) from error


def _fusion_version(file: Path) -> str:
    from encoders.fusion_model import load
    from encoders.specs import SpecError

    try:
        return load(file).version
    except SpecError as error:
        raise CommandError(str(error), Exit.USAGE) from error


def _dims(data: bytes, name: str, config: Config) -> dict[str, int]:
    """What the card says of the file, for workers to hold it against."""
    card = ModelCard(name=name, version="(new)", uri="", sha256="")
    try:
        tensors, _ = parse(data, card)
    except ModelError as error:
        raise CommandError(str(error), Exit.USAGE) from error
    items = {"items": len(tensors["items"])} if "items" in tensors else {}
    return {"width": config.encoders.width, **items}


def _table(rows: list[dict[str, object]]) -> None:
    from rich.table import Table

    if not rows:
        console().print("no models yet: `rec worker train` publishes the first")
        return
    shown = Table(box=None, padding=(0, 1))
    for head in ("", "name", "version", "made", "sha256", "where"):
        shown.add_column(head, overflow="fold")
    for row in rows:
        mark = "*" if row["in_force"] else ""
        name = f"{row['name']} {row['state']}".rstrip()
        sha256 = str(row["sha256"])[:12]
        shown.add_row(
            mark, name, str(row["version"]), str(row["at"]), sha256, str(row["uri"])
        )
    console().print(shown)
