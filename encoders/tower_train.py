"""The tower is learned by foretelling each next item. Arrays in, a model out.

All places of a window at once; cross-entropy over all items, or over a sample of them with
logQ correction (Bengio, Senecal 2003; Yi 2019) where there are many. What a user touched
already is no candidate, as it is none in a list. New examples count for more: an old window is
left out, or counts for less, by its age.

Shapes:  E = events,  B = windows of a batch,  T = targets,  N = items of the catalogue,
         I = items that a batch needs,  C = content width,  W = width
"""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from math import cos, pi
from typing import Annotated, Literal

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from encoders.tower import Tower, TowerSettings, gap_of, scores, visible
from encoders.tower_data import Batch, Histories, Touches, Windows, batch, before, windows
from encoders.tower_model import TowerModel, checked

Positive = Annotated[int, msgspec.Meta(ge=1)]
Above = Annotated[float, msgspec.Meta(gt=0)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Progress = Callable[[float, float], None]
"""Called after each step with the share that is done, 0 to 1, and the step's loss."""

DAY_MS = 86_400_000
_UNSEEN = 1 << 30
_NEVER = -1e9


class TowerTraining(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a tower is learned."""

    epochs: Positive = 16
    """times that the newest examples are seen; older ones less often"""
    batch: Positive = 16
    """windows a batch"""
    optimizer: Literal["adam", "sgd"] = "adam"
    """Adam with decoupled weight decay, or SGD with momentum .9"""
    learning_rate: Above = 8e-3
    """at its highest; it rises over the first twentieth and falls as a cosine"""
    weight_decay: float = 0.01
    half_life_days: Above = 60.0
    """an example this much older than the newest counts for half"""
    drop_id: Share = 0.1
    """how often an item has to do by its content"""
    shuffle: bool = True
    """whether the order within one second is drawn anew in each epoch"""
    smoothing: Share = 0.0
    """share of the target's probability that is spread over all items"""
    told: Share = 0.5
    """how often the time of asking is told, where the net looks at it"""
    born: bool = True
    """whether an item is a candidate only from its first touch on: before, it may not have been there"""
    repeats: bool = False
    """whether what was touched already is a candidate again"""
    full: int = 20_000
    """items up to which all are candidates; beyond, a sample is"""
    samples: Positive = 4_096
    """size of the sample"""
    flatten: Share = 0.75
    """a sample draws by how often an item occurs to this power"""
    seed: int = 0


class FineTuning(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a tower learns what is new."""

    epochs: Positive = 2
    optimizer: Literal["adam", "sgd"] = "adam"
    learning_rate: Above = 3e-4
    recent: Positive = 4_000
    """newest events that are foretold"""
    replay: Share = 0.5
    """share of windows of older events among them"""


def train(
    touches: Touches,
    content_NC: NDArray[np.float32] | None,
    hash_N: NDArray[np.uint64],
    *,
    settings: TowerSettings,
    training: TowerTraining | None = None,
    progress: Progress | None = None,
) -> TowerModel:
    """A tower of these events. `touches` are in order of time, their items rows of `hash_N`.
    The same arguments give the same model on one machine and with one number of threads.

    Raises ValueError where there is nothing to learn from, or content does not fit.
    """
    training = training or TowerTraining()
    if not len(touches):
        raise ValueError("0 events: a tower needs some; read the log from further back")
    with torch.random.fork_rng(devices=[]):  # nets begin, and drop features, by one seed
        torch.manual_seed(training.seed)
        net = Tower(settings, items=len(hash_N))
        net.seen_N += _count(touches, len(hash_N))
        course = _Course(
            touches, content=checked(content_NC, items=len(hash_N), settings=settings),
            items=len(hash_N), training=training,
        )  # fmt: skip
        _learn(net, course, progress)
    return TowerModel.of(net, hash_N)


def fine_tune(
    model: TowerModel,
    touches: Touches,
    content_NC: NDArray[np.float32] | None,
    hash_N: NDArray[np.uint64],
    *,
    new: int,
    tuning: FineTuning | None = None,
    training: TowerTraining | None = None,
    progress: Progress | None = None,
) -> TowerModel:
    """The model, after having learned the newest of these events; the given one stays as it
    is. `touches`: all that is remembered, in order of time, of which the last `new` were not
    learned from before. `hash_N` begins with the model's items; more may follow.

    Raises ValueError where `hash_N` does not begin so, or content does not fit.
    """
    tuning, training = tuning or FineTuning(), training or TowerTraining()
    if not np.array_equal(hash_N[: len(model.hash_N)], model.hash_N):
        raise ValueError(
            f"hash_N does not begin with the {len(model.hash_N)} items of {model.version}: "
            "append new items at its end"
        )
    training = msgspec.structs.replace(
        training, epochs=tuning.epochs, learning_rate=tuning.learning_rate,
        optimizer=tuning.optimizer,
        seed=training.seed + len(touches),
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(training.seed)
        net = _grown(model.net, len(hash_N))
        net.seen_N += _count(
            touches.part(max(0, len(touches) - new), len(touches)), len(hash_N)
        )
        course = _Course(
            touches, content=checked(content_NC, items=len(hash_N), settings=net.settings),
            items=len(hash_N), training=training,
            since=max(0, len(touches) - tuning.recent), replay=tuning.replay,
        )  # fmt: skip
        _learn(net, course, progress)
    return TowerModel.of(net, hash_N)


def _learn(net: Tower, course: "_Course", progress: Progress | None) -> None:
    training = course.training
    solver = _optimizer(net, training)
    net.train().requires_grad_(True)
    for done, (histories, chosen) in course.batches(net.settings.length):
        for group in solver.param_groups:
            group["lr"] = training.learning_rate * course.warmth(done)
        loss = _loss(net, course, histories, chosen)
        solver.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        solver.step()
        if progress is not None:
            progress(done, float(loss.detach()))
    net.eval()


@dataclass(slots=True)
class _Course:
    """Everything that is learned from, and the order of it, by one seed."""

    touches: Touches
    content: Tensor | None
    items: int
    training: TowerTraining
    since: int = 0
    replay: float = 0.0
    chance: np.random.Generator = None  # type: ignore[assignment]
    log_q_N: NDArray[np.float64] = None  # type: ignore[assignment]
    first_ms_N: Tensor = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        first_ms_N = np.full(self.items, np.iinfo(np.int64).max)
        np.minimum.at(first_ms_N, self.touches.item_E, self.touches.at_ms_E)
        self.first_ms_N = torch.from_numpy(first_ms_N)
        self.chance = np.random.default_rng(self.training.seed)
        often_N = np.bincount(self.touches.item_E, minlength=self.items) + 1.0
        flat_N = often_N**self.training.flatten
        self.log_q_N = np.log(flat_N / flat_N.sum())

    def warmth(self, done: float) -> float:
        """Of the learning rate, at this share of the way. What goes on is warm already."""
        if self.since:
            return 1.0
        return min(done / 0.05, 1.0) * (0.02 + 0.98 * (1 + cos(pi * done)) / 2)

    def batches(self, length: int) -> Iterator[tuple[float, tuple[Histories, Windows]]]:
        """How much is done after each, and the batch."""
        epochs, size = self.training.epochs, self.training.batch
        for epoch in range(epochs):
            histories = Histories.of(
                self.touches, self.chance if self.training.shuffle else None
            )
            chosen = self._chosen(histories, length)
            many = -(-len(chosen) // size)
            # windows of one size side by side: less filling
            span_B = chosen.end_B - chosen.begin_B + self.chance.random(len(chosen)) * 4
            parts = np.array_split(np.argsort(span_B, kind="stable"), many)
            for n, at in enumerate(self.chance.permutation(many).tolist(), start=1):
                yield (epoch + n / many) / epochs, (histories, chosen.at(parts[at]))

    def _chosen(self, histories: Histories, length: int) -> Windows:
        """New windows; and of old ones some, drawn by age or to be replayed."""
        found = windows(histories, length=length, chance=self.chance, since=self.since)
        if not self.since:
            keep_B = self.chance.random(len(found)) < self._age(histories, found.end_B - 1)
            return found.at(np.flatnonzero(keep_B)) if keep_B.any() else found
        old = windows(histories, length=length, chance=self.chance)
        chance_B = self._age(histories, old.end_B - 1)
        many = min(int(len(found) * self.replay / max(1 - self.replay, 0.1)), len(old))
        drawn = self.chance.choice(
            len(old), many, replace=False, p=chance_B / chance_B.sum()
        )
        again = old.at(drawn)
        pairs = ("begin_B", "target_B", "end_B")
        return Windows(
            *(np.concatenate([getattr(found, p), getattr(again, p)]) for p in pairs)
        )

    def _age(self, histories: Histories, place: NDArray[np.int64]) -> NDArray[np.float64]:
        """1 for the newest event, half of it a half-life before."""
        at_ms = histories.touches.at_ms_E
        days = (at_ms.max() - at_ms[place]) / DAY_MS
        age: NDArray[np.float64] = np.exp2(-days / self.training.half_life_days)
        return age

    def weight(self, histories: Histories, chosen: Windows, said: Batch) -> Tensor:
        """weight_T: an event's age, as far as drawing its window has not seen to it."""
        own_T = self._age(histories, said.event_T.numpy())
        drawn_B = self._age(histories, chosen.end_B - 1)
        return torch.from_numpy((own_T / drawn_B[said.row_T.numpy()]).astype(np.float32))


def _loss(net: Tower, course: _Course, histories: Histories, chosen: Windows) -> Tensor:
    training, said = course.training, batch(histories, chosen)
    mass_BN, touched_BN = before(histories, chosen.begin_B, items=course.items)
    need_I, sampled_I = _needed(course, histories, chosen, touched_BN)
    here_N = torch.full((course.items,), -1)
    here_N[need_I] = torch.arange(len(need_I))
    content_IC = None if course.content is None else course.content[need_I]
    vector_IW, bias_I = net.items(need_I, content_IC, drop_id=training.drop_id)
    raw_BL = said.entries.item_UL
    item_BL = torch.where(raw_BL >= 0, here_N[raw_BL.clamp_min(0)], -1)
    hidden_BSW = net.run(vector_IW, replace(said.entries, item_UL=item_BL))
    place_T = (said.row_T, said.place_T)
    user_TKW = net.head(
        hidden_BSW[place_T],
        net.head.pool(hidden_BSW, visible(item_BL))[place_T],
        _memory(vector_IW, item_BL, said, mass_BN[:, need_I])[place_T],
        _asked(histories, said, training),
    )
    target_T = here_N[torch.from_numpy(histories.touches.item_E)[said.event_T]]
    logit_TI = scores(user_TKW, vector_IW, bias_I)
    if training.born:
        at_ms_T = torch.from_numpy(histories.touches.at_ms_E)[said.event_T]
        unborn_TI = course.first_ms_N[need_I][None, :] > at_ms_T[:, None]
        logit_TI = logit_TI.masked_fill(unborn_TI, _NEVER)
    if not training.repeats:
        past_TI = _past(item_BL, touched_BN[:, need_I], said)
        past_TI[torch.arange(len(target_T)), target_T] = False
        logit_TI = logit_TI.masked_fill(past_TI, _NEVER)
    if sampled_I is not None:
        logit_TI = corrected(logit_TI, target_T, sampled_I)
    loss_T = cross_entropy(
        logit_TI, target_T, reduction="none", label_smoothing=training.smoothing
    )
    weight_T = course.weight(histories, chosen, said)
    return (loss_T * weight_T).sum() / weight_T.sum()


def _needed(
    course: _Course, histories: Histories, chosen: Windows, touched_BN: Tensor
) -> tuple[Tensor, Tensor | None]:
    """The items whose vectors a batch needs; and, where candidates are drawn, of each of them
    log(times drawn / times expected), -inf where it was not drawn."""
    if course.items <= course.training.full:
        return torch.arange(course.items), None
    samples = course.training.samples
    drawn = course.chance.choice(course.items, samples, p=np.exp(course.log_q_N))
    drawn_C, times_C = np.unique(drawn, return_counts=True)
    item_G = histories.touches.item_E
    inside = [item_G[b:e] for b, e in zip(chosen.begin_B, chosen.end_B, strict=True)]
    past = np.flatnonzero(touched_BN.any(dim=0).numpy())
    need_I = np.unique(np.concatenate([drawn_C, past, *inside]))
    sampled_I = np.full(len(need_I), -np.inf)
    sampled_I[np.searchsorted(need_I, drawn_C)] = (
        np.log(times_C) - np.log(samples) - course.log_q_N[drawn_C]
    )
    return torch.from_numpy(need_I), torch.from_numpy(sampled_I).float()


def corrected(logit_TI: Tensor, target_T: Tensor, sampled_I: Tensor) -> Tensor:
    """Logits whose sum of exponentials is, in the mean over draws, that of all items: a drawn
    item stands for as many as it was unlikely to be drawn; the target for itself."""
    told_TI = logit_TI + sampled_I.clamp_min(_NEVER)
    row_T = torch.arange(len(target_T))
    return told_TI.index_put((row_T, target_T), logit_TI[row_T, target_T])


def _memory(vector_IW: Tensor, item_BL: Tensor, said: Batch, mass_BI: Tensor) -> Tensor:
    """memory_BSW at each place: the weighted mean of all that was touched up to it."""
    own_BLW = vector_IW[item_BL.clamp_min(0)] * said.mass_BL[..., None]
    sum_BSW = torch.cat([(mass_BI @ vector_IW)[:, None], own_BLW], dim=1).cumsum(dim=1)
    size_BS = torch.cat([mass_BI.abs().sum(dim=1)[:, None], said.mass_BL.abs()], dim=1)
    return sum_BSW / size_BS.cumsum(dim=1)[..., None].clamp_min(1e-6)


def _past(item_BL: Tensor, touched_BI: Tensor, said: Batch) -> Tensor:
    """past_TI: what was touched before each target."""
    since_BI = torch.where(touched_BI, 0, _UNSEEN)
    for place in range(item_BL.shape[1]):
        item_B = item_BL[:, place].clamp_min(0)
        row_B = torch.arange(len(item_B))
        told_B = torch.where(item_BL[:, place] >= 0, place + 1, _UNSEEN)
        since_BI[row_B, item_B] = torch.minimum(since_BI[row_B, item_B], told_B)
    return since_BI[said.row_T] <= said.place_T[:, None]


def _asked(histories: Histories, said: Batch, training: TowerTraining) -> Tensor:
    """asked_T: the time since the newest entry, hidden now and then."""
    now_T = torch.from_numpy(histories.touches.at_ms_E)[said.event_T]
    at_T = said.entries.at_ms_UL[said.row_T, (said.place_T - 1).clamp_min(0)]
    told_T = (torch.rand(len(now_T)) < training.told) & (said.place_T > 0)
    return torch.where(told_T, gap_of(now_T - at_T), 0)


def _optimizer(net: nn.Module, training: TowerTraining) -> torch.optim.Optimizer:
    rate, decay = training.learning_rate, training.weight_decay
    if training.optimizer == "sgd":
        return torch.optim.SGD(net.parameters(), rate, momentum=0.9, weight_decay=decay)
    return torch.optim.AdamW(net.parameters(), rate, weight_decay=decay)


def _count(touches: Touches, items: int) -> Tensor:
    return torch.from_numpy(np.bincount(touches.item_E, minlength=items).astype(np.float32))


def _grown(net: Tower, items: int) -> Tower:
    """A copy with room for more items, of which nothing is known."""
    weights = copy.deepcopy(net.state_dict())
    grown = Tower(net.settings, items=items)
    for name in ("id_NW", "bias_N", "seen_N"):
        more = getattr(grown, name).detach()[len(weights[name]) :]
        weights[name] = torch.cat([weights[name], more])
    grown.load_state_dict(weights)
    return grown
