"""From outcomes to every number of the report. Pure: the same outcomes, the same numbers.

Legend:  E = events of the stream,  K = places of a list
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from evaluation import metrics
from evaluation.intervals import Interval, interval, paired
from evaluation.metrics import Values
from evaluation.protocol import Outcome, Split
from evaluation.recorded import Bools, Floats, Log
from evaluation.slices import Stream, by_gap, by_length, slices, stream_of

ACCURACY = ("hit@10", "hit@20", "ndcg@10", "ndcg@20")
HEAD = "hit@20"
SERVED = "served"  # family of what we measure ourselves by
"""The measure that tables are sorted by and curves are drawn of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """All that is said of one recommender. `accuracy[slice][measure]`; `gap` and `length`:
    the head measure by band; `against`: head measure minus the best other's, paired, by
    slice; `p50_ms`, `p99_ms`: of a list."""

    name: str
    family: str
    about: str
    settings: str
    accuracy: Mapping[str, Mapping[str, Interval]]
    gap: Mapping[str, Interval]
    length: Mapping[str, Interval]
    against: Mapping[str, tuple[str, Interval]]
    coverage: float
    diversity: Interval
    novelty: Interval
    calibration: Interval
    popularity_lift: Interval
    p50_ms: float
    p99_ms: float
    apply_ms: float
    fit_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """One evaluation: what log, what split, who was measured and who was not (and why)."""

    log: str
    users: int
    items: int
    split: Split
    stream_users: int
    not_targets: int
    seed: int
    scores: tuple[Score, ...]
    not_run: Mapping[str, str]


def summarise(
    log: Log,
    split: Split,
    outcomes: Sequence[Outcome],
    *,
    told: Mapping[str, tuple[str, str]],
    not_run: Mapping[str, str],
    distance_II: Floats | None = None,
    seed: int = 0,
) -> Summary:
    """`told`: family and a few words by name. `distance_II`: for diversity; without it, the
    cosine distance of the categories."""
    _, has_IG = log.genres()
    share_IG = metrics.shares(has_IG)
    stream = stream_of(log, split, share_IG)
    if distance_II is None:
        distance_II = metrics.cosine_distance(has_IG)
    best = _best(outcomes, stream)
    ours = {name for name, (family, _) in told.items() if family == SERVED}
    scores = [
        _score(outcome, outcomes, stream, share_IG=share_IG, distance_II=distance_II,
               told=told.get(outcome.name, ("", "")),
               best=_others(best, outcome.name, ours), seed=seed)
        for outcome in outcomes
    ]  # fmt: skip
    scores.sort(key=lambda s: -np.nan_to_num(s.accuracy["all"][HEAD].mean))
    return Summary(
        log=log.name,
        users=len(log.users),
        items=len(log.items),
        split=split,
        stream_users=len(np.unique(stream.user_E)),
        not_targets=int((~stream.target_E).sum()),
        seed=seed,
        scores=tuple(scores),
        not_run=not_run,
    )


def accuracy_of(outcome: Outcome) -> dict[str, Values]:
    """The value of each accuracy measure, event by event."""
    found = {}
    for name in ACCURACY:
        measure, _, k = name.partition("@")
        found[name] = (metrics.hit if measure == "hit" else metrics.ndcg)(
            outcome.rank_E, int(k)
        )
    return found


def _score(
    outcome: Outcome,
    outcomes: Sequence[Outcome],
    stream: Stream,
    *,
    share_IG: Values,
    distance_II: Floats,
    told: tuple[str, str],
    best: Mapping[str, Sequence[str]],
    seed: int,
) -> Score:
    value = accuracy_of(outcome)

    def over(mask_E: Bools, value_E: Values) -> Interval:
        return interval(value_E[mask_E], stream.user_E[mask_E], seed=seed)

    parts = slices(stream)
    list_EK = outcome.list_EK
    listed_E = metrics.popularity(list_EK, stream.count_I)
    mix_EG = metrics.category_mix(list_EK, share_IG)
    every = np.ones(len(stream.user_E), np.bool_)
    return Score(
        name=outcome.name,
        family=told[0],
        about=told[1],
        settings=outcome.settings,
        accuracy={
            part: {name: over(mask_E, value[name]) for name in ACCURACY}
            for part, mask_E in parts.items()
        },
        gap={band: over(mask_E, value[HEAD]) for band, mask_E in by_gap(stream).items()},
        length={
            band: over(mask_E, value[HEAD]) for band, mask_E in by_length(stream).items()
        },
        against=_against(outcome, outcomes, stream, parts=parts, best=best, seed=seed),
        coverage=metrics.coverage(list_EK, len(share_IG)),
        diversity=over(every, metrics.diversity(list_EK, distance_II)),
        novelty=over(every, metrics.novelty(list_EK, stream.people_I, stream.people)),
        calibration=over(every, metrics.calibration(mix_EG, stream.profile_EG)),
        popularity_lift=over(
            every, metrics.popularity_lift(listed_E, stream.profile_popularity_E)
        ),
        p50_ms=float(np.quantile(outcome.ms_E, 0.5)),
        p99_ms=float(np.quantile(outcome.ms_E, 0.99)),
        apply_ms=outcome.apply_ms,
        fit_s=outcome.fit_s,
    )


def _against(
    outcome: Outcome,
    outcomes: Sequence[Outcome],
    stream: Stream,
    *,
    parts: Mapping[str, Bools],
    best: Mapping[str, Sequence[str]],
    seed: int,
) -> dict[str, tuple[str, Interval]]:
    """By slice: the best of the others, and the paired difference to it."""
    by_name = {other.name: other for other in outcomes}
    found = {}
    for part, mask_E in parts.items():
        if best[part] and mask_E.any():
            ours_E = accuracy_of(outcome)[HEAD][mask_E]
            theirs_E = accuracy_of(by_name[best[part][0]])[HEAD][mask_E]
            found[part] = (
                best[part][0],
                paired(ours_E, theirs_E, stream.user_E[mask_E], seed=seed),
            )
    return found


def _best(outcomes: Sequence[Outcome], stream: Stream) -> dict[str, list[str]]:
    """By slice: all, the best first, by the head measure. Stale variants are nobody's rival."""
    found = {}
    for part, mask_E in slices(stream).items():
        mean = {
            outcome.name: float(accuracy_of(outcome)[HEAD][mask_E].mean())
            for outcome in outcomes
            if "@" not in outcome.name and mask_E.any()
        }
        found[part] = sorted(mean, key=lambda name: -mean[name])
    return found


def _others(
    best: Mapping[str, Sequence[str]], own: str, served: Collection[str]
) -> dict[str, list[str]]:
    """The same without this one; and what is served is no rival of what is served."""
    left_out = {own, *(served if own in served else ())}
    return {
        part: [name for name in names if name not in left_out]
        for part, names in best.items()
    }
