"""A small world of items and people, whose lists are looked at."""

from dataclasses import fields, replace
from typing import Any

import numpy as np

from encoders.law import CODES, hash64
from ranking.blend import untrained
from ranking.blended import Candidates, candidates, ordered, unit
from ranking.catalogue import Catalogue
from ranking.features import Sources
from ranking.live import Live
from ranking.model import Fitted
from ranking.people import LATEST, People
from ranking.trend_config import TrendConfig
from schemas import TrendTable

AT_MS = 1_764_000_000_000
WIDTH, GENRES, ITEMS = 8, 4, 24


def world(items: int = ITEMS, *, vectors: bool = True) -> Sources:
    """Items of four genres, whose vectors are their genre's but for a little; who touched one
    went on to the next."""
    catalogue = Catalogue(popular_half_life_ms=1.0)
    for n in range(items):
        catalogue.put(
            hash64(f"i{n}"), item_id=f"i{n}", categories=frozenset({f"g{n % GENRES}"}),
            available=True, expires_at_ms=1 << 60, published_at_ms=AT_MS,
        )  # fmt: skip
    live = Live(TrendConfig())
    live.take(
        [
            TrendTable(
                name=f"follows/session/0/i{n}", at_ms=AT_MS, rows=[(f"i{n + 1}", 9.0)]
            )
            for n in range(items - 1)
        ],
        catalogue,
    )
    sources = Sources(catalogue, live, Fitted("", None, (), untrained()))
    rows = np.arange(items)
    sources.describe(rows)
    rng = np.random.default_rng(0)
    vector_ND = np.eye(WIDTH, dtype=np.float32)[rows % GENRES]
    vector_ND += rng.normal(0, 0.1, vector_ND.shape).astype(np.float32)
    if vectors and items:
        sources.mean_D = unit(vector_ND).mean(axis=0)
        sources.place(rows, unit(vector_ND), np.ones(items, bool))
    return sources


def people(*touched: list[int], as_of_ms: int = AT_MS) -> People:
    """Each touched these rows, the newest first, a minute between."""
    row_UL = np.full((len(touched), LATEST), -1, np.int64)
    for u, rows in enumerate(touched):
        row_UL[u, : len(rows)] = rows
    age_UL = np.where(row_UL >= 0, 60_000.0 * np.arange(LATEST), 0).astype(np.float32)
    return People(
        row_UL=row_UL,
        age_ms_UL=age_UL,
        value_UL=np.zeros(row_UL.shape, np.float32),
        kind_UL=np.full(row_UL.shape, CODES["click"], np.uint8),
        touched_U=(row_UL >= 0).sum(axis=1),
        as_of_ms_U=np.full(len(touched), as_of_ms),
    )


def some(who: People, part: slice) -> People:
    return replace(who, **{f.name: getattr(who, f.name)[part] for f in fields(who)})


def interests(who: People, sources: Sources) -> np.ndarray:
    if not len(sources.vector_ND):
        return np.zeros((len(who), WIDTH), np.float32)
    known_UL = (who.row_UL >= 0) & (who.row_UL < len(sources.vector_ND))
    held_ULD = sources.vector_ND[np.where(known_UL, who.row_UL, 0)] * known_UL[..., None]
    return unit(held_ULD.sum(axis=1))


def allowed(who: People, sources: Sources) -> np.ndarray:
    """All that is here and was not touched."""
    listed_UN = np.ones((len(who), sources.catalogue.size), bool)
    for u, rows in enumerate(who.row_UL):
        listed_UN[u, rows[(rows >= 0) & (rows < listed_UN.shape[1])]] = False
    return listed_UN


def chosen(who: People, sources: Sources, listed_UN: np.ndarray, **more: Any) -> Candidates:
    return candidates(
        who, sources, listed_UN=listed_UN, interest_UD=interests(who, sources), **more
    )


def listed(
    who: People,
    sources: Sources,
    listed_UN: np.ndarray | None = None,
    *,
    k: int = 10,
    **more: Any,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    listed_UN = allowed(who, sources) if listed_UN is None else listed_UN
    return ordered(chosen(who, sources, listed_UN, **more), sources, k=k)
