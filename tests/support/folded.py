"""Events folded into a user's state, and the state held against the plain oracle."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from encoders.interest import interest, masses
from encoders.law import Law, hash64
from encoders.state import Outcome, UserState, fold, new_state
from schemas import Event, Interaction
from tests.support.oracle import interest_of, oracle

LAW = Law()
WIDTH = 8
NOW = 1_764_000_000_000
ITEMS = [f"i{n}" for n in range(12)]
SPACE = "space-1"
VECTORS = {
    hash64(name): np.random.default_rng(at).standard_normal(WIDTH).astype(np.float32)
    for at, name in enumerate(ITEMS)
}


def folded(
    events: Sequence[Event], law: Law = LAW, state: UserState | None = None
) -> UserState:
    state = state or new_state(law)
    for event in events:
        fold(state, event, offset=state.applied + 1, at_ms=event.at_ms)
    return state


def vectors_of(hashes: Any) -> tuple[torch.Tensor, torch.Tensor]:
    rows = [VECTORS.get(int(h), np.zeros(WIDTH, np.float32)) for h in hashes]
    known = [int(h) in VECTORS for h in hashes]
    return torch.from_numpy(np.array(rows, np.float32).reshape(-1, WIDTH)), torch.tensor(
        known
    )


def interest_unit(state: UserState) -> Any:
    held = masses([state], heaviest=512)
    vector = interest([state], held, vectors_of, width=WIDTH, encoder=SPACE)[0].numpy()
    length = np.linalg.norm(vector)
    return vector / length if length else vector


def assert_lawful(state: UserState, events: Sequence[Event], law: Law = LAW) -> None:
    expected = oracle(events, law)
    assert set(state.seen_items().tolist()) == expected.seen
    assert state.as_of_ms == expected.as_of_ms
    wanted = interest_of(expected, VECTORS, SPACE)
    if np.linalg.norm(wanted):
        np.testing.assert_allclose(interest_unit(state), wanted, atol=2e-5)


def click(event_id: str, item: str = "i1", at_ms: int = NOW, **more: Any) -> Interaction:
    kind = more.pop("kind", "click")
    return Interaction(
        event_id=event_id, user_id="u", item_id=item, kind=kind, at_ms=at_ms, **more
    )


def outcome(state: UserState, event: Event) -> Outcome:
    return fold(state, event, offset=state.applied + 1, at_ms=event.at_ms)
