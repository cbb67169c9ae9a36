"""The user tower: what a user touched, in order, as vectors to compare items with.

A causal transformer over the newest entries of the ring (SASRec: Kang, McAuley 2018), in whose
attention distance and time between two entries count (relative biases as in HSTU: Zhai 2024),
so that a page of films rated within one second is one thing. What was touched before stands
beside it as a weighted mean (long-term memory). Several interests a user, where asked for, come
from learned queries (ComiRec: Cen 2020); the best of them counts.

An item is what was learned of its id, as far as it was seen, plus a projection of its content:
an item that nobody touched has a vector too.

Shapes:  U = users,  L = places of the ring, newest last,  S = L + 1 (a start before them),
         N = items,  W = width,  C = content width,  K = interests,  H = heads
"""

from dataclasses import dataclass
from functools import cache
from typing import Annotated

import msgspec
import torch
from torch import Tensor, nn
from torch.nn.functional import (
    embedding,
    gelu,
    linear,
    scaled_dot_product_attention,
    softmax,
)

Positive = Annotated[int, msgspec.Meta(ge=1)]
Share = Annotated[float, msgspec.Meta(ge=0, lt=1)]

GAPS = 28  # buckets of time: none, under a second, then one a doubling up to two years
VALUES = 16
KINDS = 32
_FAR = 32  # places further apart than this are all one distance
_HIDDEN = -1e9
_START = (_FAR + 1) * GAPS  # row of the pair of the start and anything


class TowerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the net is. Another value is another net: nothing learned fits it."""

    width: Positive = 64
    """width of the vectors of users and items"""
    blocks: Positive = 1
    heads: Positive = 4
    length: Positive = 50
    """entries of the ring that are read, newest first to stay"""
    interests: Positive = 1
    """vectors a user; an item's score is the best of theirs"""
    content_width: Annotated[int, msgspec.Meta(ge=0)] = 0
    """width of the items' content vectors; 0: there are none"""
    aged_at_ms: Annotated[int, msgspec.Meta(ge=0)] = 0
    """the time that items' ages, which the last part of the content tells, are as of; 0: it does not"""
    dropout: Share = 0.2
    trust: Annotated[float, msgspec.Meta(ge=0)] = 2.0
    """events after which half of what was learned of an id counts: n / (n + trust)"""
    memory: bool = True
    """whether the weighted mean of all touched items is looked at"""
    gaps: bool = True
    """whether time between entries is looked at"""
    values: bool = True
    """whether kinds and values are looked at"""
    asked: bool = False
    """whether the time since the newest entry is looked at, where it is told"""


@dataclass(frozen=True, slots=True, eq=False)
class Entries:
    """The newest entries of rings. `item_UL`: rows of the item vectors. A row ends with its
    newest entry and is filled up at its front, with -1 (the other columns: anything)."""

    item_UL: Tensor
    at_ms_UL: Tensor
    kind_UL: Tensor
    value_UL: Tensor


class Tower(nn.Module):
    """`items` gives the vectors of items, `users` those of users by them."""

    def __init__(self, settings: TowerSettings, *, items: int) -> None:
        super().__init__()
        self.settings = settings
        width = settings.width
        self.id_NW = nn.Parameter(torch.randn(items, width) * 0.05)
        self.bias_N = nn.Parameter(torch.zeros(items))
        self.seen_N: Tensor
        self.register_buffer("seen_N", torch.zeros(items))
        self.content = (
            nn.Linear(settings.content_width, width) if settings.content_width else None
        )
        self.content_bias = (
            nn.Linear(settings.content_width, 1, bias=False)
            if settings.content_width
            else None
        )
        self.start_W = nn.Parameter(torch.randn(width) * 0.05)
        self.enter = nn.Linear(width, width)
        self.kind = nn.Embedding(KINDS, width)
        self.value = nn.Embedding(VALUES, width)
        self.gap = nn.Embedding(GAPS, width)
        for table in (self.kind, self.value, self.gap):
            nn.init.normal_(table.weight, std=0.02)
        self.enter_norm = nn.LayerNorm(width)
        self.drop = nn.Dropout(settings.dropout)
        columns = settings.blocks * settings.heads
        self.by_distance = nn.Parameter(torch.zeros(_FAR + 2, columns))
        self.by_time = nn.Embedding(GAPS, columns)
        nn.init.zeros_(self.by_time.weight)
        self.block = nn.ModuleList(Block(settings) for _ in range(settings.blocks))
        self.norm = nn.LayerNorm(width)
        self.head = Head(settings)
        self._kept: list[Tensor] = []

    def items(
        self, id_N: Tensor, content_NC: Tensor | None, *, drop_id: float = 0.0
    ) -> tuple[Tensor, Tensor]:
        """vector_NW, bias_N. `id_N`: rows of what was learned, -1: nothing was. `content_NC`:
        zero rows where there is none. `drop_id`: share of ids to forget, in training."""
        at_N = id_N.clamp_min(0)
        seen_N = self.seen_N[at_N] * (id_N >= 0)
        known_N = seen_N / (seen_N + self.settings.trust + 1e-6)
        if drop_id:
            known_N = known_N * (torch.rand(len(known_N)) >= drop_id)
        vector_NW = self.id_NW[at_N] * known_N[:, None]
        bias_N = self.bias_N[at_N] * known_N
        if self.content is None or self.content_bias is None or content_NC is None:
            return vector_NW, bias_N
        vector_NW = vector_NW + self.content(content_NC)
        return vector_NW, bias_N + self.content_bias(content_NC)[:, 0]

    def users(
        self,
        vector_NW: Tensor,
        entries: Entries,
        memory_UW: Tensor,
        *,
        now_ms_U: Tensor | None = None,
    ) -> Tensor:
        """user_UKW; each row depends on itself alone. `memory_UW`: weighted mean of the vectors
        of all that was touched, zero for none. `now_ms_U`: when it is asked, where it is known
        otherwise than by the newest entry."""
        item_UL = entries.item_UL
        none_U = item_UL[:, -1] < 0
        last_U = torch.where(none_U, 0, item_UL.shape[1])
        asked_U = torch.zeros(len(item_UL), dtype=torch.int32)
        if now_ms_U is not None:
            asked_U = torch.where(none_U, 0, gap_of(now_ms_U - entries.at_ms_UL[:, -1]))
        if self.head.query is None:
            hidden_UW = self.run(vector_NW, entries, last_U=last_U)[:, 0]
            pooled_UKW = hidden_UW[:, None]
        else:
            hidden_USW = self.run(vector_NW, entries)
            row_U = torch.arange(len(item_UL))
            hidden_UW = hidden_USW[row_U, last_U]
            pooled_UKW = self.head.pool(hidden_USW, visible(item_UL))[row_U, last_U]
        user_UKW: Tensor = self.head(hidden_UW, pooled_UKW, memory_UW, asked_U)
        return user_UKW

    def run(
        self, vector_NW: Tensor, entries: Entries, *, last_U: Tensor | None = None
    ) -> Tensor:
        """hidden_USW: what is known after the start (place 0) and after each entry. With
        `last_U` of these places alone (U x 1 x W): the last block then answers no others."""
        there_US, at_US = visible(entries.item_UL), None
        if self.settings.gaps:
            at_US = torch.cat([entries.at_ms_UL[:, :1], entries.at_ms_UL], dim=1)
        hidden_USW = self._entered(vector_NW, entries, at_US, there_US)
        *before, (final, bias_PH) = zip(self.block, self._biases(), strict=True)
        pair_UTS = self._pairs(at_US, there_US) if before or last_U is None else None
        for block, earlier_PH in before:
            hidden_USW = block(hidden_USW, pair_UTS, earlier_PH)
        if last_U is not None:
            pair_UTS = self._pairs(at_US, there_US, last_U=last_U)
        hidden_USW = final(hidden_USW, pair_UTS, bias_PH, last_U=last_U)
        found: Tensor = self.norm(hidden_USW)
        return found

    def _entered(
        self,
        vector_NW: Tensor,
        entries: Entries,
        at_US: Tensor | None,
        there_US: Tensor,
    ) -> Tensor:
        """hidden_USW: the start and the entries, before any block."""
        entry_ULW = self.enter(vector_NW[entries.item_UL.clamp_min(0)])
        if self.settings.values:
            value_UL = value_of(entries.value_UL)
            entry_ULW = entry_ULW + self.kind(entries.kind_UL) + self.value(value_UL)
        if at_US is not None:  # the time since the entry before, where there is one
            gap_UL = gap_of(at_US[:, 1:] - at_US[:, :-1])
            gap_UL[:, 0] = 0
            gap_UL[:, 1:] *= there_US[:, 1:-1]
            entry_ULW = entry_ULW + self.gap(gap_UL)
        start_UW = self.start_W.expand(len(entries.item_UL), -1)
        hidden_USW = torch.cat([start_UW[:, None], entry_ULW], dim=1)
        entered_USW: Tensor = self.drop(self.enter_norm(hidden_USW))
        return entered_USW

    def _pairs(
        self, at_US: Tensor | None, there_US: Tensor, *, last_U: Tensor | None = None
    ) -> Tensor:
        """pair_UTS: what lies between two places, as rows of `_biases`: distance and time; the
        last one where a place may not be seen. The start is at a distance of its own. T: all
        places, or with `last_U` that of each user alone."""
        apart_SS, itself_SS, hidden_SS = _apart(there_US.shape[1])
        unseen_US = ~there_US
        if last_U is None:
            pair_UTS = apart_SS.expand(len(there_US), -1, -1)
            # a place sees itself, filling or not, and nothing later
            hidden_UTS = (unseen_US[:, None, :] & ~itself_SS) | hidden_SS
        else:
            pair_UTS = apart_SS[last_U][:, None]
            hidden_UTS = (unseen_US | hidden_SS[last_U])[:, None]
        if at_US is not None:
            asked_UT = at_US if last_U is None else at_US.gather(1, last_U[:, None])
            pair_UTS = pair_UTS + gap_of(asked_UT[:, :, None] - at_US[:, None, :])
            # no time lies between the start and anything
            pair_UTS[:, :, 0] = _START
        return pair_UTS.masked_fill(hidden_UTS, GAPS * (_FAR + 2))

    def _biases(self) -> list[Tensor]:
        """For each block what is added to attention (pairs x heads). Kept, while the weights
        stand still."""
        if self._kept and not torch.is_grad_enabled():
            return self._kept
        bias_DGX = self.by_distance[:, None].expand(-1, GAPS, -1)
        if self.settings.gaps:
            bias_DGX = bias_DGX + self.by_time.weight
        bias_PX = torch.nn.functional.pad(
            bias_DGX.flatten(0, 1), (0, 0, 0, 1), value=_HIDDEN
        )
        made = [b.contiguous() for b in bias_PX.split(self.settings.heads, dim=1)]
        if not self.training and not torch.is_grad_enabled():
            self._kept = made
        return made

    def train(self, mode: bool = True) -> "Tower":
        """As torch's; what was read off the weights is read anew."""
        self._kept = []
        return super().train(mode)


@cache
def _apart(size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Of pairs of so many places: their distance as rows of `_biases`, which are one place, and
    which are not to be seen yet."""
    place_S = torch.arange(size, dtype=torch.int32)
    apart_SS = (place_S[:, None] - place_S[None, :]).clamp(0, _FAR) * GAPS
    apart_SS[:, 0] = _START
    return (
        apart_SS,
        place_S[None, :] == place_S[:, None],
        place_S[None, :] > place_S[:, None],
    )


class Block(nn.Module):
    """Attention and a two-layer net, each normed before and added after."""

    def __init__(self, settings: TowerSettings) -> None:
        super().__init__()
        width = settings.width
        self.heads = settings.heads
        self.norm = nn.LayerNorm(width)
        self.ask = nn.Linear(width, 3 * width)
        self.give = nn.Linear(width, width)
        self.after = nn.LayerNorm(width)
        self.widen = nn.Linear(width, 2 * width)
        self.narrow = nn.Linear(2 * width, width)
        self.drop = nn.Dropout(settings.dropout)

    def forward(
        self,
        hidden_USW: Tensor,
        pair_UTS: Tensor,
        bias_PH: Tensor,
        *,
        last_U: Tensor | None = None,
    ) -> Tensor:
        """What each place knows after it (T = S), or with `last_U` that place of each user
        alone (T = 1)."""
        normed_USW = self.norm(hidden_USW)
        if last_U is None:
            query, key, value = self._heads(self.ask(normed_USW), 3)
        else:
            width, weight, bias = hidden_USW.shape[-1], self.ask.weight, self.ask.bias
            key, value = self._heads(linear(normed_USW, weight[width:], bias[width:]), 2)
            at = torch.arange(len(last_U))[:, None], last_U[:, None]
            (query,) = self._heads(linear(normed_USW[at], weight[:width], bias[:width]), 1)
            hidden_USW = hidden_USW[at]
        bias_UHTS = embedding(pair_UTS, bias_PH).permute(0, 3, 1, 2)
        if torch.is_grad_enabled():  # where the bias learns, torch has nothing faster
            logit_UHTS = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
            seen_UHTV = softmax(logit_UHTS + bias_UHTS, dim=-1) @ value
        else:
            seen_UHTV = scaled_dot_product_attention(query, key, value, bias_UHTS)
        hidden_UTW = hidden_USW + self.drop(self.give(seen_UHTV.transpose(1, 2).flatten(2)))
        inner = self.drop(gelu(self.widen(self.after(hidden_UTW))))
        out: Tensor = hidden_UTW + self.drop(self.narrow(inner))
        return out

    def _heads(self, asked_USX: Tensor, parts: int) -> Tensor:
        """parts x U x heads x S x width of a head."""
        split_USPHV: Tensor = asked_USX.unflatten(-1, (parts, self.heads, -1))
        return split_USPHV.permute(2, 0, 3, 1, 4)


class Head(nn.Module):
    """Of what is hidden, of memory and of the time of asking: a user's interests."""

    def __init__(self, settings: TowerSettings) -> None:
        super().__init__()
        width = settings.width
        self.settings = settings
        self.asked = nn.Embedding(GAPS, width)
        nn.init.normal_(self.asked.weight, std=0.02)
        self.inner = nn.Linear(2 * width, 2 * width)
        self.outer = nn.Linear(2 * width, width)
        self.drop = nn.Dropout(settings.dropout)
        many = settings.interests if settings.interests > 1 else 0
        self.query = nn.Linear(width, many) if many else None
        self.interest_KWW = nn.Parameter(torch.randn(many, width, width) * width**-0.5)

    def pool(self, hidden_USW: Tensor, there_US: Tensor) -> Tensor:
        """USKW: for each interest what its query finds among the places up to each."""
        if self.query is None:
            return hidden_USW[:, :, None]
        wanted_USK = self.query(hidden_USW).clamp(-8, 8).exp() * there_US[..., None]
        sum_USKW = (wanted_USK[..., None] * hidden_USW[:, :, None]).cumsum(dim=1)
        found_USKW: Tensor = sum_USKW / wanted_USK.cumsum(dim=1)[..., None].clamp_min(1e-6)
        return found_USKW

    def forward(
        self, hidden_TW: Tensor, pooled_TKW: Tensor, memory_TW: Tensor, asked_T: Tensor
    ) -> Tensor:
        """TKW, of T places."""
        if not self.settings.memory:
            memory_TW = torch.zeros_like(memory_TW)
        if self.settings.asked:
            hidden_TW = hidden_TW + self.asked(asked_T)
        both = torch.cat([hidden_TW, memory_TW], dim=-1)
        user_TW = hidden_TW + self.outer(self.drop(gelu(self.inner(both))))
        user_TKW: Tensor = user_TW[:, None]
        if self.query is not None:
            user_TKW = user_TKW + torch.einsum(
                "tkw,kwv->tkv", pooled_TKW, self.interest_KWW
            )
        return user_TKW


def scores(user_UKW: Tensor, vector_NW: Tensor, bias_N: Tensor) -> Tensor:
    """score_UN: the best interest's product with the item, plus how often it is wanted."""
    best_UN = (user_UKW @ vector_NW.T).amax(dim=1)
    return best_UN + bias_N


def visible(item_UL: Tensor) -> Tensor:
    """there_US: the start always, an entry where it is no filling."""
    return torch.cat([torch.ones(len(item_UL), 1, dtype=torch.bool), item_UL >= 0], dim=1)


def gap_of(gap_ms: Tensor) -> Tensor:
    """Bucket of a time: 1 under a second (or before), then by doublings; 0 is for unknown."""
    seconds = gap_ms.to(torch.float32).clamp_min_(0).div_(1000)  # in place: there are many
    return seconds.add_(1).log2_().ceil_().add_(1).clamp_max_(GAPS - 1).int()


def value_of(value: Tensor) -> Tensor:
    """Bucket of a value: 0 for none, zero and below; stars keep apart, seconds by powers."""
    bucket = 1 + torch.floor(4 * torch.log2(1 + value.clamp(0, 1e6)))
    return torch.where(value > 0, bucket, 0.0).long().clamp_max(VALUES - 1)
