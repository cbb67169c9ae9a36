"""Label heads from items whose categories are known.

Shapes:  N = items (rows),  W = a slot's width,  L = labels
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Generator, Tensor
from torch.nn.functional import (
    binary_cross_entropy_with_logits as cross_entropy,
)
from torch.nn.functional import normalize

from encoders.labels import LabelHead

_TEMPERATURES = torch.logspace(-0.301, 1.0, 131, dtype=torch.float64)


@dataclass(frozen=True, slots=True, kw_only=True)
class FitSettings:
    """`least`: a label that fewer items have is not learned. `folds`: into so many parts the
    items are cut, each asked in turn, for the number of steps and the temperature. `heaviest`:
    a rare label's weight, at most."""

    least: int = 10
    folds: int = 5
    steps: int = 200
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
    """A head and how sure it is: cross-entropy on items held out in turn, with and without the
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
    put right again afterwards (King and Zeng 2001). How many steps, and one temperature (Guo
    2017), are chosen by cross-validation; then all items train."""
    labels = common_labels(rows, least=settings.least)
    if not labels:
        raise ValueError(
            f"labels of {slot}: none is on {settings.least} items; give more items, or a "
            "smaller `least`"
        )
    target_NL = targets(rows.labels, labels)
    unit_NW = normalize(rows.vector_NW.float(), dim=-1)
    steps, held_NL = _cross_validated(unit_NW, target_NL, rows.item_N, generator, settings)
    temperature = fit_temperature(held_NL, target_NL)
    weight_WL, bias_L = list(_train(unit_NW, target_NL, settings, steps=steps))[-1]
    prior_L = target_NL.mean(dim=0).clamp(1e-4, 1 - 1e-4)
    return Fit(
        head=LabelHead(labels, slot, encoder, weight_WL, bias_L, temperature),
        items=len(rows.item_N.unique()),
        loss=float(cross_entropy(held_NL / temperature, target_NL)),
        loss_uncalibrated=float(cross_entropy(held_NL, target_NL)),
        loss_of_prior=float(cross_entropy(prior_L.logit().expand_as(held_NL), target_NL)),
    )


def fit_temperature(logit_NL: Tensor, target_NL: Tensor) -> float:
    """The one number that logits are divided by for the least cross-entropy (Guo 2017), of 131
    between 0.5 and 10: few items are no reason to be much surer than the head was."""
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


def _cross_validated(
    unit_NW: Tensor,
    target_NL: Tensor,
    item_N: Tensor,
    generator: Generator,
    settings: FitSettings,
) -> tuple[int, Tensor]:
    """The number of steps with the least cross-entropy on items held out in turn, and the logits
    of all rows then, each by a head that has not seen its item."""
    items, of_N = item_N.unique(return_inverse=True)
    fold_N = (torch.randperm(len(items), generator=generator) % settings.folds)[of_N]
    logit_SNL = torch.zeros(settings.steps, *target_NL.shape)
    for fold in range(min(settings.folds, len(items))):
        held_N = fold_N == fold
        trained = _train(
            unit_NW[~held_N], target_NL[~held_N], settings, steps=settings.steps
        )
        for step, (weight_WL, bias_L) in enumerate(trained):
            logit_SNL[step, held_N] = unit_NW[held_N] @ weight_WL + bias_L
    losses = [float(cross_entropy(logit_NL, target_NL)) for logit_NL in logit_SNL]
    best = losses.index(min(losses))
    return best + 1, logit_SNL[best]


def _train(
    unit_NW: Tensor, target_NL: Tensor, settings: FitSettings, *, steps: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Weights and biases for unit vectors after each step. The whole training set is one batch:
    it is small, and so nothing depends on an order."""
    mean_W = unit_NW.mean(dim=0)
    # One scale for all: each by its own would make much of words that one item alone has.
    spread = (unit_NW - mean_W).square().sum(dim=1).mean().sqrt().clamp(min=1e-6)
    z_NW = (unit_NW - mean_W) / spread
    with_L = target_NL.sum(dim=0)
    without_L = len(target_NL) - with_L
    heavier_L = (without_L / with_L.clamp(min=1)).clamp(1.0, settings.heaviest)
    weight_WL = torch.zeros(len(mean_W), len(with_L), requires_grad=True)
    bias_L = torch.zeros(len(with_L), requires_grad=True)
    optimiser = torch.optim.AdamW(
        [weight_WL, bias_L], lr=settings.rate, weight_decay=settings.decay / settings.rate
    )
    for _ in range(steps):
        optimiser.zero_grad()
        loss = cross_entropy(z_NW @ weight_WL + bias_L, target_NL, pos_weight=heavier_L)
        loss.backward()
        optimiser.step()
        scaled_WL = weight_WL.detach() / spread
        yield scaled_WL, bias_L.detach() - heavier_L.log() - mean_W @ scaled_WL
