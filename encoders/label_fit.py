"""Label heads from items whose categories are known.

Shapes:  N = items (rows),  W = a slot's width,  L = labels
"""

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Generator, Tensor
from torch.nn.functional import (
    binary_cross_entropy_with_logits as cross_entropy,
)
from torch.nn.functional import normalize

from encoders.labels import LabelHead

_TEMPERATURES = torch.logspace(-1.0, 1.0, 201, dtype=torch.float64)


@dataclass(frozen=True, slots=True, kw_only=True)
class FitSettings:
    """`least`: a label that fewer items have is not learned. `held_out`: the share of items that
    the number of steps and the temperature are chosen on: `steps` at most, and no more than
    `patience` without getting better there. `heaviest`: a rare label's weight, at most."""

    least: int = 10
    held_out: float = 0.2
    steps: int = 400
    patience: int = 40
    rate: float = 0.05
    decay: float = 3e-4
    heaviest: float = 20.0


@dataclass(frozen=True, slots=True)
class Rows:
    """A slot's vectors and the labels of their items. `item_N`: which rows are of one item (its
    augmented copies): they are held out together."""

    vector_NW: Tensor
    labels: Sequence[Collection[str]]
    item_N: Tensor


@dataclass(frozen=True, slots=True)
class Fit:
    """A head and how sure it is: cross-entropy on the held-out items, before and after the
    temperature, and of a guess that only knows how common each label is."""

    head: LabelHead
    items: int
    loss: float
    loss_uncalibrated: float
    loss_of_prior: float


def fit_labels(
    slots: Mapping[str, Rows],
    *,
    encoders: Mapping[str, str],
    out: Path,
    generator: Generator,
    settings: FitSettings | None = None,
) -> list[Fit]:
    """A head for each slot, each written to `out`/SLOT.safetensors. `encoders`: who made the
    vectors of each slot. Raises ValueError where no label is common enough."""
    fits = []
    out.mkdir(parents=True, exist_ok=True)
    for slot in sorted(slots):
        fit = fit_head(
            slots[slot],
            slot=slot,
            encoder=encoders[slot],
            generator=generator,
            settings=settings or FitSettings(),
        )
        fit.head.save(out / f"{slot}.safetensors")
        fits.append(fit)
    return fits


def fit_head(
    rows: Rows, *, slot: str, encoder: str, generator: Generator, settings: FitSettings
) -> Fit:
    """A head by AdamW on the cross-entropy of each label, rare labels weighted up, their logits
    put right again afterwards (King and Zeng 2001); the step with the least held-out loss is
    kept, and one temperature fitted there (Guo 2017)."""
    labels = common_labels(rows, least=settings.least)
    if not labels:
        raise ValueError(
            f"labels of {slot}: none is on {settings.least} items; give more items, or a "
            "smaller `least`"
        )
    target_NL = targets(rows.labels, labels)
    held_N = _held_out(rows.item_N, settings.held_out, generator)
    unit_NW = normalize(rows.vector_NW.float(), dim=-1)
    weight_WL, bias_L = _train(unit_NW, target_NL, held_N, settings)
    logit_NL = unit_NW[held_N] @ weight_WL + bias_L
    temperature = fit_temperature(logit_NL, target_NL[held_N])
    prior_L = target_NL[~held_N].mean(dim=0).clamp(1e-4, 1 - 1e-4)
    head = LabelHead(labels, slot, encoder, weight_WL, bias_L, temperature)
    return Fit(
        head=head,
        items=len(rows.item_N.unique()),
        loss=float(cross_entropy(logit_NL / temperature, target_NL[held_N])),
        loss_uncalibrated=float(cross_entropy(logit_NL, target_NL[held_N])),
        loss_of_prior=float(
            cross_entropy(prior_L.logit().expand_as(logit_NL), target_NL[held_N])
        ),
    )


def fit_temperature(logit_NL: Tensor, target_NL: Tensor) -> float:
    """The one number that logits are divided by for the least cross-entropy (Guo 2017), of 201
    between 0.1 and 10."""
    losses = [
        float(cross_entropy(logit_NL.double() / t, target_NL.double()))
        for t in _TEMPERATURES
    ]
    return float(_TEMPERATURES[losses.index(min(losses))])


def common_labels(rows: Rows, *, least: int) -> tuple[str, ...]:
    """The labels that at least so many items have, by name."""
    items_with: Counter[str] = Counter()
    seen: set[int] = set()
    for item, labels in zip(rows.item_N.tolist(), rows.labels, strict=True):
        if item not in seen:
            seen.add(item)
            items_with.update(set(labels))
    return tuple(sorted(name for name, count in items_with.items() if count >= least))


def targets(labels: Sequence[Collection[str]], names: Sequence[str]) -> Tensor:
    """N x L: 1 where a row has a label."""
    place = {name: at for at, name in enumerate(names)}
    target_NL = torch.zeros(len(labels), len(names))
    for row, of_row in enumerate(labels):
        for name in of_row:
            if name in place:
                target_NL[row, place[name]] = 1.0
    return target_NL


def _held_out(item_N: Tensor, share: float, generator: Generator) -> Tensor:
    """Whole items, at least one on either side."""
    items = item_N.unique()
    count = min(max(1, round(share * len(items))), len(items) - 1)
    chosen = items[torch.randperm(len(items), generator=generator)[:count]]
    return torch.isin(item_N, chosen)


def _train(
    unit_NW: Tensor, target_NL: Tensor, held_N: Tensor, settings: FitSettings
) -> tuple[Tensor, Tensor]:
    """Weights and biases for unit vectors. The whole training set is one batch: it is small, and
    so nothing depends on an order."""
    x_NW, y_NL = unit_NW[~held_N], target_NL[~held_N]
    mean_W, spread_W = x_NW.mean(dim=0), x_NW.std(dim=0, correction=0).clamp(min=1e-4)
    z_NW = (x_NW - mean_W) / spread_W / math.sqrt(x_NW.shape[1])
    with_L = y_NL.sum(dim=0)
    heavier_L = ((len(y_NL) - with_L) / with_L.clamp(min=1)).clamp(1.0, settings.heaviest)
    weight_WL = torch.zeros(x_NW.shape[1], y_NL.shape[1], requires_grad=True)
    bias_L = torch.zeros(y_NL.shape[1], requires_grad=True)
    optimiser = torch.optim.AdamW(
        [weight_WL, bias_L], lr=settings.rate, weight_decay=settings.decay / settings.rate
    )
    held_z = (unit_NW[held_N] - mean_W) / spread_W / math.sqrt(x_NW.shape[1])
    best = math.inf
    kept = (weight_WL.detach().clone(), bias_L.detach().clone())
    since_best = 0
    for _ in range(settings.steps):
        optimiser.zero_grad()
        loss = cross_entropy(z_NW @ weight_WL + bias_L, y_NL, pos_weight=heavier_L)
        loss.backward()
        optimiser.step()
        with torch.no_grad():
            logit_NL = held_z @ weight_WL + bias_L - heavier_L.log()
            held_loss = float(cross_entropy(logit_NL, target_NL[held_N]))
            since_best += 1
            if held_loss < best:
                since_best = 0
                best, kept = held_loss, (weight_WL.clone(), bias_L - heavier_L.log())
        if since_best >= settings.patience:
            break
    scaled_WL = kept[0] / spread_W[:, None] / math.sqrt(x_NW.shape[1])
    return scaled_WL.detach(), (kept[1] - mean_W @ scaled_WL).detach()
