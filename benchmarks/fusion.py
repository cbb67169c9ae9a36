"""Which fusion of what is known of an item is best, and what is each modality worth?

Films of MovieLens-100k with four slots: text (title and genres), image (the poster), year (a
brought vector) and cf (factors of who touched what in the history; absent for what is cold).
Every fusion is trained once on the history; a slot is dropped at test time only. Two tasks:

- next item: each event of the stretch is a target; its user is the mean of the items that he
  had so far, newest counting most; all unseen items are ranked by cosine.
- together: items that one person touched within three steps of another are to be found from
  it, among all items. Folds: each time other 15 % of the items are new: their interactions
  are taken out of the training (and so they have no cf). "new": pairs with such an item.

Settings were chosen with `--stretch tune`: learned from the first 70,000 events, measured on
the 10,000 after them. `--stretch test` learns from 80,000 and measures on the last 20,000.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from msgspec.structs import replace

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import report  # noqa: E402
from benchmarks.fusion_data import (  # noqa: E402
    HISTORY,
    TUNED_ON,
    Log,
    Measured,
    NextItem,
    Space,
    Together,
    cf_column,
    content_columns,
    interval,
    log_of,
    only,
    without,
)
from encoders.config import EncoderConfig  # noqa: E402
from encoders.fusion import Fused, SlotColumn  # noqa: E402
from encoders.fusion_load import Projected  # noqa: E402
from encoders.fusion_model import FusionModel  # noqa: E402
from encoders.fusion_nets import Kind, NetSettings  # noqa: E402
from encoders.fusion_train import FusionTraining, co_visited, train  # noqa: E402
from workers import movielens  # noqa: E402

Fuse = Callable[..., Fused]
QUESTION = "Which fusion is best, and what is each modality worth?"
SLOTS = ("text", "image", "year", "cf")
KINDS: tuple[Kind, ...] = ("weighted", "joint", "cascade", "sample", "graph", "adversarial")
# tuned on the history's last 10,000 events: how much the event before counts against the newest
DECAYS = {"text": 0.95, "image": 0.8, "year": 0.8, "cf": 0.9, "fused": 0.8}
# posters and titles are few and say much at random: more components learn that by heart
NET = NetSettings(
    components_slots={"image": 16, "text": 32}, order=("text", "year", "image", "cf")
)
TRAINING = FusionTraining(
    steps=120,
    batch=256,
    learning_rate=5e-3,
    temperature=0.2,
    log_q=0.5,
    drop_slots={"cf": 0.5},
)
COMPONENTS: Mapping[str, int] = {"graph": 32}  # of image: it also finds neighbours by them
LEARNING_RATE: Mapping[str, float] = {"joint": 2e-3}  # attention does not bear the others'


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a space is worth in both tasks."""

    hit: Measured
    coverage: float
    recall: Measured
    reciprocal: Measured


PARTS: Mapping[str, Callable[[Outcome], Measured]] = {
    "hit": lambda outcome: outcome.hit,
    "recall": lambda outcome: outcome.recall,
    "MRR": lambda outcome: outcome.reciprocal,
    "new": lambda outcome: _sliced(outcome.recall),
}


@dataclass(frozen=True, slots=True)
class World:
    """The log cut by time, the slots with the cf that each training may know, and the tasks."""

    history: Log
    columns: Sequence[SlotColumn]
    next_item: NextItem
    folds: Sequence[tuple[Log, Sequence[SlotColumn], Together]]

    @property
    def items(self) -> int:
        return len(self.columns[0].present_E)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--posters", type=Path, required=True, help="folder of N.jpg")
    options.add_argument("--cache", type=Path, required=True, help="folder for encodings")
    options.add_argument("--data", type=Path, help="folder with MovieLens; else the cache")
    options.add_argument("--stretch", choices=("tune", "test"), default="test")
    options.add_argument("--folds", type=int, default=3, help="item-cold splits, at most 6")
    options.add_argument("--kinds", default=",".join(KINDS))
    said = options.parse_args()
    began = time.perf_counter()
    world = world_of(said)
    for word in (
        said.posters,
        said.cache,
        said.data,
    ):  # a result names no machine's folders
        sys.argv[:] = ["FOLDER" if arg == str(word) else arg for arg in sys.argv]
    rows, figures = table(world, said.kinds.split(","))
    name = "fusion" if said.stretch == "test" else "fusion-tuning"
    if said.kinds != ",".join(KINDS):
        name += f"-{said.kinds.replace(',', '-')}"
    report.write(
        name,
        QUESTION,
        rows,
        f"stretch: {said.stretch}; {said.folds} item-cold folds; "
        f"{len(world.next_item.user_E)} events; "
        f"{sum(len(t.left_P) for _, _, t in world.folds)} pairs, "
        f"{sum(int(t.new_P.sum()) for _, _, t in world.folds)} of them with a new item",
        "± columns: 95 % by 1,000 resamples of the users (hit) or items (the rest), paired; "
        "`loses` is the whole minus the row without a slot; `gains` is the fusion minus the "
        "best single slot in that column. An interval above 0 shows it",
        f"took {time.perf_counter() - began:.0f} s",
    )
    file = report.RESULTS / f"{datetime.now(UTC):%Y-%m-%d}-{name}.json"
    file.write_text(json.dumps(figures, indent=1) + "\n")


def world_of(said: argparse.Namespace) -> World:
    """The data, cut: nothing after the stretch's start is known to any training."""
    data = movielens.read(movielens.fetch(cache=said.data or said.cache))
    log, items = log_of(data), len(data.films)
    start, end = (
        (HISTORY, len(log.user_E)) if said.stretch == "test" else (TUNED_ON, HISTORY)
    )
    content = content_columns(data, posters=said.posters, cache=said.cache)
    history, stretch = log.cut(0, start), log.cut(start, end)
    shuffled_N = np.random.default_rng(0).permutation(items)
    size, folds = round(0.15 * items), []
    for fold in range(said.folds):
        new_N = np.zeros(items, dtype=bool)
        new_N[shuffled_N[fold * size : (fold + 1) * size]] = True
        known = history.without(new_N)
        columns = [*content, cf_column(known, items=items)]
        folds.append((known, columns, Together.of(stretch, reach=3, new_N=new_N)))
    return World(
        history,
        [*content, cf_column(history, items=items)],
        NextItem.of(
            log, start=start, end=end, items=items, decays=sorted(set(DECAYS.values()))
        ),
        folds,
    )


def table(
    world: World, kinds: Sequence[str]
) -> tuple[list[dict[str, object]], dict[str, object]]:
    """Singles, the untrained two, then each kind whole and without each slot."""
    figures: dict[str, object] = {}
    rows: list[dict[str, object]] = []
    singles = {}
    for name in SLOTS:
        spaces = [only(columns, name) for _, columns, _ in world.folds]
        singles[name] = outcome(
            world, only(world.columns, name), spaces, decay=DECAYS[name]
        )
        rows.append(row(f"{name} alone", "", singles[name], figures=figures))
    shared = {"world": world, "singles": singles, "figures": figures}
    for kind in ("concatenation", "weighted"):
        projected = Projected(EncoderConfig(fusion=kind))
        calls: list[Fuse] = [projected.fuse] * (len(world.folds) + 1)
        rows += fused_rows(f"{kind}, untrained", calls=calls, **shared)
    for kind in kinds:
        print(f"{kind} ...", flush=True)
        models = [learned(world.history, world.columns, kind)]
        models += [learned(known, columns, kind) for known, columns, _ in world.folds]
        rows += fused_rows(kind, calls=[model.fuse for model in models], **shared)
    return rows, figures


def learned(log: Log, columns: Sequence[SlotColumn], kind: str) -> FusionModel:
    """A fusion of this kind from what this log knows."""
    rate = LEARNING_RATE.get(kind, TRAINING.learning_rate)
    return train(
        columns,
        co_visited(log.user_E, log.item_E, reach=5),
        items=len(columns[0].present_E),
        net=replace(
            NET,
            kind=kind,
            components_slots=NET.components_slots
            | {"image": COMPONENTS.get(kind, NET.components_slots["image"])},
        ),
        training=replace(TRAINING, learning_rate=rate),
    )


def fused_rows(
    name: str,
    *,
    world: World,
    singles: Mapping[str, Outcome],
    figures: dict[str, object],
    calls: Sequence[Fuse],
) -> list[dict[str, object]]:
    """The whole fusion, and it without each slot. `calls`: for the whole history, and for
    each fold."""

    def measured(*gone: str) -> Outcome:
        first, *others = calls
        whole = _space(first(without(world.columns, *gone), rows=world.items))
        spaces = [
            _space(call(without(columns, *gone), rows=world.items))
            for call, (_, columns, _) in zip(others, world.folds, strict=True)
        ]
        return outcome(world, whole, spaces, decay=DECAYS["fused"])

    whole = measured()
    rows = [row(name, "", whole, singles=singles, figures=figures)]
    rows += [
        row(name, slot, measured(slot), whole=whole, figures=figures) for slot in SLOTS
    ]
    return rows


def outcome(world: World, whole: Space, folds: Sequence[Space], *, decay: float) -> Outcome:
    """Both tasks; the folds' pairs one after the other, clusters are items throughout."""
    hit, coverage = world.next_item.measure(whole, decay=decay)
    pairs = [t.measure(s) for s, (_, _, t) in zip(folds, world.folds, strict=True)]
    return Outcome(
        hit, coverage, _joined([p[0] for p in pairs]), _joined([p[1] for p in pairs])
    )


def row(
    name: str,
    gone: str,
    ours: Outcome,
    *,
    figures: dict[str, object],
    singles: Mapping[str, Outcome] | None = None,
    whole: Outcome | None = None,
) -> dict[str, object]:
    """A line of the table, and the same unrounded into `figures`."""
    told: dict[str, tuple[float, float, float]] = {}
    for part, of in PARTS.items():
        mine = of(ours)
        told[part] = (mine.mean, *interval(mine))
        theirs = _against(part, singles, whole)
        if theirs is not None:
            pair = (mine, theirs) if whole is None else (theirs, mine)
            difference = pair[0].mean - pair[1].mean
            told[f"{part} difference"] = (difference, *interval(*pair))
    figures[f"{name} without {gone}" if gone else name] = told
    sign = {
        k: _difference(told.get(f"{k} difference"), "loses" if whole else "gains")
        for k in PARTS
    }
    return {
        "fusion": f"… without {gone}" if gone else f"**{name}**",
        "hit@20": _figure(told["hit"]),
        "cold items": f"{_sliced(ours.hit).mean:.3f}",
        "coverage": f"{ours.coverage:.2f}",
        "± hit": sign["hit"],
        "recall@20": _figure(told["recall"]),
        "± recall": sign["recall"],
        "MRR": _figure(told["MRR"]),
        "± MRR": sign["MRR"],
        "recall@20 new": _figure(told["new"]),
        "± new": sign["new"],
    }


def _against(
    part: str, singles: Mapping[str, Outcome] | None, whole: Outcome | None
) -> Measured | None:
    """What a row is compared with: the whole, or the best single slot in this column."""
    of = PARTS[part]
    if whole is not None:
        return of(whole)
    if singles is None:
        return None
    return max((of(single) for single in singles.values()), key=lambda m: m.mean)


def _sliced(measured: Measured) -> Measured:
    assert measured.slice_P is not None
    return measured.sliced(measured.slice_P)


def _joined(parts: Sequence[Measured]) -> Measured:
    return Measured(
        np.concatenate([p.value_P for p in parts]),
        np.concatenate([p.cluster_P for p in parts]),
        np.concatenate([p.slice_P for p in parts if p.slice_P is not None]),
    )


def _space(fused: Fused) -> Space:
    return Space(fused.vector_ED, fused.present_E)


def _figure(told: tuple[float, float, float]) -> str:
    return f"{told[0]:.4f} [{told[1]:.4f}, {told[2]:.4f}]"


def _difference(told: tuple[float, float, float] | None, word: str) -> str:
    if told is None:
        return ""
    return f"{word} {told[0]:+.4f} [{told[1]:+.4f}, {told[2]:+.4f}]"


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
