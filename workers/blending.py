"""Lists by all sources at once: trends, the trained model and content, blended.

Between two batches it takes in what changed (trends, items, a model); for a batch it turns
states into people and people into places (ranking/blended.py). It is ready once anything is
known of trends or a model was trained; until then lists go by content alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import structlog
import torch
from numpy.typing import NDArray
from torch import Tensor

from encoders.interest import Masses
from encoders.state import UserState
from ranking.asked import NEAREST, about, answered
from ranking.blend import digest, untrained
from ranking.blend_live import Teacher, lessons, teaches
from ranking.blended import Candidates, candidates, chunks, ordered, unit
from ranking.explore import OLD, affinity, explored, exploring, unfound
from ranking.features import Sources, items_of
from ranking.live import Live
from ranking.model import Fitted, fitted
from ranking.people import Floats, Ints, people_of
from ranking.pool import wide
from ranking.slate import Places, Wanted, listed, placed
from ranking.trend_config import TrendConfig
from schemas import DecodeError, TrendTable, decode
from workers import metrics
from workers.config import ListConfig
from workers.items import Items
from workers.model_files import Model
from workers.ports import Ask, Record

log = structlog.get_logger(__name__)
UNTRAINED = "untrained"
SAMPLE = 16  # people of a batch that are learned from, at most
NEIGHBOURS = 30
DRIFT = (
    0.02  # share of items by which the catalogue may change before its mean is taken anew
)
WAITING = 200  # records of trends that wait for the next list, at most


@dataclass(frozen=True, slots=True)
class Person:
    """Whose list is made: the state, the interest in the space of the items, and what was
    shown. `wanted` says what may stand in the list."""

    state: UserState
    interest: Floats
    wanted: Wanted
    name: int = 0  # hash of the user id

    @property
    def seed(self) -> int:
        """Of what chance decides in this list: of the person and the moment."""
        return self.name ^ (max(self.state.as_of_ms, 0) << 16) ^ self.state.size


@dataclass(slots=True, eq=False)
class Blending:
    """The sources, kept up with the tables. One thread, as everything of a worker."""

    items: Items
    trends: TrendConfig
    config: ListConfig
    sources: Sources = field(init=False)
    waiting: list[TrendTable] = field(default_factory=list)
    leisure: float = 0.0  # from 1 on there is time for lessons
    teacher: Teacher = field(init=False)
    taught: str = ""  # the blend in force, as it was published
    known_N: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(1, np.bool_))
    averaged: int = -1  # items that the mean was taken over
    space: str = ""
    model_space: str = ""  # whose vectors the model in force learned from

    def __post_init__(self) -> None:
        model = Fitted(UNTRAINED, None, (), untrained())
        self.sources = Sources(self.items.catalogue, Live(self.trends), model)
        self.teacher = Teacher(self.config.blend_rate)

    @property
    def ready(self) -> bool:
        """Whether there is more to go by than content."""
        return self.sources.live.ready or self.sources.model.ease is not None

    @property
    def version(self) -> str:
        """The model in force."""
        return self.sources.model.version

    def heard(self, record: Record) -> None:
        """A record of rec.trends; taken in at the next refresh."""
        if record.value is None:
            return
        try:
            self.waiting.append(
                decode("trends", record.value, record.header("content-type"))
            )
        except DecodeError as error:
            metrics.item_unreadable()
            log.warning("trends_unreadable", offset=record.offset, reason=error.reason)
        if len(self.waiting) >= WAITING:  # while a worker catches up, nobody asks for lists
            self._take()

    def use(self, model: Model) -> bool:
        """This model from now on. What can't be used leaves the one before, and is False."""
        items = self.items
        try:
            made = fitted(model.tensors, items.catalogue, version=model.version)
            if model.encoder and model.encoder != items.encoder:
                made.towers = ()  # it read vectors of another space
            made.align(items.catalogue, items.index.vectors, np.zeros(0, np.int64))
        except (KeyError, IndexError, ValueError, RuntimeError) as error:
            metrics.model_loaded("other")
            log.warning("model_unfit", version=model.version, why=str(error))
            return False
        taught = digest(made.blend)
        if taught == self.taught:  # the same blend again: what it learned from people stays
            made.blend = self.sources.model.blend
        else:
            self.taught, self.teacher = taught, Teacher(self.config.blend_rate)
        self.sources.model, self.model_space = made, model.encoder
        return True

    def refresh(self) -> None:
        """Take in what came since the last batch."""
        self._take()
        changed, self.items.fresh = self.items.fresh, set()
        if self.space != self.items.encoder:  # another space: everything is read anew
            self.space, self.averaged = self.items.encoder, -1
            changed = set(self.items.catalogue.row_of)
            if self.model_space not in ("", self.space):
                self.sources.model.towers = ()
        if changed:
            self._mean()
        row_X = self.items.catalogue.place(np.fromiter(changed, np.uint64))
        self.sources.describe(row_X)
        if changed:
            self._place(row_X)
        if changed or len(self.sources.model.vector_NV) < self.items.catalogue.size:
            self._align(row_X)
        if changed:
            self.sources.of_items = None
        if self.sources.of_items is None and self.sources.live.ready:
            self.sources.of_items = items_of(
                self.sources, as_of_ms=self.sources.live.newest_ms
            )

    def learn(self, states: Sequence[UserState]) -> None:
        """What these people just touched, as a lesson: what would have been listed for them
        before it, and what they took. A step of the blend's weights every few lessons. A lesson
        costs what a list does, so a batch of so many people teaches once in as many: who is
        busy learns less, and a backlog is nothing to learn from."""
        if not self.config.blend_rate or not self.ready or not states:
            return
        self.leisure += 1 / len(states)
        if self.leisure < 1:
            return
        states = [s for s in states if teaches(s, self.sources)][:SAMPLE]
        if states:
            self.leisure = 0.0
            self.teacher.teach(self.sources.model.blend, lessons(states, self.sources))

    def places(self, persons: Sequence[Person], held: Masses, *, k: int) -> Places:
        """A list for each of these people; rows that nothing fills end with hash 0."""
        catalogue, parts = self.items.catalogue, []
        if not (persons and catalogue.size):
            nothing = np.zeros((len(persons), k))
            return Places(
                nothing.astype(np.uint64),
                nothing,
                np.full(nothing.shape, "popular", object),
            )
        for part in chunks(len(persons), rows=catalogue.size):
            some = persons[part]
            listed_UN = listed([p.wanted for p in some], catalogue)
            found = self._candidates(some, held, listed_UN, first=part.start)
            tired_UC = self._tired(some, found)
            made = ordered(found, self.sources, k=k, tired_UC=tired_UC)
            self._explore(some, listed_UN, *made, k=k)
            parts.append(made)
        return placed(parts, catalogue.hash, k=k)

    def answers(
        self, persons: Sequence[Person], held: Masses, said_UD: Floats, *, k: int
    ) -> Places:
        """A list for each of these people, of what fits what was asked (unit rows) and them."""
        catalogue, parts = self.items.catalogue, []
        for part in chunks(len(persons), rows=catalogue.size):
            some = persons[part]
            row_UX, fit_UX = self._found(some, said_UD[part], limit=NEAREST)
            interest_UD = self._centred(some, held, first=part.start)
            people = people_of([p.state for p in some], catalogue)
            found = about(
                people,
                self.sources,
                row_UX=row_UX,
                interest_UD=interest_UD,
                like_UX=self._like(row_UX, interest_UD),
                memory_UV=self._memory(held, part.start, len(some)),
            )
            row_UK, score_UK = answered(
                found, fit_UX, self.sources, share=self.config.query_weight, k=k,
                touched_U=people.touched_U,
                tired_UX=self._tired(some, found),
            )  # fmt: skip
            parts.append((row_UK, score_UK, np.full(row_UK.shape, "query", object)))
        return placed(parts, catalogue.hash, k=k)

    def _explore(
        self,
        persons: Sequence[Person],
        listed_UN: NDArray[np.bool_],
        row_UK: Ints,
        score_UK: Floats,
        source_UK: NDArray[np.object_],
        *,
        k: int,
    ) -> None:
        """In some full lists the last place is chance's; nobody says how likely it is."""
        share, shelf_U = (
            self.config.explore,
            np.array([bool(p.wanted.category) for p in persons]),
        )
        seed_U = np.array([p.seed & ((1 << 64) - 1) for p in persons], np.uint64)
        if row_UK.shape[1] < k or not len(
            exploring(row_UK, seed_U, share=share, always_U=shelf_U)
        ):
            return
        live, rows = self.sources.live, listed_UN.shape[1]
        touches_N = np.zeros(rows, np.float32)
        if live.popular:  # of the longest half-life
            touches_N = [*live.popular.values()][-1].read(rows, as_of_ms=live.newest_ms)
        as_of_ms_U = np.array([p.wanted.as_of_ms for p in persons], np.int64)
        published_N = self.items.catalogue.published_at_ms[:rows]
        half_life_ms = self.config.fresh_half_life_ms
        if shelf_U.any():
            new_SN = unfound(
                listed_UN[shelf_U], touches_N, as_of_ms_U=as_of_ms_U[shelf_U],
                published_at_ms_N=published_N, half_life_ms=half_life_ms,
            )  # fmt: skip
            shelf_U[shelf_U] = there_S = new_SN.any(axis=1)
            listed_UN = listed_UN.copy()
            listed_UN[shelf_U] = new_SN[there_S]
        at_U = exploring(row_UK, seed_U, share=share, always_U=shelf_U)
        if not len(at_U):
            return
        drawn_U = explored(
            row_UK[at_U], listed_UN[at_U], seed_U[at_U], touches_N,
            self._affinity([persons[u].state for u in at_U], rows),
            as_of_ms_U=as_of_ms_U[at_U], published_at_ms_N=published_N,
            half_life_ms=half_life_ms,
        )  # fmt: skip
        at_U, drawn_U = at_U[drawn_U >= 0], drawn_U[drawn_U >= 0]
        row_UK[at_U, -1], score_UK[at_U, -1] = drawn_U, 0
        source_UK[at_U, -1] = "explore"

    def _affinity(self, states: Sequence[UserState], rows: int) -> Floats:
        """U x N: by category and by content, to the newest touches; of no weight, and not
        looked at, where nothing is new."""
        newest_ms = self.items.catalogue.published_at_ms[:rows].max(initial=0)
        as_of_ms = max(state.as_of_ms for state in states)
        if as_of_ms - newest_ms > OLD * self.config.fresh_half_life_ms:
            return np.ones((len(states), rows), np.float32)
        people = people_of(states, self.items.catalogue)
        return affinity(people, self.items.law, self.sources.spaces(rows), rows=rows)

    def _candidates(
        self,
        persons: Sequence[Person],
        held: Masses,
        listed_UN: NDArray[np.bool_],
        *,
        first: int,
    ) -> Candidates:
        people = people_of([p.state for p in persons], self.items.catalogue)
        interest_UD = self._centred(persons, held, first=first)
        # where not all items are looked at, those of the interest's kind have to be found
        all_of_them = len(self.sources.vector_ND) and not wide(listed_UN.shape[1])
        return candidates(
            people,
            self.sources,
            listed_UN=listed_UN,
            interest_UD=interest_UD,
            found=None if all_of_them else self._found(persons, interest_UD),
            memory_UV=self._memory(held, first, len(persons)),
        )

    def _found(
        self, persons: Sequence[Person], vector_UD: Floats, *, limit: int = NEIGHBOURS
    ) -> tuple[Ints, Floats]:
        """Neighbours by the index: of what was asked, and of the interest where there are too
        many items to compare with all of them."""
        found = self.items.index.search(
            Ask(
                vector_UD=vector_UD,
                as_of_ms_U=np.array([p.wanted.as_of_ms for p in persons], np.int64),
                category_U=[p.wanted.category for p in persons],
                exclude_U=[p.wanted.exclude for p in persons],
            ),
            limit=limit,
        )
        row_E = self.items.catalogue.named.find(found.hash_UK.ravel())
        return row_E.reshape(found.hash_UK.shape), found.score_UK

    def _like(self, row_UX: Ints, interest_UD: Floats) -> Floats | None:
        """U x X: likeness of these rows to the interest, where it is not compared with all."""
        if len(self.sources.vector_ND):
            return None
        names = self.items.catalogue.name[np.maximum(row_UX, 0)]
        vectors, _ = self.items.index.vectors(names.ravel())
        like_UX1 = vectors.reshape(*row_UX.shape, -1) @ interest_UD[:, :, None]
        made: Floats = like_UX1[..., 0]
        return made

    def _centred(self, persons: Sequence[Person], held: Masses, *, first: int) -> Floats:
        """U x D: interests without what all items have in common; of items without a vector
        an interest holds nothing."""
        interest_UD = np.stack([p.interest for p in persons]).astype(np.float32)
        if self.sources.mean_D is not None:
            start_U = held.start_U[first : first + len(persons) + 1]
            part = slice(int(start_U[0]), int(start_U[-1]))
            row_E = self.items.catalogue.named.find(held.item_E[part])
            known_E = (row_E >= 0) & (row_E < len(self.known_N))
            known_E &= self.known_N[np.where(known_E, row_E, 0)]
            weight_E = np.where(known_E, held.weight_E[part], 0)
            whole = np.concatenate([[0.0], np.cumsum(weight_E, dtype=np.float64)])
            begin_U = start_U - start_U[0]
            mass_U = (whole[begin_U[1:]] - whole[begin_U[:-1]]).astype(np.float32)
            interest_UD -= mass_U[:, None] * self.sources.mean_D
        return unit(interest_UD)

    def _memory(self, held: Masses, first: int, count: int) -> Tensor | None:
        """U x V: the mean of the towers' vectors of all that was touched, by their masses."""
        vector_NV = self.sources.model.vector_NV
        if not len(vector_NV):
            return None
        start_U = held.start_U[first : first + count + 1]
        names = held.item_E[start_U[0] : start_U[-1]]
        row_E = self.items.catalogue.named.find(names)
        weight_E = held.weight_E[start_U[0] : start_U[-1]].copy()
        weight_E[(row_E < 0) | (row_E >= len(vector_NV))] = 0
        row_E = np.clip(row_E, 0, len(vector_NV) - 1)
        whole = np.concatenate([[0.0], np.cumsum(np.abs(weight_E), dtype=np.float64)])
        begin_U = start_U - start_U[0]
        mass_U = np.maximum(whole[begin_U[1:]] - whole[begin_U[:-1]], 1e-9)
        summed_UV = torch.nn.functional.embedding_bag(
            torch.from_numpy(row_E), vector_NV, torch.from_numpy(begin_U[:-1].copy()),
            mode="sum", per_sample_weights=torch.from_numpy(weight_E.astype(np.float32)),
        )  # fmt: skip
        return summed_UV / torch.from_numpy(mass_U.astype(np.float32))[:, None]

    def _tired(self, persons: Sequence[Person], found: Candidates) -> Floats | None:
        """U x C: what is taken off for each time that an item was shown without an answer."""
        shown = [p.state.shown.rows["item"] for p in persons]
        if self.config.fatigue >= 1 or not any(map(len, shown)):
            return None
        tired_UC = np.zeros(found.row_UC.shape, np.float32)
        for u, names in enumerate(shown):
            if len(names):
                row_S = self.items.catalogue.named.find(names)
                times_C = (found.row_UC[u][:, None] == row_S[None, :]).sum(axis=1)
                tired_UC[u] = times_C * np.log(max(self.config.fatigue, 1e-3))
        return tired_UC

    def _take(self) -> None:
        if self.waiting:
            self.sources.live.take(self.waiting, self.items.catalogue)
            self.waiting, self.sources.of_items = [], None
            metrics.gauges(trends_at_seconds=self.sources.live.newest_ms / 1000)

    def _mean(self) -> None:
        """The mean of all item vectors, taken anew when enough has changed."""
        count = len(self.items.index)
        if self.averaged >= 0 and abs(count - self.averaged) <= DRIFT * self.averaged:
            return
        vectors, known = self.items.index.vectors(
            np.fromiter(self.items.catalogue.row_of, np.uint64)
        )
        self.averaged = count
        self.sources.mean_D = vectors[known].mean(axis=0) if known.any() else None
        self._place(np.fromiter(self.items.catalogue.row_of.values(), np.int64))

    def _place(self, row_X: Ints) -> None:
        vectors, known = self.items.index.vectors(self.items.catalogue.name[row_X])
        self.sources.place(row_X, vectors, known)
        if (more := self.items.catalogue.size - len(self.known_N)) > 0:
            self.known_N = np.pad(self.known_N, (0, more + len(self.known_N) // 2))
        self.known_N[row_X] = known

    def _align(self, row_X: Ints) -> None:
        self.sources.model.align(self.items.catalogue, self.items.index.vectors, row_X)
