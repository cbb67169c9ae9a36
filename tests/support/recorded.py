"""Small recorded logs with known answers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from evaluation.recorded import Log, of_records
from schemas import Interaction, Item

MINUTE_MS = 60_000


def touch(user: str, item: str, at_ms: int, *, kind: str = "click") -> Interaction:
    return Interaction(
        event_id=f"{user}-{item}-{at_ms}",
        user_id=user,
        item_id=item,
        kind=kind,  # type: ignore[arg-type]
        at_ms=at_ms,
    )


def log_of(touches: Sequence[tuple[str, str]], items: str = "") -> Log:
    """A touch a minute, by (user, item); items of one letter, in this order."""
    return of_records(
        "small",
        [touch(user, item, n * MINUTE_MS) for n, (user, item) in enumerate(touches)],
        [Item(item_id=item, title=item, categories=[item.lower()]) for item in items],
    )


def chains(people: int, *, length: int = 6, items: int = 12, seed: int = 0) -> Log:
    """Everybody walks the same ring of items, from a place of his own: what comes next is
    known to whoever learnt what follows what, and popularity knows nothing."""
    rng = np.random.default_rng(seed)
    names = [f"i{n:02}" for n in range(items)]
    events = []
    for person in range(people):
        start = int(rng.integers(items))
        for step in range(length):
            at_ms = (person * length + step) * MINUTE_MS
            events.append(touch(f"u{person}", names[(start + step) % items], at_ms))
    catalogue = [
        Item(item_id=name, title=f"thing {name}", categories=[("odd", "even")[n % 2]])
        for n, name in enumerate(names)
    ]
    return of_records("chains", events, catalogue)
