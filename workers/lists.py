"""Who is to have a list, into lists: encode the users, search, rank, give reasons.

Shapes:  U = lists of a chunk,  K = places,  M = past items that reasons are sought among,
         D = width of the space
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from encoders.interest import Masses, interest, masses
from encoders.law import hash64
from encoders.state import UserState
from ranking.reasons import past, reasons
from ranking.slate import Places, Wanted, places, slate_items
from schemas import CONTENT_TYPES, Encoding, Reason, Slate, SlateItem, encode
from workers import metrics
from workers.blending import Blending, Person
from workers.config import ListConfig
from workers.decode import carried
from workers.folding import Asked
from workers.items import Items
from workers.ports import Ask, Outbound
from workers.users import Held

CHUNK = 512
PAST = 24
NAMED = ("interest", "together", "sequence", "category", "query")
RANKER, BLEND = "cosine-1", "blend-1"


@dataclass(slots=True, eq=False)
class Lists:
    """Makes lists from what is asked, with the items as they are now."""

    items: Items
    config: ListConfig
    topic: str
    encoding: Encoding
    model: str
    blending: Blending | None = None

    def make(self, asked: Sequence[Asked]) -> list[Outbound]:
        """Every list, as it goes out, in the order in which it was asked for."""
        if self.blending is not None:
            self.blending.refresh()
        out: list[Outbound] = []
        for at in range(0, len(asked), CHUNK):
            chunk = asked[at : at + CHUNK]
            living = [a for a in chunk if not a.erased]
            slates = dict(zip(map(id, living), self._slates(living), strict=True))
            out += [self._outbound(a, slates.get(id(a))) for a in chunk]
        return out

    def learn(self, asked: Sequence[Asked]) -> None:
        """After lists went out: what people just did moves the blend of the next ones."""
        if self.blending is not None:
            self.blending.learn([a.user.state for a in asked if _touched(a)])

    def encode_users(self, users: Sequence[Held]) -> Masses:
        """Bring each user's interest up to the state; returns what it was made of."""
        states = [user.state for user in users]
        held = masses(states, heaviest=self.config.heaviest)
        vector_UD = interest(
            states, held, self._vectors, width=self.items.width, encoder=self.items.encoder
        ).numpy()
        for u, user in enumerate(users):
            user.interest, user.interest_at = vector_UD[u].copy(), user.state.applied
        return held

    def _slates(self, asked: Sequence[Asked]) -> list[Slate]:
        if not asked:
            return []
        with metrics.stage("encode"):
            held = self.encode_users([a.user for a in asked])
            wanted, vector_UD = self._wanted(asked)
        with metrics.stage("search"):
            rows = self._places(asked, wanted, held, vector_UD)
        with metrics.stage("rank"):
            items = slate_items(rows, self._reasons(held, rows), self.items.catalogue)
        for source, n in Counter(_source(row) for row in items).items():
            metrics.lists(source, n)
        blended = self.blending is not None and self.blending.ready
        versions = {
            "encoder": self.items.encoder,
            "model": self.model,
            "ranker": BLEND if blended else RANKER,
        }
        return [
            Slate(
                slate_id=f"{a.records[-1].partition}-{a.records[-1].offset}",
                user_id=a.user.user_id,
                as_of_ms=a.user.state.as_of_ms,
                k=self.config.k,
                items=row,
                caused_by=a.caused_by,
                caused_at_ms=a.records[0].timestamp_ms,
                versions=versions,
            )
            for a, row in zip(asked, items, strict=True)
        ]

    def _places(
        self,
        asked: Sequence[Asked],
        wanted: Sequence[Wanted],
        held: Masses,
        vector_UD: NDArray[np.float32],
    ) -> Places:
        """Blended where there is more to go by than content; what was asked in words, a picture
        or a sound is searched for, and the blend orders what is found. Then filled up."""
        blending = self.blending
        if blending is None or not blending.ready:
            return self._filled(wanted, *self._search(asked, wanted, vector_UD))
        persons = [
            Person(a.user.state, a.user.interest, w, hash64(a.user.user_id))
            for a, w in zip(asked, wanted, strict=True)
        ]
        said = {u: d for u, a in enumerate(asked) if (d := self._said(a)) is not None}
        if said and self.items.catalogue.size:
            made = self._answered(persons, held, said)
        else:
            made = blending.places(persons, held, k=self.config.k)
        return self._filled(wanted, made.hash_UK, made.score_UK, made.source_UK)

    def _answered(
        self,
        persons: Sequence[Person],
        held: Masses,
        said: Mapping[int, NDArray[np.float32]],
    ) -> Places:
        """Where some of these asked for something (`said`): their answers, and others' lists."""
        assert self.blending is not None
        k, at_S = self.config.k, list(said)
        others = [u for u in range(len(persons)) if u not in said]
        parts = [
            self.blending.answers(
                [persons[u] for u in at_S],
                _picked(held, at_S),
                np.stack([*said.values()]),
                k=k,
            ),
            self.blending.places([persons[u] for u in others], _picked(held, others), k=k),
        ]
        back_U = np.argsort([*at_S, *others])
        return Places(
            np.concatenate([p.hash_UK for p in parts])[back_U],
            np.concatenate([p.score_UK for p in parts])[back_U],
            np.concatenate([p.source_UK for p in parts])[back_U],
        )

    def _filled(
        self,
        wanted: Sequence[Wanted],
        hash_UK: NDArray[np.uint64],
        score_UK: NDArray[np.floating[Any]],
        source_UK: NDArray[np.object_] | None = None,
    ) -> Places:
        return places(
            wanted,
            hash_UK=hash_UK,
            score_UK=score_UK,
            source_UK=source_UK,
            catalogue=self.items.catalogue,
            fresh_share=self.config.fresh_share,
        )

    def _wanted(self, asked: Sequence[Asked]) -> tuple[list[Wanted], NDArray[np.float32]]:
        """What each list must leave out, and the unit vector that it is searched by: the
        interest, or for a query what was asked and the interest together."""
        vector_UD = _unit(np.stack([a.user.interest for a in asked]))
        wanted = []
        for u, a in enumerate(asked):
            source = "interest"
            if (said_D := self._said(a)) is not None:
                share = self.config.query_weight
                vector_UD[u] = share * said_D + (1 - share) * vector_UD[u]
                source = "query"
            wanted.append(
                Wanted(
                    as_of_ms=a.user.state.as_of_ms,
                    category=a.category,
                    exclude=self._seen(a.user.state),
                    source=source,
                )
            )
        return wanted, _unit(vector_UD)

    def _said(self, a: Asked) -> NDArray[np.float32] | None:
        """D: the unit vector of what was asked, if it is one in the space of the items."""
        query = a.query
        if not (query and query.vector and query.encoder == self.items.encoder):
            return None
        said_D = _unit(np.frombuffer(query.vector, "<f4")[None])[0]
        return said_D if said_D.any() else None

    def _seen(self, state: UserState) -> NDArray[np.uint64]:
        seen = state.seen_items()
        repeat = set(self.config.repeat_categories)
        if not repeat:
            return seen
        catalogue = self.items.catalogue
        kept = [
            name
            for name in seen.tolist()
            if (row := catalogue.row_of.get(name)) is None
            or not (catalogue.categories[row] & repeat)
        ]
        return np.array(kept, np.uint64)

    def _search(
        self,
        asked: Sequence[Asked],
        wanted: Sequence[Wanted],
        vector_UD: NDArray[np.float32],
    ) -> tuple[NDArray[np.uint64], NDArray[np.float32]]:
        """K candidates a list; rows with nothing to search by find nothing. What was shown
        without an answer is tired: its score falls, and others may pass it."""
        k = self.config.k
        shown = [a.user.state.shown.rows["item"] for a in asked]
        tired = self.config.fatigue < 1 and any(len(s) for s in shown)
        found = self.items.index.search(
            Ask(
                vector_UD=vector_UD,
                as_of_ms_U=np.array([w.as_of_ms for w in wanted], np.int64),
                category_U=[w.category for w in wanted],
                exclude_U=[w.exclude for w in wanted],
            ),
            limit=4 * k if tired else k,
        )
        hash_UK, score_UK = found.hash_UK.copy(), found.score_UK.copy()
        hash_UK[~vector_UD.any(axis=1)] = 0
        if tired:
            for u, names in enumerate(shown):
                times = (hash_UK[u][:, None] == names[None, :]).sum(axis=1)
                again = np.flatnonzero(times)
                loss = 1 - self.config.fatigue ** times[again]
                score_UK[u, again] -= np.abs(score_UK[u, again]) * loss
            order = np.argsort(-score_UK, axis=1, kind="stable")
            hash_UK = np.take_along_axis(hash_UK, order, axis=1)
            score_UK = np.take_along_axis(score_UK, order, axis=1)
        return hash_UK[:, :k], score_UK[:, :k]

    def _reasons(self, held: Masses, rows: Places) -> list[list[Reason]]:
        """Why each place is what it is, place after place."""
        before = past(held, size=PAST)
        names_UX = np.concatenate([before.hash_UM, rows.hash_UK], axis=1)
        vectors, _ = self.items.index.vectors(names_UX.ravel())
        vector_UXD = vectors.reshape(*names_UX.shape, -1)
        return reasons(
            before,
            past_UMD=vector_UXD[:, :PAST],
            listed_UK=rows.hash_UK,
            listed_UKD=vector_UXD[:, PAST:],
            catalogue=self.items.catalogue,
            limit=self.config.reasons,
        )

    def _vectors(self, hash_E: NDArray[np.uint64]) -> tuple[Tensor, Tensor]:
        vectors, known = self.items.index.vectors(hash_E)
        return torch.from_numpy(vectors), torch.from_numpy(known)

    def _outbound(self, a: Asked, slate: Slate | None) -> Outbound:
        cause = a.records[-1]
        if slate is None:
            metrics.lists("erased")
            value = None
        else:
            value = encode(slate, self.encoding)
        headers = (
            ("content-type", CONTENT_TYPES[self.encoding].encode()),
            ("caused-at-ms", str(a.records[0].timestamp_ms).encode()),
            *carried(cause),
        )
        return Outbound(self.topic, cause.key, value, cause.partition, headers)


def _picked(held: Masses, rows: Sequence[int]) -> Masses:
    """The masses of some of the users, in this order."""
    part = [slice(held.start_U[u], held.start_U[u + 1]) for u in rows]
    count = np.array([p.stop - p.start for p in part], np.int64)
    return Masses(
        np.concatenate([held.item_E[p] for p in part] or [held.item_E[:0]]),
        np.concatenate([held.weight_E[p] for p in part] or [held.weight_E[:0]]),
        np.concatenate([np.zeros(1, np.int64), np.cumsum(count)]),
        held.scale_U[list(rows)],
    )


def _touched(a: Asked) -> bool:
    """Whether the newest touch is of this batch: an older one is in the trends already, and
    would teach that they know everything."""
    if a.erased or not len(a.user.state.ring):
        return False
    newest = int(a.user.state.ring.rows[-1]["event"])
    return any(hash64(event_id) == newest for event_id in a.caused_by)


def _unit(vector_UD: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows of length one; zero rows stay zero."""
    length_U = np.linalg.norm(vector_UD, axis=1, keepdims=True)
    unit_UD: NDArray[np.float32] = np.zeros_like(vector_UD)
    np.divide(vector_UD, length_U, out=unit_UD, where=length_U > 0)
    return unit_UD


def _source(row: Sequence[SlateItem]) -> str:
    if not row:
        return "empty"
    return row[0].source if row[0].source in NAMED else "cold"
