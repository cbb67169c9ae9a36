"""From the log's events to what trends are made of."""

from collections.abc import Sequence

from encoders.law import CODES, IMPRESSION, Law, hash64
from ranking.trend_state import TrendEvent
from schemas import Erase, Interaction, Undo
from workers import metrics
from workers.config import Config
from workers.decode import Accepted, decode_events
from workers.ports import Record


def decoded(records: Sequence[Record], config: Config, law: Law) -> list[TrendEvent]:
    """The events that trends are made of. What cannot be read is counted and passed over: the
    recommend workers set it aside."""
    accepted, refused = decode_events(
        records, width=config.encoders.width, config=config.recommend
    )
    metrics.events("interaction", "refused", len(refused))
    found = [trend_event(a, law) for a in accepted]
    events = [event for event in found if event is not None]
    metrics.events("interaction", "accepted", len(events))
    return events


def trend_event(a: Accepted, law: Law) -> TrendEvent | None:
    """What trends need of an event; None if it is nothing to them."""
    event, offset = a.event, a.record.offset
    user, name = hash64(event.user_id), hash64(event.event_id)
    if isinstance(event, Interaction):
        if CODES[event.kind] == IMPRESSION:
            return None
        return TrendEvent(
            user, event.item_id, event.kind, event.value, a.at_ms, offset, name
        )
    if isinstance(event, Undo):
        undoes, of = hash64(event.undoes), event.of
        if of is None:
            return TrendEvent(user, "", "undo", None, a.at_ms, offset, name, undoes)
        weight = law.weight(CODES[of.kind], of.value)
        return TrendEvent(user, of.item_id, "undo", weight, of.at_ms, offset, name, undoes)
    if isinstance(event, Erase):
        return TrendEvent(user, "", "erase", None, a.at_ms, offset, name)
    return None
