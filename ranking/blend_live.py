"""The blend goes on learning where lists are made, from what people do next.

Shapes:  U = lessons of a step,  C = candidates of a lesson,  F = features
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from encoders.law import NAMES, UNWANTED
from encoders.state import UserState
from ranking.blend import Blend, loss, rarity
from ranking.blended import candidates, unit
from ranking.features import Sources
from ranking.people import Floats, people_of, touched_mean
from ranking.slate import Wanted, listed

LESSONS = 16  # people's next steps that are learned from at once
# Adam's decays, and what it never divides by less than
FIRST, SECOND, LEAST = 0.9, 0.999, 1e-8


@dataclass(frozen=True, slots=True)
class Lesson:
    """Candidates of a person just before a touch, and the place of what was touched."""

    feature_CF: Floats
    there_C: NDArray[np.bool_]
    target: int


def teaches(state: UserState, sources: Sources) -> bool:
    """Whether the newest touch is one that a list could have foretold, and that the trends
    have not heard of yet: else they would seem to know everything."""
    if not len(state.ring):
        return False
    newest = state.ring.rows[-1]
    if int(newest["at_ms"]) <= sources.live.newest_ms:
        return False
    slot = state.slot_of.get(int(newest["item"]))
    row = sources.catalogue.row_of.get(int(newest["item"]))
    if slot is None or row is None or NAMES[int(newest["kind"])] in UNWANTED:
        return False
    return bool(state.seen[slot] == 1 and sources.catalogue.available[row])


def lessons(states: Sequence[UserState], sources: Sources) -> list[Lesson]:
    """What would have been listed for each of these people before the newest touch, and the
    place of what was touched; without those for whom it was no candidate."""
    catalogue = sources.catalogue
    people = people_of(states, catalogue, but=1)
    wanted_U = catalogue.place([int(s.ring.rows[-1]["item"]) for s in states])
    wanted = [
        Wanted(
            as_of_ms=int(people.as_of_ms_U[u]), category="", source="interest",
            exclude=state.seen_items()[state.seen_items() != state.ring.rows[-1]["item"]],
        )
        for u, state in enumerate(states)
    ]  # fmt: skip
    law = states[0].law
    vector_ND = sources.vector_ND
    found = candidates(
        people,
        sources,
        listed_UN=listed(wanted, catalogue),
        interest_UD=unit(touched_mean(people, law, vector_ND)),
        memory_UV=torch.from_numpy(
            touched_mean(people, law, sources.model.vector_NV.numpy())
        ),
    )
    # Only what would have been a candidate teaches: one that was put among the prior's best
    # would teach that what the prior thinks little of is right.
    own_UC = (found.row_UC == wanted_U[:, None]) & found.there_UC
    return [
        Lesson(found.feature_UCF[u], found.there_UC[u], int(own_UC[u].argmax()))
        for u in np.flatnonzero(own_UC.any(axis=1)).tolist()
    ]


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
