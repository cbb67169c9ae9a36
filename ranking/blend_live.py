"""The blend goes on learning where lists are made, from what people do next.

Shapes:  U = lessons of a step,  C = candidates of a lesson,  F = features
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ranking.blend import Blend, loss, rarity
from ranking.people import Floats

LESSONS = 16  # people's next steps that are learned from at once
FIRST, SECOND, LEAST = (
    0.9,
    0.999,
    1e-8,
)  # Adam's decays, and what it never divides by less than


@dataclass(frozen=True, slots=True)
class Lesson:
    """Candidates of a person just before a touch, and the place of what was touched."""

    feature_CF: Floats
    there_C: NDArray[np.bool_]
    target: int


@dataclass(slots=True, eq=False)
class Adam:
    """Adam (Kingma, Ba 2015). torch's own loads a compiler at its first step, which is two
    seconds without a list."""

    rate: float
    weights: Sequence[Tensor]
    steps: int = 0
    mean: list[Tensor] = field(init=False)
    square: list[Tensor] = field(init=False)

    def __post_init__(self) -> None:
        self.mean = [torch.zeros_like(weight) for weight in self.weights]
        self.square = [torch.zeros_like(weight) for weight in self.weights]

    @torch.no_grad()
    def step(self) -> None:
        """Move the weights by their gradients, and forget these."""
        self.steps += 1
        for weight, mean, square in zip(self.weights, self.mean, self.square, strict=True):
            if weight.grad is None:
                continue
            mean.lerp_(weight.grad, 1 - FIRST)
            square.mul_(SECOND).addcmul_(weight.grad, weight.grad, value=1 - SECOND)
            spread = (square / (1 - SECOND**self.steps)).sqrt_().add_(LEAST)
            weight.addcdiv_(mean, spread, value=-self.rate / (1 - FIRST**self.steps))
            weight.grad = None


@dataclass(slots=True, eq=False)
class Teacher:
    """Of one blend: lessons that wait, and Adam's memory of the steps before."""

    rate: float
    waiting: list[Lesson] = field(default_factory=list)
    solver: Adam | None = None

    def teach(self, blend: Blend, lessons: Iterable[Lesson]) -> None:
        """A step of the blend's own weights every `LESSONS` lessons; the prior stays."""
        self.waiting += lessons
        while len(self.waiting) >= LESSONS:
            self._step(blend, self.waiting[:LESSONS])
            self.waiting = self.waiting[LESSONS:]

    def _step(self, blend: Blend, lessons: Sequence[Lesson]) -> None:
        if self.solver is None:
            learned = [p for name, p in blend.named_parameters() if name != "prior_F"]
            self.solver = Adam(self.rate, learned)
        width = max(len(lesson.there_C) for lesson in lessons)
        feature_UCF = torch.zeros(len(lessons), width, lessons[0].feature_CF.shape[1])
        there_UC = torch.zeros(len(lessons), width, dtype=torch.bool)
        for u, lesson in enumerate(lessons):
            feature_UCF[u, : len(lesson.there_C)] = torch.from_numpy(lesson.feature_CF)
            there_UC[u, : len(lesson.there_C)] = torch.from_numpy(lesson.there_C)
        blend.requires_grad_(True)
        score_UC = blend(feature_UCF).masked_fill(~there_UC, -torch.inf)
        target_U = torch.tensor([lesson.target for lesson in lessons])
        touched_UF = feature_UCF[torch.arange(len(lessons)), target_U]
        said = loss(score_UC, target_U, rarity(blend, touched_UF))
        said.backward()
        self.solver.step()
        blend.requires_grad_(False)
