"""What many people do, and how to tell that all of it arrived once and was folded right."""

from __future__ import annotations

import random
from typing import Any

import pytest

from encoders.law import Law
from encoders.persist import loads
from schemas import Event, Interaction, Undo
from tests.support.oracle import oracle
from tests.support.spine import Reader
from workers.ports import UserStore, point_id_of

NOW = 1_764_000_000_000
ITEMS = [f"i{n}" for n in range(60)]


def history(start: int, count: int, users: int = 40, seed: int = 0) -> list[Event]:
    """Clicks, ratings and some undos of many users, late ones among them."""
    random_ = random.Random(seed + start)
    out: list[Event] = []
    for n in range(start, start + count):
        user = f"u{random_.randrange(users)}"
        at_ms = NOW + n * 1_000 - random_.randrange(40_000)
        earlier = [e for e in out if isinstance(e, Interaction) and e.user_id == user]
        if earlier and random_.random() < 0.08:
            undoes = random_.choice(earlier).event_id
            out.append(Undo(event_id=f"e{n}", user_id=user, undoes=undoes, at_ms=at_ms))
            continue
        kind: Any = random_.choice(["view", "click", "purchase", "rating", "hide"])
        value = float(random_.randrange(1, 6)) if kind == "rating" else None
        out.append(
            Interaction(
                event_id=f"e{n}", user_id=user, item_id=random_.choice(ITEMS), kind=kind,
                at_ms=at_ms, value=value,
            )
        )  # fmt: skip
    return out


def assert_answered_once(reader: Reader, events: list[Event]) -> None:
    reader.until([e.event_id for e in events], limit_s=120)
    reader.settle()
    doubled = {event: n for event, n in reader.named.items() if n > 1}
    assert not doubled


def assert_users_are_lawful(store: UserStore, events: list[Event]) -> None:
    law = Law()
    for user_id in {e.user_id for e in events}:
        mine = [e for e in events if e.user_id == user_id]
        expected = oracle(mine, law)
        stored = store.load([point_id_of(user_id)])[point_id_of(user_id)]
        state = loads(stored.state, law=law, applied=stored.applied.offset)
        assert set(state.seen_items().tolist()) == expected.seen, user_id
        assert state.as_of_ms == expected.as_of_ms
        assert_masses(state, expected.mass, law)


def assert_masses(state: Any, expected: dict[int, float], law: Law) -> None:
    at = [
        (ref - state.as_of_ms) / hl
        for ref, hl in zip(state.ref_ms, law.half_life_ms, strict=True)
    ]
    for name, slot in state.slot_of.items():
        mass = sum(
            float(state.total[slot, c]) * 2.0 ** at[c]
            for c in range(3)
            if state.total[slot, c]
        )
        assert mass == pytest.approx(expected.get(name, 0.0), abs=1e-5), name
    assert {n for n, m in expected.items() if abs(m) > 1e-5} <= state.slot_of.keys()
