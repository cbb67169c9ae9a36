"""What a worker knows of a user, and why an item is or is not in the list: as plain data.

Asked over HTTP (`rec user`, `rec why`), answered by the loop's thread between two batches.
"""

from typing import Any

import numpy as np

from encoders.interest import masses
from encoders.law import NAMES, hash64
from workers.health import Question
from workers.lists import Lists
from workers.ports import Ask
from workers.users import Held, Users

MOST = 20


def explain(asked: Question, users: Users, lists: Lists) -> dict[str, Any] | None:
    """The answer to a question, or None where this worker doesn't know the user."""
    user = _known(asked.user_id, users)
    if user is None:
        return None
    return _user(user, lists) if asked.kind == "user" else _why(user, asked.item_id, lists)


def _known(user_id: str, users: Users) -> Held | None:
    """The user, if one of our partitions has it; asking about strangers keeps nobody."""
    if user_id in users.held:
        return users.held[user_id]
    return users.peek(user_id)


def _user(user: Held, lists: Lists) -> dict[str, Any]:
    state, catalogue = user.state, lists.items.catalogue
    weights = _weights(user, lists)
    heaviest = sorted(weights.items(), key=lambda pair: -abs(pair[1]))[:MOST]
    newest = sorted(state.ring.rows.tolist(), key=lambda row: -row[2])[:MOST]
    return {
        "user_id": user.user_id,
        "partition": user.partition,
        "applied": state.applied,
        "as_of_ms": state.as_of_ms,
        "erased_at_ms": state.erased_at_ms if state.erased_at_ms >= 0 else None,
        "items": state.size,
        "seen": len(state.seen_items()),
        "ring": len(state.ring),
        "said": len(state.said),
        "shown": len(state.shown),
        "undone": len(state.undone),
        "heaviest": [
            {"item_id": catalogue.id_of(name), "weight": round(weight, 4)}
            for name, weight in heaviest
        ],
        "newest": [
            {
                "item_id": catalogue.id_of(item),
                "kind": NAMES[kind],
                "value": value,
                "at_ms": at,
            }
            for _, item, at, value, kind in newest
        ],
    }


def _why(user: Held, item_id: str, lists: Lists) -> dict[str, Any]:
    name, catalogue = hash64(item_id), lists.items.catalogue
    row = catalogue.row_of.get(name)
    if row is None:
        raise LookupError(f"no item {item_id!r} is known: not produced yet, or withdrawn")
    state = user.state
    bars = [
        why
        for why, holds in (
            ("seen: the user has touched it", name in set(state.seen_items().tolist())),
            ("not available", not catalogue.available[row]),
            ("expired", catalogue.expires_at_ms[row] <= state.as_of_ms),
        )
        if holds
    ]
    weights = _weights(user, lists)
    names = np.array([name, *weights], np.uint64)
    vectors, known = lists.items.index.vectors(names)
    likeness = vectors[1:] @ vectors[0]
    shares = likeness * np.array(list(weights.values()), np.float32)
    order = np.argsort(-np.abs(shares))[:MOST]
    return {
        "user_id": user.user_id,
        "item_id": item_id,
        "barred": bars,
        "indexed": bool(known[0]),
        "rank": _rank(user, name, lists) if known[0] and not bars else None,
        "popularity": round(float(catalogue.popularity[row]), 4),
        "because": [
            {
                "item_id": catalogue.id_of(int(names[1 + at])),
                "mass": round(float(weights[int(names[1 + at])]), 4),
                "likeness": round(float(likeness[at]), 4),
                "share": round(float(shares[at]), 4),
            }
            for at in order.tolist()
            if shares[at]
        ],
    }


def _weights(user: Held, lists: Lists) -> dict[int, float]:
    held = masses([user.state], heaviest=lists.config.heaviest)
    return dict(zip(held.item_E.tolist(), held.weight_E.tolist(), strict=True))


def _rank(user: Held, name: int, lists: Lists) -> int | None:
    """Place of the item among all that may be listed now, from 1; None beyond 1,000."""
    lists.encode_users([user])
    if not user.interest.any():
        return None
    found = lists.items.index.search(
        Ask(
            vector_UD=(user.interest / np.linalg.norm(user.interest))[None],
            as_of_ms_U=np.array([user.state.as_of_ms], np.int64),
            category_U=[""],
            exclude_U=[user.state.seen_items()],
        ),
        limit=1_000,
    )
    at = np.flatnonzero(found.hash_UK[0] == name)
    return int(at[0]) + 1 if len(at) else None
