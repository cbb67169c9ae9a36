"""Fusion is learned from who touched what together. Arrays in, a model out.

Positives are pairs of items that one person touched near in time. Two views of them, each with
some slots left out (modality dropout), are told apart from the other items of the batch by
sampled softmax with logQ correction (Yi 2019), so that what is popular is not punished for
being drawn often. Rare items are drawn more often than they occur (balanced sampling), and an
item's parts are held to its whole (consistency).

Shapes:  P = pairs,  B = pairs in a batch,  I = distinct items in a batch,  N = items,
         M = slots,  E = rows,  D = fused width
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from encoders.fusion import SlotColumn
from encoders.fusion_graph import Graph
from encoders.fusion_model import FusionModel, FusionNet
from encoders.fusion_nets import Adversarial, NetSettings, Rows, SlotSpec, rows_of

Positive = Annotated[int, msgspec.Meta(ge=1)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Progress = Callable[[int, float], None]
"""Called after each step with its number, from 1, and its loss."""


class FusionTraining(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How fusion is learned."""

    steps: Positive = 400
    """batches"""
    batch: Positive = 512
    """pairs a batch"""
    optimizer: Literal["adam", "sgd"] = "adam"
    """Adam with decoupled weight decay, or SGD with momentum .9"""
    learning_rate: float = 2e-3
    """at its highest; it rises over the first tenth and falls to nothing as a cosine"""
    weight_decay: float = 1e-2
    temperature: float = 0.1
    """what a cosine is divided by before the softmax"""
    drop: Share = 0.3
    """how often a slot that is there is left out of a view; one always stays"""
    drop_slots: dict[str, float] = {}
    """the same for a slot by its name, where it differs"""
    rare: Share = 0.25
    """0: pairs as they occur; 1: each item as often as any other"""
    log_q: Share = 1.0
    """how much of the logQ correction is made; less: what is popular counts for less"""
    consistency: float = 0.2
    """weight of the distance between an item's parts and its whole"""
    confusion: float = 0.05
    """weight of the modality discriminator (adversarial)"""
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Pairs:
    """Items that were touched together: rows of the columns, and how much it counts."""

    left_P: NDArray[np.int64]
    right_P: NDArray[np.int64]
    weight_P: NDArray[np.float32]


def co_visited(
    user_E: NDArray[np.int64], item_E: NDArray[np.int64], *, reach: int
) -> Pairs:
    """Pairs at most `reach` apart in one person's sequence, nearer ones counting for more
    (1 / distance), both ways. Events are to be in order of time; who comes in between does
    not count."""
    order_E = np.argsort(user_E, kind="stable")
    user_E, item_E = user_E[order_E], item_E[order_E]
    left, right, weight = [], [], []
    for apart in range(1, reach + 1):
        a_P, b_P = item_E[:-apart], item_E[apart:]
        same_P = (user_E[:-apart] == user_E[apart:]) & (a_P != b_P)
        left += [a_P[same_P], b_P[same_P]]
        right += [b_P[same_P], a_P[same_P]]
        weight += [np.full(2 * int(same_P.sum()), 1 / apart, np.float32)]
    return Pairs(np.concatenate(left), np.concatenate(right), np.concatenate(weight))


def train(
    columns: Sequence[SlotColumn],
    pairs: Pairs,
    *,
    items: int,
    net: NetSettings,
    training: FusionTraining | None = None,
    start: FusionModel | None = None,
    progress: Progress | None = None,
) -> FusionModel:
    """A model of these columns' slots. The same arguments give the same model on one machine.

    `start`: a model of the same kind, widths and slots to go on from (incremental learning).
    Raises ValueError where there is nothing to learn from, or `start` does not fit.
    """
    training = training or FusionTraining()
    if not columns or not len(pairs.left_P):
        raise ValueError(
            f"{len(columns)} slots and {len(pairs.left_P)} pairs: fusion needs at least one "
            "of each; give it items with vectors that people touched together"
        )
    slots = tuple(
        SlotSpec(c.name, c.vector_EW.shape[1], c.encoder)
        for c in sorted(columns, key=lambda c: (c.name, c.vector_EW.shape[1], c.encoder))
    )
    rows = rows_of(columns, slots, rows=items)
    with torch.random.fork_rng(devices=[]):  # nets begin, and drop features, by one seed
        torch.manual_seed(training.seed)
        module = FusionNet(slots, net, nodes=items)
        drop_M = torch.tensor(
            [training.drop_slots.get(s.name, training.drop) for s in slots]
        )
        if start is not None:
            _continue(module, start, slots=slots, net=net)
        else:
            module.reduce.fit(rows)
        rows = module.reduce(rows)
        _learn(module.net, rows, _Draw(pairs, rows, drop_M, training), progress or _silent)
    return FusionModel.of(module, slots=slots, net=net)


def _learn(module: nn.Module, rows: Rows, draw: "_Draw", progress: Progress) -> None:
    training = draw.training
    graph_NN = _graph(module, rows, draw.pairs) if isinstance(module, Graph) else None
    optimizer = _optimizer(module, training)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, _warm_cosine(training.steps))
    module.train()
    for step in range(1, training.steps + 1):
        loss = _loss(module, rows, draw, graph_NN)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(module.parameters(), 5.0)
        optimizer.step()
        schedule.step()
        progress(step, float(loss.detach()))
    module.eval()
    if isinstance(module, Graph) and graph_NN is not None:
        module.settle(rows, graph_NN)


class _Draw:
    """Batches of pairs and masks, by one seeded generator."""

    def __init__(
        self, pairs: Pairs, rows: Rows, drop_M: Tensor, training: FusionTraining
    ) -> None:
        self.pairs, self.drop_M = pairs, drop_M
        self.left_P, self.right_P = (
            torch.from_numpy(np.asarray(side_P, np.int64))
            for side_P in (pairs.left_P, pairs.right_P)
        )
        weight_P = torch.from_numpy(np.asarray(pairs.weight_P, np.float64))
        items = len(rows.present_EM)
        often_N = torch.zeros(items, dtype=torch.float64)
        often_N.index_add_(0, self.right_P, weight_P)
        rare_P = often_N[self.right_P].clamp_min(1e-9).pow(-training.rare)
        known_N = rows.present_EM.any(dim=1)
        weight_P = weight_P * rare_P * known_N[self.left_P] * known_N[self.right_P]
        if not bool((weight_P > 0).any()):
            raise ValueError("no pair of two items with slots: encode the items first")
        self.upto_P = weight_P.cumsum(0)
        drawn_N = torch.zeros(items, dtype=torch.float64).index_add_(
            0, self.right_P, weight_P
        )
        # how likely an item is drawn as a candidate, against how much it ought to count
        self.log_q_N = (drawn_N / drawn_N.sum()).clamp_min(1e-12).log().float()
        self.batch, self.training = training.batch, training
        self.generator = torch.Generator().manual_seed(training.seed)

    def positives(self) -> tuple[Tensor, Tensor]:
        told_B = torch.rand(self.batch, generator=self.generator, dtype=torch.float64)
        at_B = torch.searchsorted(self.upto_P, told_B * self.upto_P[-1])
        at_B = at_B.clamp_max(len(self.left_P) - 1)
        return self.left_P[at_B], self.right_P[at_B]

    def part(self, rows: Rows) -> Rows:
        """The rows with some slots left out; each keeps one, where it had one."""
        chance_EM = torch.rand(rows.present_EM.shape, generator=self.generator)
        kept_EM = rows.present_EM & (chance_EM >= self.drop_M)
        none_E = ~kept_EM.any(dim=1)
        luckiest_E = chance_EM.masked_fill(~rows.present_EM, -1.0).argmax(dim=1)
        kept_EM[none_E, luckiest_E[none_E]] = True
        return rows.only(kept_EM)


def _loss(
    module: nn.Module,
    rows: Rows,
    draw: _Draw,
    graph_NN: Tensor | None,
) -> Tensor:
    training = draw.training
    left_B, right_B = draw.positives()
    item_I, place_2B = torch.unique(torch.cat([left_B, right_B]), return_inverse=True)
    here = rows.at(item_I)
    fuse = _forward(module, rows, graph_NN, draw)
    one, other = draw.part(here), draw.part(here)
    one_ID, other_ID = fuse(one), fuse(other)
    place_B, target_B = place_2B[: len(left_B)], place_2B[len(left_B) :]
    loss = _softmax(
        one_ID[place_B], other_ID, place_B, target_B,
        log_q_I=draw.log_q_N[item_I] * training.log_q, temperature=training.temperature,
    )  # fmt: skip
    if training.consistency:
        apart_I = 1 - (one_ID * other_ID).sum(dim=1)
        loss = loss + training.consistency * apart_I.mean()
    if isinstance(module, Adversarial) and training.confusion:
        loss = loss + module.confusion(here, strength=training.confusion)
    return loss


def _softmax(
    query_BD: Tensor,
    item_ID: Tensor,
    place_B: Tensor,
    target_B: Tensor,
    *,
    log_q_I: Tensor,
    temperature: float,
) -> Tensor:
    """Cross-entropy of the pair among the batch's items, but for the query itself."""
    drawn_I = torch.zeros(len(item_ID)).index_add_(0, target_B, torch.ones(len(target_B)))
    logit_BI = query_BD @ item_ID.T / temperature - log_q_I
    only_left_I = drawn_I == 0  # drawn as queries: no sample of the candidates
    logit_BI = logit_BI.masked_fill(only_left_I, -1e9)
    itself_BI = torch.nn.functional.one_hot(place_B, len(item_ID)).bool()
    return cross_entropy(logit_BI.masked_fill(itself_BI, -1e9), target_B)


def _forward(
    module: nn.Module, rows: Rows, graph_NN: Tensor | None, draw: _Draw
) -> Callable[[Rows], Tensor]:
    """What gives the unit vectors of rows now. In a graph half of the rows look for their
    neighbours as new items do: without themselves."""
    if not isinstance(module, Graph) or graph_NN is None:
        return lambda part: normalize(module(part), dim=-1)
    node_ND = module.propagate(rows, graph_NN)

    def fuse(part: Rows) -> Tensor:
        chance_I = torch.rand(len(part.present_EM), generator=draw.generator)
        return normalize(module(part, node_ND, chance_I < 0.5), dim=-1)

    return fuse


def _graph(module: Graph, rows: Rows, pairs: Pairs) -> Tensor:
    edge_2P = torch.from_numpy(np.stack([pairs.left_P, pairs.right_P]))
    weight_P = torch.from_numpy(np.asarray(pairs.weight_P, np.float32))
    return module.fit(rows, edge_2P, weight_P)


def _optimizer(module: nn.Module, training: FusionTraining) -> torch.optim.Optimizer:
    if training.optimizer == "sgd":
        return torch.optim.SGD(
            module.parameters(),
            lr=training.learning_rate,
            momentum=0.9,
            weight_decay=training.weight_decay,
        )
    return torch.optim.AdamW(
        module.parameters(), lr=training.learning_rate, weight_decay=training.weight_decay
    )


def _warm_cosine(steps: int) -> Callable[[int], float]:
    warm = max(1, steps // 10)
    return lambda step: min(
        (step + 1) / warm, 0.5 * (1 + float(np.cos(np.pi * step / max(steps, 1))))
    )


def _continue(
    module: FusionNet, start: FusionModel, *, slots: tuple[SlotSpec, ...], net: NetSettings
) -> None:
    if (start.slots, start.net) != (slots, net):
        raise ValueError(
            f"cannot go on from {start.version}: it has {start.net} over {start.slots}, "
            f"asked for {net} over {slots}; begin without it"
        )
    learned = {name: t for name, t in start.weights().items() if name not in _nodes(start)}
    module.load_state_dict(learned, strict=False)


def _nodes(model: FusionModel) -> set[str]:
    """What is a graph's own, by item: another set of items has another."""
    return {
        n
        for n in model.weights()
        if n.startswith(("net.node_", "net.here_", "net.sketch_"))
    }


def _silent(step: int, loss: float) -> None:
    del step, loss
