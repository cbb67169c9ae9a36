"""What of a prepared batch the model has to see: each content once, and none that is known."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from encoders.clean import distinct
from encoders.content import Content
from schemas import Interaction
from workers import metrics
from workers.contents import Job, Part, Refusal, item_of
from workers.media import MediaError
from workers.model import Key
from workers.prepare import Batch, Outcome, Ready, Reusable


@dataclass(frozen=True, slots=True)
class Group:
    """The contents that make one vector: of an event each alone, else all of a modality.
    `sha256` is the one content's own, or one of all of theirs; `at` the first one's number."""

    name: str
    sha256: str
    contents: tuple[Ready, ...]
    at: int


@dataclass(frozen=True, slots=True)
class Planned:
    """A job and what its vectors are made of."""

    job: Job
    groups: tuple[Group, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """A batch's jobs, the contents that the model has to see, and what was refused."""

    planned: list[Planned] = field(default_factory=list)
    contents: dict[Key, Content] = field(default_factory=dict)
    refusals: list[Refusal] = field(default_factory=list)

    def drop(self, numbers: set[int]) -> None:
        """Forget what came from these partitions."""
        self.planned[:] = [p for p in self.planned if p.job.record.partition not in numbers]
        self.refusals[:] = [r for r in self.refusals if r[0].partition not in numbers]


def plan(batch: Batch, reusable: Reusable, *, once: bool = True) -> Plan:
    """Group the parts of each job; vectors that an item has already are taken over. `once`: of
    contents of a group that are nearly the same only the first counts."""
    made = Plan(refusals=list(batch.refusals))
    for job, futures in zip(batch.jobs, batch.outcomes, strict=True):
        outcomes = [future.result() for future in futures]
        for outcome in outcomes:
            if isinstance(outcome, MediaError):
                metrics.media_failure(outcome.reason)
                made.refusals.append((job.record, outcome))
        groups = groups_of(job, outcomes, once=once)
        known = tuple(_known(job, group, reusable) for group in groups)
        made.planned.append(Planned(job, known))
        for group in known:
            for ready in group.contents:
                if ready.content is not None:
                    made.contents[group.name, ready.sha256] = ready.content
    return made


def groups_of(job: Job, outcomes: Sequence[Outcome], *, once: bool = True) -> list[Group]:
    """The contents of a job that are ready, grouped."""
    found: dict[tuple[str, int], list[tuple[Part, Ready]]] = defaultdict(list)
    for part, outcome in zip(job.parts, outcomes, strict=True):
        if isinstance(outcome, Ready):
            alone = part.at if isinstance(job.subject, Interaction) else -1
            found[part.modality, alone].append((part, outcome))
    groups = []
    for (name, _), pairs in found.items():
        contents = tuple(ready for _, ready in pairs)
        if once and len(contents) > 1:
            kept = distinct([ready.content for ready in contents])
            metrics.dropped("duplicate", len(contents) - len(kept))
            contents = tuple(contents[at] for at in kept)
        groups.append(Group(name, _digest(contents), contents, at=pairs[0][0].at))
    return groups


def vector_of(group: Group, vectors: Mapping[Key, Tensor]) -> Tensor:
    """The vector of a group: of several contents the direction of their mean."""
    rows = [
        vectors[group.name, ready.sha256] if ready.vector is None else tensor(ready.vector)
        for ready in group.contents
    ]
    return rows[0] if len(rows) == 1 else normalize(torch.stack(rows).mean(dim=0), dim=0)


def tensor(vector: bytes) -> Tensor:
    """A vector of the wire, to compute with."""
    return torch.from_numpy(np.frombuffer(vector, "<f4").astype(np.float32))


def wire(vector: Tensor) -> bytes:
    """A vector as it stands on the wire."""
    return bytes(vector.numpy().astype("<f4").tobytes())


def _known(job: Job, group: Group, reusable: Reusable) -> Group:
    item_id = item_of(job)
    if item_id is None:
        return group
    slot = reusable(job.record.partition, item_id, group.name, group.sha256)
    if slot is None:
        return group
    metrics.reused(len(group.contents))
    return Group(
        group.name, group.sha256, (Ready(group.sha256, vector=slot.vector),), group.at
    )


def _digest(contents: Sequence[Ready]) -> str:
    if len(contents) == 1:
        return contents[0].sha256
    return sha256("".join(ready.sha256 for ready in contents).encode()).hexdigest()
