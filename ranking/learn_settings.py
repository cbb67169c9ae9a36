"""What an operator may choose about learning a model. Values only."""

from typing import Annotated

import msgspec

from encoders.tower import TowerSettings
from ranking.blend import RARE


class LearnSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a model is learned."""

    least: int = 500
    """events below which there is nothing to learn from"""
    tail: float = 0.35
    """share of the log, the newest, that the blend learns from"""
    most: int = 30_000
    """events that the blend learns from, at most"""
    refresh: int = 5_000
    """events after which ease and tower are learned anew while the blend learns"""
    candidates: int = 160
    """candidates of an event that the blend learns from, one the right one"""
    epochs: int = 8
    rare: float = RARE
    """weight of a touch of an item that few touched, against others, for the blend"""
    learning_rate: float = 3e-3
    tower: TowerSettings | None = TowerSettings()
    """the user towers; null: none"""
    towers: Annotated[int, msgspec.Meta(ge=1)] = 2
    """how many, which began by other seeds and speak as one"""
    tower_epochs: int = 16
    anew: bool = True
    """whether the tower is learned anew from the whole log once the blend is learned, rather than only
    tuned on what came since: as long again, and better"""
