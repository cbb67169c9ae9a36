"""What weighs the sources against each other: a small net over calibrated features.

Every feature is standardised by what it was in training; a linear part carries most, and a net
of one hidden layer knows when an item or a person is cold. It learns by softmax over a list's
candidates (ListNet's top-one: Cao 2007) and goes on learning from what people do next.

Shapes:  U = lists,  C = candidates of a list,  F = features
"""

import hashlib
from collections.abc import Mapping
from math import log1p

import torch
from torch import Tensor, nn
from torch.nn.functional import log_softmax

from ranking.feature_names import FEATURES

HIDDEN = 64
AT_ONCE = 32  # lists whose candidates are weighed at once
RARE = 3.0
"""Weight of a touch of an item that few touched, against others."""
MOST_FEW = 5.0  # decayed touches up to which an item is rare at most
LONG = FEATURES.index("popular_long")


class Blend(nn.Module):
    """UCF features to UC scores; the softmax of a row is how likely each is the next."""

    def __init__(self, features: int = len(FEATURES), hidden: int = HIDDEN) -> None:
        super().__init__()
        self.register_buffer("mean_F", torch.zeros(features))
        self.register_buffer("scale_F", torch.ones(features))
        self.register_buffer(
            "few", torch.tensor(0.0)
        )  # touches up to which an item is rare
        self.prior_F = nn.Parameter(torch.zeros(features))
        self.linear = nn.Linear(features, 1)
        self.inner = nn.Linear(features, hidden)
        self.middle = nn.Linear(hidden, hidden)
        self.outer = nn.Linear(hidden, 1)

    def forward(self, feature_UCF: Tensor) -> Tensor:
        unit_UCF = (feature_UCF - self.mean_F) * self.scale_F  # type: ignore[operator]
        hidden_UCH = torch.relu(self.middle(torch.relu(self.inner(unit_UCF))))
        score_UC: Tensor = (self.linear(unit_UCF) + self.outer(hidden_UCH))[..., 0]
        return score_UC

    def prior_now(self) -> Tensor:
        """F: weights of the raw features in the first choice among all items."""
        weight_F: Tensor = self.prior_F * self.scale_F  # type: ignore[operator]
        return weight_F


def weighed(blend: Blend, feature_UCF: Tensor) -> Tensor:
    """UC: what `blend` says, to be used and not learned from: faster, where each feature stands
    by itself in memory. Few lists at once, so that what is hidden stays in the cache."""
    scale_F, mean_F = blend.scale_F, blend.mean_F
    assert isinstance(scale_F, Tensor)
    assert isinstance(mean_F, Tensor)
    linear_F = blend.linear.weight[0] * scale_F
    inner_HF = blend.inner.weight * scale_F
    lower_H1 = (blend.inner.bias - inner_HF @ mean_F)[:, None]
    middle_H1 = blend.middle.bias[:, None]
    constant = blend.linear.bias + blend.outer.bias - linear_F @ mean_F
    part_FX = [part.reshape(-1, part.shape[-1]).T for part in feature_UCF.split(AT_ONCE)]
    score_X = [
        linear_F @ told_FX
        + blend.outer.weight[0]
        @ torch.addmm(
            middle_H1,
            blend.middle.weight,
            torch.addmm(lower_H1, inner_HF, told_FX).relu_(),
        ).relu_()
        for told_FX in part_FX
    ]
    return (torch.cat(score_X) + constant).reshape(feature_UCF.shape[:2])


# What a list is made of until a model was trained: plain weights of the raw features.
UNTRAINED: Mapping[str, float] = {
    "together": 2.0, "recent": 1.0, "last": 0.5, "entry": 0.5, "category": 0.3,
    "popular_hour": 0.1, "popular_day": 0.2, "popular_long": 0.2, "fresh": 0.1,
    "content": 2.0, "interest": 2.0,
}  # fmt: skip


def untrained() -> Blend:
    """Plain weights, for a stream of which nothing was learned yet."""
    blend = Blend()
    weight_F = torch.tensor([UNTRAINED.get(name, 0.0) for name in FEATURES])
    with torch.no_grad():
        blend.prior_F.copy_(weight_F)
        blend.linear.weight.copy_(weight_F[None])
        for part in (blend.linear.bias, blend.outer.weight, blend.outer.bias):
            part.zero_()
    return blend.requires_grad_(False)


def blend_of(tensors: Mapping[str, Tensor]) -> Blend:
    """The blend in a model's file; raises ValueError if it was trained on other features."""
    if "blend.prior_F" not in tensors:
        return untrained()
    state = {
        name.removeprefix("blend."): tensor
        for name, tensor in tensors.items()
        if name.startswith("blend.")
    }
    features, hidden = state["prior_F"].shape[0], state["inner.weight"].shape[0]
    if features != len(FEATURES):
        raise ValueError(
            f"blend of {features} features, ours are {len(FEATURES)}: train a new model"
        )
    blend = Blend(features, hidden)
    blend.load_state_dict(state)
    return blend.requires_grad_(False)


def blend_tensors(blend: Blend) -> dict[str, Tensor]:
    """A blend as part of a model's file."""
    return {f"blend.{name}": t.contiguous() for name, t in blend.state_dict().items()}


def rarity(blend: Blend, feature_UF: Tensor, rare: float = RARE) -> Tensor:
    """U: weight of a touch, `rare` for items that few touched: without it a blend learns that
    cold items are never right, for they seldom are."""
    few_U = feature_UF[:, LONG] < log1p(4 * float(blend.few))  # type: ignore[arg-type]
    return torch.where(few_U, rare, 1.0)


def loss(score_UC: Tensor, target_U: Tensor, weight_U: Tensor | None = None) -> Tensor:
    """Mean surprise at what was chosen. -inf scores are no candidates."""
    surprise_U = -log_softmax(score_UC, dim=1).gather(1, target_U[:, None])[:, 0]
    if weight_U is None:
        return surprise_U.mean()
    return (surprise_U * weight_U).sum() / weight_U.sum()


def digest(blend: Blend) -> str:
    """What tells two blends apart."""
    told = hashlib.sha256()
    for _, tensor in sorted(blend.state_dict().items()):
        told.update(tensor.contiguous().numpy().tobytes())
    return told.hexdigest()[:16]
