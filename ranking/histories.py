"""A log as what each person had touched before each event: people, without a fold.

Shapes:  E = events of the log,  G = the same, person after person,  U = events asked about,
         L = newest touches before each, newest first
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ranking.people import LATEST, Ints, People


@dataclass(frozen=True, slots=True, eq=False)
class Pasts:
    """`event_G` lists events person after person, in the log's order; `place_E` is where an
    event stands there and `first_E` where its person begins. `items_E`: how many different
    items the person had touched before."""

    row_E: Ints
    at_ms_E: Ints
    value_E: NDArray[np.float32]
    kind_E: NDArray[np.uint8]
    event_G: Ints
    place_E: Ints
    first_E: Ints
    items_E: Ints

    @classmethod
    def of(
        cls,
        user_E: NDArray[np.uint64],
        row_E: Ints,
        at_ms_E: Ints,
        value_E: NDArray[np.float32],
        kind_E: NDArray[np.uint8],
    ) -> "Pasts":
        """Group a log by person."""
        event_G = np.argsort(user_E, kind="stable")
        place_E = np.empty(len(event_G), np.int64)
        place_E[event_G] = np.arange(len(event_G))
        user_G = user_E[event_G]
        begins_G = np.concatenate([[True], user_G[1:] != user_G[:-1]])[: len(user_G)]
        person_G = np.cumsum(begins_G) - 1
        first_G = np.flatnonzero(begins_G)[person_G]
        new_G = np.zeros(len(event_G), np.int64)
        new_G[np.unique((person_G << 32) | row_E[event_G], return_index=True)[1]] = 1
        before_G = np.cumsum(new_G) - new_G
        items_E = (before_G - before_G[first_G])[place_E]
        return cls(
            row_E, at_ms_E, value_E, kind_E, event_G, place_E, first_G[place_E], items_E
        )

    def people(self, event_U: Ints) -> People:
        """Whose events these are, as they were just before them."""
        back_UL = self.place_E[event_U][:, None] - 1 - np.arange(LATEST)
        there_UL = back_UL >= self.first_E[event_U][:, None]
        held_UL = self.event_G[np.where(there_UL, back_UL, 0)]
        at_UL = self.at_ms_E[held_UL]
        newest_U = np.where(there_UL[:, 0], at_UL[:, 0], self.at_ms_E[event_U])
        return People(
            row_UL=np.where(there_UL, self.row_E[held_UL], -1),
            age_ms_UL=np.where(there_UL, newest_U[:, None] - at_UL, 0).astype(np.float32),
            value_UL=np.where(there_UL, np.nan_to_num(self.value_E[held_UL]), 0),
            kind_UL=np.where(there_UL, self.kind_E[held_UL], 0).astype(np.uint8),
            touched_U=self.items_E[event_U],
            as_of_ms_U=newest_U,
        )

    def touched(self, event: int) -> Ints:
        """Rows of all that this event's person touched before it."""
        first, place = int(self.first_E[event]), int(self.place_E[event])
        return self.row_E[self.event_G[first:place]]

    def pairs(self, event_U: Ints, *, lags: int) -> tuple[Ints, Ints, Ints, Ints]:
        """What each event follows: (event, lag from 0, owner row, gap in ms) of all pairs."""
        back_UL = self.place_E[event_U][:, None] - 1 - np.arange(lags)
        there_UL = back_UL >= self.first_E[event_U][:, None]
        u_C, lag_C = np.nonzero(there_UL)
        before_C = self.event_G[back_UL[u_C, lag_C]]
        event_C = event_U[u_C]
        gap_C = np.abs(self.at_ms_E[event_C] - self.at_ms_E[before_C])
        return event_C, lag_C, self.row_E[before_C], gap_C
