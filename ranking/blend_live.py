"""The blend goes on learning where lists are made, from what people do next.

Shapes:  U = lessons of a step,  C = candidates of a lesson,  F = features
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from ranking.blend import Blend, loss, rarity
from ranking.people import Floats

LESSONS = 16  # people's next steps that are learned from at once


@dataclass(frozen=True, slots=True)
class Lesson:
    """Candidates of a person just before a touch, and the place of what was touched."""

    feature_CF: Floats
    there_C: NDArray[np.bool_]
    target: int


@dataclass(slots=True, eq=False)
class Teacher:
    """Of one blend: lessons that wait, and Adam's memory (Kingma 2015) of the steps before."""

    rate: float
    waiting: list[Lesson] = field(default_factory=list)
    solver: torch.optim.Optimizer | None = None

    def teach(self, blend: Blend, lessons: Iterable[Lesson]) -> None:
        """A step of the blend's own weights every `LESSONS` lessons; the prior stays."""
        self.waiting += lessons
        while len(self.waiting) >= LESSONS:
            self._step(blend, self.waiting[:LESSONS])
            self.waiting = self.waiting[LESSONS:]

    def _step(self, blend: Blend, lessons: Sequence[Lesson]) -> None:
        if self.solver is None:
            learned = [p for name, p in blend.named_parameters() if name != "prior_F"]
            self.solver = torch.optim.Adam(learned, self.rate)
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
        self.solver.zero_grad()
        said.backward()
        self.solver.step()
        blend.requires_grad_(False)
