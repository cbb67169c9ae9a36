"""Events into their users' states, and who is to have a list for it.

Which lists follow what (DESIGN section 2): every accepted interaction, undo and visit is
named by exactly one list; events of a user in one batch share one. A visit that asks for a
category and a query have lists of their own. Impressions, duplicates and what is dropped
as erased cause none.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from encoders.law import CODES, item_hash
from encoders.persist import dumps, loads
from encoders.state import Outcome, fold
from schemas import DecodeError, Erase, Interaction, Query, Signal, Visit, refused
from workers import metrics
from workers.decode import Accepted, dead_letter
from workers.items import Items
from workers.ports import Outbound, Record
from workers.users import Held, Users

Refusal = tuple[Record, DecodeError]
_SHOWN: Mapping[str, str] = {
    "folded": "accepted",
    "silent": "accepted",
    "too_late_to_undo": "refused",
}


@dataclass(slots=True, eq=False)
class Asked:
    """One list that is to be made: for whom, why, and what was asked."""

    user: Held
    category: str
    query: Signal | None
    caused_by: list[str] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    erased: bool = False


@dataclass(slots=True, eq=False)
class Touches:
    """What a batch changed: the users folded, and the lists in order of their first cause."""

    folded: dict[str, Held] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    open: dict[tuple[str, str, str], Asked] = field(default_factory=dict)

    def add(self, a: Accepted, user: Held) -> None:
        """This event is to be named by a list."""
        event = a.event
        query = event if isinstance(event, Signal) and event.cause == "query" else None
        category = _category(event) if isinstance(event, Visit) else ""
        category = _category(query) if query else category
        key = (event.user_id, category, query.event_id if query else "")
        asked = self.open.get(key)
        if asked is None:
            asked = self.open[key] = Asked(user, category, query)
            self.asked.append(asked)
        asked.caused_by.append(query.of if query else event.event_id)
        asked.records.append(a.record)

    def fold(self, a: Accepted, user: Held) -> Outcome:
        """Into the user's state. Lists that are open at an erase are of who this user was until
        then."""
        state = user.state
        if isinstance(a.event, Erase):
            for key, asked in self.open.items():
                if key[0] == user.user_id:
                    before = loads(dumps(state), law=state.law, applied=state.applied)
                    asked.user = replace(user, state=before)
        self.folded[user.user_id] = user
        return fold(state, a.event, offset=a.record.offset, at_ms=a.at_ms)

    def erase(self, a: Accepted, user: Held) -> None:
        """A null list, after those of what came before."""
        for key in [key for key in self.open if key[0] == a.event.user_id]:
            del self.open[key]
        self.asked.append(Asked(user, "", None, [], [a.record], erased=True))


def _category(event: Visit | Signal) -> str:
    category = event.context.get("category", "")
    return category if isinstance(category, str) else ""


def fold_all(
    accepted: Sequence[Accepted], held: Mapping[str, Held], *, users: Users, items: Items
) -> tuple[Touches, list[Refusal]]:
    """Fold every event into its user, in order. Records below `listed_from` are folded
    without a list or a dead letter: they had theirs."""
    touches, refusals = Touches(), []
    counts: Counter[tuple[str, str]] = Counter()
    late = clamped = 0
    for a in accepted:
        event, record, user = a.event, a.record, held[a.event.user_id]
        if not users.expects(user, record):
            refusals.append((record, _elsewhere(a, user)))
            continue
        was_late = a.at_ms < user.state.newest_ms
        outcome = touches.fold(a, user)
        _popular(a, outcome, items)
        if record.offset < users.owned[record.partition].listed_from:
            outcome = "replayed"
        elif outcome == "too_late_to_undo":
            refusals.append((record, _too_late(a)))
        elif isinstance(event, Erase):
            touches.erase(a, user)
        elif outcome == "folded" or (outcome == "replayed" and not _quiet(a)):
            touches.add(a, user)
        counts[event.__struct_config__.tag, _SHOWN.get(outcome, outcome)] += 1  # type: ignore[index]
        late += was_late
        clamped += a.at_ms != event.at_ms
    for (kind, shown), n in counts.items():
        metrics.events(kind, shown, n)
    metrics.late(late)
    metrics.clamped(clamped)
    return touches, refusals


def first_partitions(accepted: Sequence[Accepted]) -> dict[str, int]:
    """Each user with the partition of the user's first record."""
    return {a.event.user_id: a.record.partition for a in reversed(accepted)}


def set_aside(refusals: Sequence[Refusal], *, users: Users, topic: str) -> list[Outbound]:
    """Dead letters of what was refused, unless that was done before."""
    out = []
    for record, error in refusals:
        if record.offset >= users.owned[record.partition].listed_from:
            metrics.dead_letter(error.reason)
            out.append(dead_letter(record, error, topic=topic, stage="recommend"))
    return out


def _quiet(a: Accepted) -> bool:
    event = a.event
    return isinstance(event, Query) or getattr(event, "kind", "") == "impression"


def _popular(a: Accepted, outcome: Outcome, items: Items) -> None:
    """What people like makes an item popular, undone or not: approximate by nature."""
    event = a.event
    if outcome == "folded" and isinstance(event, Interaction):
        weight = items.law.weight(CODES[event.kind], event.value)
        items.catalogue.touch(item_hash(event.item_id), weight, a.at_ms)


def _elsewhere(a: Accepted, user: Held) -> DecodeError:
    return refused(
        "wrong_partition", "user_id", a.event.user_id,
        f"this user's records stand in partition {user.partition}, this one in "
        f"{a.record.partition}; let all producers use the murmur2 partitioner",
    )  # fmt: skip


def _too_late(a: Accepted) -> DecodeError:
    undoes = getattr(a.event, "undoes", "")
    return refused(
        "too_late_to_undo", "undoes", undoes,
        "it has left the ring, or is not an interaction (visits, queries and undos can't be "
        "undone): repeat the interaction's item_id, kind, value and at_ms as `of`",
    )  # fmt: skip
