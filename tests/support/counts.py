"""A small learner for tests: what follows what, over what is popular. It really learns.

A module with `learn` and `judge`, as `train.learner` wants it. A file of it has `items` (the
hashes), `cf.popular` (counts), and for each pair that was seen one after the other `cf.from`,
`cf.to` and `cf.times`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from encoders.law import IMPRESSION
from ranking.learn_log import Judged, LearnLog

PLACES = 20


def learn(
    log: LearnLog,
    *,
    previous: Mapping[str, Tensor] | None,
    seed: int,
    progress: Callable[[str, float], None],
    **_: object,
) -> dict[str, Tensor]:
    popular: Counter[int] = Counter()
    follows: Counter[tuple[int, int]] = Counter()
    last: dict[int, int] = {}
    pairs = zip(log.user_E.tolist(), log.item_E.tolist(), strict=True)
    for at, (user, item) in enumerate(pairs):
        if at % 100 == 0:
            progress("count", at / len(log))
        popular[item] += 1
        if user in last:
            follows[last[user], item] += 1
        last[user] = item
    row = {name: at for at, name in enumerate(sorted(popular))}
    edges = sorted((row[a], row[b], n) for (a, b), n in follows.items())
    table = torch.tensor(edges, dtype=torch.int64).reshape(-1, 3)
    return {
        "items": _signed(sorted(popular)),
        "cf.popular": torch.tensor([popular[name] for name in row], dtype=torch.int64),
        "cf.from": table[:, 0].contiguous(),
        "cf.to": table[:, 1].contiguous(),
        "cf.times": table[:, 2].contiguous(),
    }


def judge(
    tensors: Mapping[str, Tensor] | None, log: LearnLog, *, newest: int, **_: object
) -> Judged:
    """Without a model: by what was popular before the newest events."""
    start = len(log) - newest
    known = tensors or learn(
        log.before(newest), previous=None, seed=0, progress=lambda *_: None
    )
    names = known["items"].numpy().view(np.uint64).tolist()
    popular = np.argsort(-known["cf.popular"].numpy(), kind="stable")
    follows = defaultdict(list)
    if tensors is not None:
        for a, b, times in zip(
            tensors["cf.from"].tolist(), tensors["cf.to"].tolist(),
            tensors["cf.times"].tolist(), strict=True,
        ):  # fmt: skip
            follows[names[a]].append((-times, names[b]))
    last: dict[int, int] = {}
    hits = np.full(newest, np.nan, np.float32)
    users, items, kinds = log.user_E.tolist(), log.item_E.tolist(), log.kind_E.tolist()
    for at, (user, item) in enumerate(zip(users, items, strict=True)):
        if at >= start and kinds[at] != IMPRESSION:
            listed = [name for _, name in sorted(follows.get(last.get(user, 0), ()))]
            listed += [names[row] for row in popular.tolist()]
            hits[at - start] = item in list(dict.fromkeys(listed))[:PLACES]
        last[user] = item
    return Judged(hits)


def _signed(names: list[int]) -> Tensor:
    return torch.from_numpy(np.array(names, np.uint64).view(np.int64))
