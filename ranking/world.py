"""A log made ready to learn from: its catalogue, what people touched before each event, vectors.

Shapes:  U = events asked about,  N = rows of the catalogue,  D, W = widths of spaces
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from encoders.law import CODES, IMPRESSION, UNWANTED, Law
from ranking.blended import unit
from ranking.catalogue import Catalogue
from ranking.features import Sources
from ranking.histories import Pasts
from ranking.learn_log import LearnLog
from ranking.live import Live
from ranking.model import Fitted
from ranking.people import Ints
from ranking.trend_config import TrendConfig


@dataclass(slots=True, eq=False)
class World:
    """A log made ready: catalogue, what people touched before each event, vectors."""

    log: LearnLog
    catalogue: Catalogue
    pasts: Pasts
    vector_ND: NDArray[np.float32]
    known_N: NDArray[np.bool_]
    law: Law
    asked_E: NDArray[np.bool_]  # events that a list can foretell
    mass_E: NDArray[np.float32]  # what each event counts for in the long-term memory

    @classmethod
    def of(
        cls, log: LearnLog, law: Law, *, first: NDArray[np.uint64] | None = None
    ) -> "World":
        """`first`: items that are to have the first rows, in their order."""
        keep = log.kind_E != IMPRESSION
        log = replace(
            log, user_E=log.user_E[keep], item_E=log.item_E[keep], kind_E=log.kind_E[keep],
            value_E=log.value_E[keep], at_ms_E=log.at_ms_E[keep],
            offset_E=log.offset_E[keep], partition_E=log.partition_E[keep],
        )  # fmt: skip
        catalogue = Catalogue(popular_half_life_ms=1.0)
        items = log.items
        for name in [] if first is None else first.tolist():
            catalogue.place([name])
        for n, name in enumerate(items.hash_I.tolist()):
            catalogue.put(
                name, item_id=items.item_id_I[n], categories=items.categories_I[n],
                available=True, expires_at_ms=1 << 62,
                published_at_ms=int(items.published_at_ms_I[n]),
            )  # fmt: skip
        row_E = catalogue.place(log.item_E)
        pasts = Pasts.of(log.user_E, row_E, log.at_ms_E, log.value_E, log.kind_E)
        unwanted = [CODES[kind] for kind in UNWANTED]
        here_E: NDArray[np.bool_] = ~np.isin(log.kind_E, unwanted) & np.not_equal(
            catalogue.hash[row_E], 0
        )
        vector_ND = np.zeros((catalogue.size, items.vector_ID.shape[1]), np.float32)
        vector_ND[catalogue.place(items.hash_I)] = items.vector_ID
        return cls(
            log, catalogue, pasts, vector_ND, np.asarray(vector_ND.any(axis=1), np.bool_), law,
            here_E,
            law.weights(log.kind_E, np.nan_to_num(log.value_E)).astype(np.float32),
        )  # fmt: skip

    def vectors(
        self, hash_X: NDArray[np.uint64]
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        row_X = self.catalogue.place(hash_X)
        return self.vector_ND[row_X], self.known_N[row_X]

    def sources(self, model: Fitted, config: TrendConfig) -> Sources:
        made = Sources(self.catalogue, Live(config), model)
        made.describe(np.arange(self.catalogue.size))
        if self.known_N.any():
            made.mean_D = self.vector_ND[self.known_N].mean(axis=0)
            made.place(np.arange(self.catalogue.size), self.vector_ND, self.known_N)
        return made

    def interest(self, event_U: Ints, sources: Sources) -> NDArray[np.float32]:
        """U x D: the law's weights over the newest touches, a good stand-in for the masses."""
        people = self.pasts.people(event_U)
        weight_UL = self.law.weights(people.kind_UL, people.value_UL)
        weight_UL = np.where(people.row_UL >= 0, weight_UL, 0).astype(np.float32)
        row_UL = np.maximum(people.row_UL, 0)
        centred_ND = sources.vector_ND if len(sources.vector_ND) else self.vector_ND
        return unit((weight_UL[:, None, :] @ centred_ND[row_UL])[:, 0].astype(np.float32))

    def memory(self, event_U: Ints, model: Fitted) -> Tensor | None:
        """U x V: the mean of the towers' vectors of all that was touched, by what each touch
        was worth."""
        if not len(model.vector_NV):
            return None
        mass_UN = torch.zeros(len(event_U), len(model.vector_NV))
        for u, event in enumerate(event_U.tolist()):
            first, place = int(self.pasts.first_E[event]), int(self.pasts.place_E[event])
            held_X = self.pasts.event_G[first:place]
            mass_UN[u].index_add_(
                0,
                torch.from_numpy(self.pasts.row_E[held_X]),
                torch.from_numpy(self.mass_E[held_X]),
            )
        size_U1 = mass_UN.abs().sum(dim=1, keepdim=True).clamp_min(1e-6)
        return mass_UN @ model.vector_NV / size_U1

    def listed(self, event_U: Ints) -> NDArray[np.bool_]:
        """U x N: what may be listed: items that are here and were not touched before."""
        rows = self.catalogue.size
        listed_UN = np.broadcast_to(
            self.catalogue.hash[:rows] != 0, (len(event_U), rows)
        ).copy()
        for u, event in enumerate(event_U.tolist()):
            listed_UN[u, self.pasts.touched(event)] = False
        return listed_UN
