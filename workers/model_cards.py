"""Cards of models on rec.models.v1: the one in force, and the archive to go back to.

The topic is compacted by key, so each card is written twice: under `ranker/<version>`, where
it stays, and under `ranker`, where the newest takes the place of the one before. To roll back
is to write an archived card under `ranker` again.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import structlog

from schemas import DecodeError, ModelCard, decode, encode
from workers.ports import Outbound, Record

log = structlog.get_logger(__name__)

RANKER, FUSION = "ranker", "fusion"
PINNED = "pinned"
"""State of a card that was put in force by a person: training leaves it alone."""
CONFIRMED = "confirmed"
"""State of a fusion's card once the space before it is no longer written."""
FIT = 0.9
"""Share of the items with a vector that must have one by the next fusion, too: nobody goes over
to one that fits fewer, unless a person confirmed it."""


def fits(many: int, *, of: int) -> bool:
    """Whether so many items with a vector of the next space are enough; one may always lack."""
    return of - many <= max(1, (1 - FIT) * of)


@dataclass(slots=True, eq=False)
class Cards:
    """What the topic says. `current` by name; `archive` by name and version."""

    current: dict[str, ModelCard] = field(default_factory=dict)
    archive: dict[str, dict[str, ModelCard]] = field(default_factory=dict)

    def apply(self, records: Iterable[Record]) -> None:
        """Take in what was read, in order. What is unreadable changes nothing."""
        for record in records:
            key = (record.key or b"").decode("utf-8", "replace")
            name, slash, version = key.partition("/")
            if record.value is None:
                if slash:
                    self.archive.get(name, {}).pop(version, None)
                else:
                    self.current.pop(name, None)
            elif (card := card_of(record)) is None or card.name != name:
                log.warning("card_unreadable", key=key)
            elif not slash:
                self.current[name] = card
            elif card.version == version:
                self.archive.setdefault(name, {})[version] = card

    def history(self, name: str) -> list[ModelCard]:
        """Every card of this name that can be gone back to, oldest first."""
        known = {**self.archive.get(name, {})}
        if (now := self.current.get(name)) is not None:
            known.setdefault(now.version, now)
        return sorted(known.values(), key=lambda card: (card.at_ms, card.version))

    def confirmed(self, name: str) -> str:
        """The version in force, if it is the only one; else nothing."""
        card = self.current.get(name)
        return card.version if card is not None and card.state == CONFIRMED else ""

    def former(self, name: str) -> ModelCard | None:
        """The card before the one in force, by when it was made."""
        now = self.current.get(name)
        older = []
        for card in self.history(name):
            if now is not None and card.version == now.version:
                break
            older.append(card)
        return older[-1] if older else None


def card_of(record: Record) -> ModelCard | None:
    """The card in a record; None where there is none that can be read."""
    if record.value is None:
        return None
    try:
        card: ModelCard = decode("models", record.value, record.header("content-type"))
    except DecodeError:
        return None
    return card


def in_force(card: ModelCard, *, topic: str) -> list[Outbound]:
    """Records that put a card in force, the archive's first: who reads the second can rely
    on the first."""
    archived = f"{card.name}/{card.version}".encode()
    return [_record(topic, archived, card), _record(topic, card.name.encode(), card)]


def retired(cards: Sequence[ModelCard], *, topic: str) -> list[Outbound]:
    """Records that take these cards out of the archive."""
    return [Outbound(topic, f"{c.name}/{c.version}".encode(), None) for c in cards]


def _record(topic: str, key: bytes, card: ModelCard) -> Outbound:
    headers = (("content-type", b"application/msgpack"),)
    return Outbound(topic, key, encode(card), None, headers)
