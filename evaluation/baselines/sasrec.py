"""SASRec (Kang, McAuley 2018): causal self-attention over what a user touched, in order.

With the full softmax in place of sampled binary losses, which closes its gap to BERT4Rec
(Klenitskiy, Vasilev 2023).

Legend:  B = sequences of a batch,  L = places of a sequence,  W = width,  I = items
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from evaluation.baselines.scorer import Profiles, Scores
from evaluation.recorded import Event, Log


class Block(nn.Module):
    """Attention and two layers, norms first. `bias`: what is added before the softmax."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.norm, self.mix = nn.LayerNorm(width), nn.Linear(width, 3 * width)
        self.out, self.drop = nn.Linear(width, width), nn.Dropout(dropout)
        self.wide = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(),
            nn.Dropout(dropout), nn.Linear(2 * width, width),
        )  # fmt: skip

    def forward(self, hidden_BLW: Tensor, bias: Tensor) -> Tensor:
        batch, length, width = hidden_BLW.shape
        parts = self.mix(self.norm(hidden_BLW)).view(batch, length, 3, self.heads, -1)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        seen = nn.functional.scaled_dot_product_attention(
            query, key, value, bias, self.dropout if self.training else 0.0
        )
        seen_BLW = seen.transpose(1, 2).reshape(batch, length, width)
        hidden_BLW = hidden_BLW + self.drop(self.out(seen_BLW))
        found: Tensor = hidden_BLW + self.drop(self.wide(hidden_BLW))
        return found


class Attention(nn.Module):
    """Items in order -> a vector a place, to be compared with the items' own vectors.

    Places are told apart by a bias that falls with distance (Press et al. 2022, ALiBi), not by
    learnt vectors: a few hundred people teach too little of fifty places, and the newest
    events count most from the first step. Item 0 is padding, at the front; `start` is a
    sequence's beginning; ours are counted from 1."""

    def __init__(
        self, items: int, *, width: int, blocks: int, heads: int, dropout: float
    ) -> None:
        super().__init__()
        self.start = items + 1
        self.items = nn.Embedding(items + 2, width, padding_idx=0)
        nn.init.normal_(self.items.weight, std=0.05)
        self.drop = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(Block(width, heads, dropout) for _ in range(blocks))
        self.norm = nn.LayerNorm(width)
        self.bias = nn.Parameter(torch.zeros(items))
        # Heads look from one event back to all of them alike.
        self.slope_H = 2.0 ** torch.linspace(0, -5, heads)

    def forward(self, item_BL: Tensor) -> Tensor:
        length = item_BL.shape[1]
        place_L = torch.arange(length)
        back_LL = place_L[:, None] - place_L[None, :]
        bias = -self.slope_H[:, None, None] * back_LL.clamp(min=0)
        barred = (back_LL < 0) | (item_BL == 0)[:, None, None, :]
        # Padding may look at itself, so that no row is all barred.
        barred = barred & ~torch.eye(length, dtype=torch.bool)
        bias = bias[None].masked_fill(barred, -torch.inf)
        hidden_BLW = self.drop(self.items(item_BL))
        for block in self.blocks:
            hidden_BLW = block(hidden_BLW, bias)
        found: Tensor = self.norm(hidden_BLW)
        return found

    def scores(self, hidden: Tensor) -> Tensor:
        return hidden @ self.items.weight[1:-1].T + self.bias


@dataclass(slots=True)
class SasRec:
    """`epochs` over the history, newest windows of each user; then, every `tune_each` events
    of the stream (0: never), `tune_epochs` over the windows of the newest `tune_over` events."""

    width: int = 64
    blocks: int = 2
    heads: int = 4
    length: int = 50
    dropout: float = 0.2
    epochs: int = 16
    rate: float = 4e-3
    decay: float = 0.0
    batch: int = 16
    smoothing: float = 0.0
    tune_each: int = 0
    tune_epochs: int = 1
    tune_over: int = 5_000
    tune_rate: float = 5e-4
    seed: int = 0
    profiles: Profiles = field(default_factory=Profiles)
    net: Attention = field(init=False)
    _rng: torch.Generator = field(init=False)
    _recent: list[int] = field(default_factory=list)
    _since: int = 0

    def fit(self, history: Log) -> None:
        torch.manual_seed(self.seed)  # dropout and the first weights take no generator
        self._rng = torch.Generator().manual_seed(self.seed)
        self.net = Attention(
            len(history.items), width=self.width, blocks=self.blocks, heads=self.heads,
            dropout=self.dropout,
        )  # fmt: skip
        for event in history.each():
            self._note(event)
        everyone = sorted(set(history.user_E.tolist()))
        windows = [w for user in everyone for w in self._windows(user)]
        solver = torch.optim.AdamW(
            self.net.parameters(), self.rate, weight_decay=self.decay
        )
        steps = self.epochs * -(-len(windows) // self.batch)
        slower = torch.optim.lr_scheduler.OneCycleLR(solver, self.rate, total_steps=steps)
        for _ in range(self.epochs):
            self._epoch(windows, solver, slower)

    def score(self, user: int, at_ms: int) -> Scores:
        known = self.profiles.known(user, at_ms, self.length)[::-1]
        item_BL = torch.tensor(
            [[self.net.start, *(item + 1 for item in known)][-self.length :]]
        )
        self.net.eval()
        with torch.inference_mode():
            found: Scores = self.net.scores(self.net(item_BL)[0, -1]).numpy()
        return found

    def apply(self, event: Event) -> None:
        self._note(event)
        self._since += 1
        if self.tune_each and self._since >= self.tune_each:
            self._since = 0
            users = sorted(set(self._recent[-self.tune_over :]))
            windows = [w for user in users for w in self._windows(user)[:2]]
            solver = torch.optim.AdamW(self.net.parameters(), self.tune_rate)
            for _ in range(self.tune_epochs):
                self._epoch(windows, solver, None)

    def _note(self, event: Event) -> None:
        if event.wanted:
            self.profiles.add(event)
            self._recent.append(event.user)

    def _windows(self, user: int) -> list[list[int]]:
        """The user's items from 1, with the start before them, cut from the newest on
        into windows of length + 1 that share one item."""
        items = [
            self.net.start,
            *(item + 1 for item in self.profiles.newest(user, 1 << 30)[::-1]),
        ]
        ends = range(len(items), 1, -self.length)
        return [items[max(0, end - self.length - 1) : end] for end in ends]

    def _epoch(
        self,
        windows: Sequence[list[int]],
        solver: torch.optim.Optimizer,
        slower: torch.optim.lr_scheduler.LRScheduler | None,
    ) -> None:
        self.net.train()
        order = torch.randperm(len(windows), generator=self._rng).tolist()
        for start in range(0, len(order), self.batch):
            rows = [windows[n] for n in order[start : start + self.batch]]
            loss = self._loss(padded(rows))
            solver.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
            solver.step()
            if slower is not None:
                slower.step()

    def _loss(self, item_BL: Tensor) -> Tensor:
        hidden_BLW = self.net(item_BL[:, :-1])
        wanted = (
            item_BL[:, :-1] > 0
        )  # what follows padding is a start, and nobody guesses it
        return nn.functional.cross_entropy(
            self.net.scores(hidden_BLW[wanted]),
            item_BL[:, 1:][wanted] - 1,
            label_smoothing=self.smoothing,
        )


def padded(rows: Sequence[list[int]]) -> Tensor:
    """B x L, filled up with 0 before the first item."""
    length = max(map(len, rows))
    filled = np.zeros((len(rows), length), np.int64)
    for n, row in enumerate(rows):
        filled[n, length - len(row) :] = row
    return torch.from_numpy(filled)
