"""SASRec (Kang, McAuley 2018): causal self-attention over what a user touched, in order.

With the full softmax in place of sampled binary losses, which closes its gap to BERT4Rec
(Klenitskiy, Vasilev 2023). It learns what it is asked: what a user touched already, or what
nobody had touched yet, is no candidate, as it is none in a list.

Legend:  B = windows of a batch,  L = places of a window,  T = targets,  W = width,  I = items
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import cos, pi
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from evaluation.baselines.scorer import Profiles, Scores
from evaluation.recorded import Event, Ints, Log

_NEVER = (1 << 63) - 1


class Block(nn.Module):
    """Attention and two layers, norms first. `bias`: what is added before the softmax."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
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
        seen = nn.functional.scaled_dot_product_attention(query, key, value, bias)
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


class Window(NamedTuple):
    """Part of what a user touched, counted from 1: the last `targets` of `item_L` are to be
    foretold, `past` is what he touched before the part."""

    item_L: Ints
    at_ms_L: Ints
    past: Ints
    targets: int


@dataclass(slots=True)
class SasRec:
    """`epochs` over the history in windows of `length`, cut anew each time; then, every
    `tune_each` events of the stream (0: never), `tune_epochs` over the newest `tune_over`
    events, at a rate that falls to 0, and `replay` older windows for each of theirs."""

    width: int = 64
    blocks: int = 2
    heads: int = 4
    length: int = 50
    dropout: float = 0.2
    epochs: int = 16
    rate: float = 4e-3
    batch: int = 16
    tune_each: int = 0
    tune_epochs: int = 2
    tune_over: int = 20_000
    tune_rate: float = 1e-3
    replay: float = 0.5
    seed: int = 0
    profiles: Profiles = field(default_factory=Profiles)
    net: Attention = field(init=False)
    _chance: np.random.Generator = field(init=False)
    _solver: torch.optim.Optimizer = field(init=False)
    _born_ms_I: Ints = field(init=False)
    _recent: deque[tuple[int, int]] = field(init=False)
    _since: int = 0

    def fit(self, history: Log) -> None:
        torch.manual_seed(self.seed)  # dropout and the first weights take no generator
        self._chance = np.random.default_rng(self.seed)
        self.net = Attention(
            len(history.items), width=self.width, blocks=self.blocks, heads=self.heads,
            dropout=self.dropout,
        )  # fmt: skip
        self._solver = torch.optim.AdamW(self.net.parameters(), weight_decay=0.0)
        self._born_ms_I = np.full(len(history.items), _NEVER)
        self._recent = deque(maxlen=self.tune_over)
        for event in history.each():
            self._note(event)
        for epoch in range(self.epochs):
            windows = [w for user in self.profiles.users() for w in self._windows(user)]
            for part, batch in self._batches(windows):
                self._step(batch, self.rate * warmth((epoch + part) / self.epochs))

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
            for epoch in range(self.tune_epochs):
                for part, batch in self._batches(self._newest()):
                    done = (epoch + part) / self.tune_epochs
                    self._step(batch, self.tune_rate * (1 - done))

    def _note(self, event: Event) -> None:
        if event.wanted:
            self.profiles.add(event)
            self._recent.append((event.user, event.at_ms))
            self._born_ms_I[event.item] = min(self._born_ms_I[event.item], event.at_ms)

    def _windows(self, user: int, since_ms: int = 0) -> list[Window]:
        """All of the user's events from `since_ms` on as targets of one window each, cut at
        drawn places; what he did within one second stands in an order drawn anew, as the
        log's order of it is arbitrary."""
        items, at_ms = map(np.array, self.profiles.told(user))
        second = at_ms // 1000
        order = np.lexsort((self._chance.random(len(items)), second))
        item_L = np.concatenate([[self.net.start], items[order] + 1])
        at_ms_L = np.concatenate([[0], at_ms[order]])
        first = 1 + int(np.searchsorted(second, since_ms // 1000))
        end, cut = len(item_L), len(item_L)
        if end - first > self.length:
            cut = first + int(self._chance.integers(1, self.length + 1))
        found = []
        for low, high in pairwise([first, *range(cut, end, self.length), end]):
            begin = max(0, min(low, high - self.length) - 1)
            part = slice(begin, high)
            found.append(Window(item_L[part], at_ms_L[part], item_L[:begin], high - low))
        return found

    def _newest(self) -> list[Window]:
        """Windows of the newest events, and older ones drawn among all."""
        since_ms, users = self._recent[0][1], sorted({user for user, _ in self._recent})
        new = [w for user in users for w in self._windows(user, since_ms)]
        old = [w for user in self.profiles.users() for w in self._windows(user)]
        many = min(int(self.replay * len(new)), len(old))
        drawn = self._chance.choice(len(old), many, replace=False).tolist()
        return new + [old[n] for n in drawn]

    def _batches(self, windows: Sequence[Window]) -> Iterator[tuple[float, list[Window]]]:
        """How much is done, and a batch: windows of one size side by side, less filling."""
        size_B = np.array([len(w.item_L) for w in windows])
        near_B = np.argsort(size_B + 4 * self._chance.random(len(size_B)))
        parts = np.array_split(near_B, -(-len(windows) // self.batch))
        for n, at in enumerate(self._chance.permutation(len(parts)).tolist()):
            yield n / len(parts), [windows[row] for row in parts[at].tolist()]

    def _step(self, windows: Sequence[Window], rate: float) -> None:
        self.net.train()
        for group in self._solver.param_groups:
            group["lr"] = rate
        self._solver.zero_grad()
        self._loss(windows).backward()
        nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        self._solver.step()

    def _loss(self, windows: Sequence[Window]) -> Tensor:
        item_BL = padded([w.item_L for w in windows])
        at_ms_BL = padded([w.at_ms_L for w in windows])
        place_L = np.arange(item_BL.shape[1])
        first_BI = first_places(windows, self.net.start + 1)
        asked_BL = place_L >= len(place_L) - np.array([[w.targets] for w in windows])
        # What comes a second time is never asked for.
        asked_BL &= np.take_along_axis(first_BI, item_BL, axis=1) == place_L
        row_T, place_T = np.nonzero(asked_BL)
        target_T = torch.from_numpy(item_BL[row_T, place_T] - 1)
        touched_TI = first_BI[row_T, 1:-1] < place_T[:, None].astype(np.int16)
        unborn_TI = self._born_ms_I > at_ms_BL[row_T, place_T][:, None]
        hidden_BLW = self.net(torch.from_numpy(item_BL[:, :-1]))
        score_TI = self.net.scores(hidden_BLW[row_T, place_T - 1]).masked_fill(
            torch.from_numpy(touched_TI | unborn_TI), -torch.inf
        )
        loss = nn.functional.cross_entropy(score_TI, target_T, reduction="sum")
        return loss / max(len(target_T), 1)


def warmth(done: float) -> float:
    """The rate's share of its highest: up as a cosine until .3 is done, and down again
    (Smith 2018)."""
    if done < 0.3:
        return 0.04 + 0.48 * (1 - cos(pi * done / 0.3))
    return (1 + cos(pi * (done - 0.3) / 0.7)) / 2


def first_places(windows: Sequence[Window], items: int) -> npt.NDArray[np.int16]:
    """B x I: the place of each item in a window as it is filled up, -1 where it was touched
    before, a far one where it is not."""
    many = max(len(w.item_L) for w in windows)
    place_BI = np.full((len(windows), items), 1 << 14, np.int16)
    for row_I, window in zip(place_BI, windows, strict=True):
        row_I[window.item_L[::-1]] = np.arange(many - 1, many - 1 - len(window.item_L), -1)
        row_I[window.past] = -1
    return place_BI


def padded(rows: Sequence[Ints]) -> Ints:
    """B x L, filled up with 0 before the first item."""
    length = max(map(len, rows))
    filled = np.zeros((len(rows), length), np.int64)
    for n, row in enumerate(rows):
        filled[n, length - len(row) :] = row
    return filled
