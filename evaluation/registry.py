"""What `rec evaluate` can measure, by name, each with its settings and their reasons.

All settings were found on the last 10,000 events of MovieLens-100k's history (fit on the
70,000 before), never on the stream. What they share: the newest events of a profile say far
more than the rest, so every live baseline weighs them by `recency`; the best is lower, the
less a method knows of the order itself.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from encoders.config import EncoderConfig
from evaluation.baselines.content import Content, text_vectors
from evaluation.baselines.covisitation import CoVisitation
from evaluation.baselines.ease import Ease
from evaluation.baselines.factors import PEERS, Als, Bpr
from evaluation.baselines.logit import Logit
from evaluation.baselines.neighbours import ItemKnn
from evaluation.baselines.scorer import Ranked, Scorer
from evaluation.baselines.simple import Chance, Popularity
from evaluation.protocol import Recommender
from evaluation.recorded import Log
from evaluation.stale import AGES_MS, KINDS, stale

PARTS = ("covisitation", "popularity", "trend", "content")  # scorers inside a scorer


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What a recommender may need to be made: the log's catalogue (not its events), where
    vectors are kept, the peers' Python; and what several of one run learn alike."""

    log: Log
    cache: Path | None = None
    peers: Path = PEERS
    given: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing to measure. `family` groups it in the report; `make` may be slow."""

    family: str
    about: str
    make: Callable[[Setting], Recommender]


def ranked(name: str, scorer: Scorer) -> Recommender:
    """A baseline as a recommender; its settings are its public fields."""
    return Ranked(name, scorer, described(scorer))


def described(scorer: object) -> str:
    """The public plain fields of a scorer, those of its parts in brackets: what it was set to."""
    said = []
    for one in fields(scorer):  # type: ignore[arg-type]
        if one.name.startswith("_") or not one.init:
            continue
        value = getattr(scorer, one.name)
        if isinstance(value, float):
            said.append(f"{one.name}={value:g}")
        elif isinstance(value, (bool, int, str)):
            said.append(f"{one.name}={value}")
        elif one.name in PARTS:
            said.append(f"{one.name}({described(value)})")
    return " ".join(said)


def content(setting: Setting, **chosen: float) -> Content:
    return Content(text_vectors(setting.log.items, cache=setting.cache), **chosen)  # type: ignore[arg-type]


def _sasrec(*, tuned: bool) -> Scorer:
    from evaluation.baselines.sasrec import SasRec  # torch's optimisers take a second

    return SasRec(tune_each=1000 if tuned else 0)


def _logit(setting: Setting) -> Scorer:
    return Logit(
        CoVisitation(alpha=0.4, beta=0.5),
        Popularity(half_life=16_000),
        content(setting),
    )


BASELINES: Mapping[str, Entry] = {
    "random": Entry("floor", "any item", lambda _: ranked("random", Chance())),
    "popularity": Entry(
        "floor",
        "counts of the history",
        lambda _: ranked("popularity", Popularity(online=False)),
    ),
    "popularity-online": Entry(
        "floor",
        "decayed counts, live",
        lambda _: ranked("popularity-online", Popularity(half_life=16_000)),
    ),
    "item-knn": Entry(
        "neighbours",
        "cosine, as the history left it, all of a profile alike",
        lambda _: ranked(
            "item-knn", ItemKnn(recency=1.0, beta=0.5, shrink=20, online=False)
        ),
    ),
    "item-knn-online": Entry(
        "neighbours",
        "newest events count most, live",
        lambda _: ranked(
            "item-knn-online", ItemKnn(beta=0.7, shrink=2, recency=0.7, longest=300)
        ),
    ),
    "covisitation": Entry(
        "neighbours",
        "what follows what, by lag, decayed, live",
        lambda _: ranked("covisitation", CoVisitation()),
    ),
    "ease": Entry(
        "linear",
        "as the history left it, all of a profile alike",
        lambda _: ranked("ease", Ease(l2=300, online=False)),
    ),
    "ease-online": Entry(
        "linear",
        "newest events count most, solved anew each 1,000 events",
        lambda _: ranked(
            "ease-online",
            Ease(l2=300, recency=0.9, longest=300, alpha=0.1, lag=0.97, refit=1000),
        ),
    ),
    "als": Entry(
        "factors",
        "library implicit; users folded in live, items anew each 1,000 events",
        lambda setting: ranked("als", Als(refit=1000, peers=setting.peers)),
    ),
    "bpr": Entry(
        "factors",
        "library implicit; users' mean of factors, live",
        lambda setting: ranked("bpr", Bpr(peers=setting.peers)),
    ),
    "sasrec": Entry(
        "neural",
        "learnt on the history, sequences live",
        lambda _: ranked("sasrec", _sasrec(tuned=False)),
    ),
    "sasrec-tuned": Entry(
        "neural",
        "and tuned anew each 1,000 events",
        lambda _: ranked("sasrec-tuned", _sasrec(tuned=True)),
    ),
    "text": Entry(
        "content",
        "MiniLM over title and genres",
        lambda setting: ranked("text", content(setting)),
    ),
    "logit": Entry(
        "blend",
        "co-visitation, popularity, text and age, weights anew each 1,000 events",
        lambda setting: ranked("logit", _logit(setting)),
    ),
}


def with_ages(name: str, make: Callable[[Setting], Recommender]) -> dict[str, Entry]:
    """The same with late state: `name@1h` (refreshed each hour), `name@1h-old`, ..."""

    def late(age: str, kind: str) -> Callable[[Setting], Recommender]:
        return lambda setting: stale(make(setting), age, kind)

    said = {"": "refreshed each", "-old": "told late by"}
    return {
        f"{name}@{age}{kind}": Entry("stale", f"{said[kind]} {age}", late(age, kind))
        for kind in KINDS
        for age in AGES_MS
    }


def served(setting: Setting, **chosen: Any) -> Recommender:
    from evaluation.served import Served  # the whole worker takes seconds to import

    items = setting.log.items
    vector_IW = text_vectors(items, cache=setting.cache)
    config = EncoderConfig(image="none", audio="none", video="none", sensor="none")
    return Served(
        items=items, vector_IW=vector_IW, config=config, given=setting.given, **chosen
    )


def frozen(setting: Setting, **chosen: Any) -> Recommender:
    return served(setting, name="streamrec-frozen", refresh=0, **chosen)


def frozen_late(setting: Setting) -> Recommender:
    """Lists so long that enough is left without what the worker has not heard of yet."""
    return frozen(setting, places=100)


SERVED: Mapping[str, Entry] = {
    "streamrec": Entry(
        "served",
        "the recommend worker, its trends 2 s late, its model by the train worker's rounds",
        served,
    ),
    "streamrec-frozen": Entry(
        "served", "the same, its model as the history left it", frozen
    ),
    "streamrec-untrained": Entry(
        "served",
        "the same without a model: plain weights",
        lambda setting: served(setting, name="streamrec-untrained", model=False),
    ),
}

RECOMMENDERS: Mapping[str, Entry] = {
    **SERVED,
    **BASELINES,
    **with_ages("streamrec-frozen", frozen_late),
    **with_ages("covisitation", BASELINES["covisitation"].make),
}
