"""A ranking model from a log: what speaks for what, user towers, and the blend over all.

    first part of the log -> ease, towers
    the rest, step by step: features as lists would have had them -> what was touched next
    -> prior, blend;  then ease and towers again, of everything

What the blend weighs is always out of the sample that its sources learned from, and as stale as
it will be when it serves. `judge` asks a model before each of the newest events.

Shapes:  E = events,  U = events of a block,  N = rows,  C = candidates,  F = features
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from encoders.law import IMPRESSION, Law
from encoders.tower import TowerSettings
from encoders.tower_data import Touches
from encoders.tower_model import TowerModel
from encoders.tower_train import FineTuning, TowerTraining, fine_tune, train
from ranking.ages import AGES
from ranking.blend import (
    Blend,
    blend_of,
    blend_tensors,
    untrained,
)
from ranking.blend_fit import fit
from ranking.blended import candidates, ordered
from ranking.ease import ease
from ranking.feature_names import FEATURES
from ranking.features import Sources
from ranking.fold_live import fold_live
from ranking.follows import Follows
from ranking.learn_log import UNTIL_MS, Judged, LearnLog
from ranking.learn_settings import LearnSettings
from ranking.model import Fitted, fitted, tower_content, tower_tensors, towers_of
from ranking.people import Ints
from ranking.trend_config import TrendConfig
from ranking.world import World

Progress = Callable[[str, float], None]
GROWN = 1.5  # a log so much longer than the one that the blend is of has more to tell it


def learn(
    log: LearnLog,
    *,
    previous: Mapping[str, Tensor] | None = None,
    seed: int = 0,
    progress: Progress = lambda _what, _share: None,
    settings: LearnSettings | None = None,
    trends: TrendConfig | None = None,
    law: Law | None = None,
) -> dict[str, Tensor]:
    """Tensors of a model (docs/models.md). Raises ValueError where the log is too short. A
    previous model of ours is learned on from, which takes a tenth of the time, until the log
    is half as long again as the one that it began with."""
    if previous is not None and follows_on(previous, events=len(log)):
        return learn_on(previous, log, progress=progress, law=law)
    settings, trends = settings or LearnSettings(), trends or TrendConfig()
    world = World.of(log, law or Law())
    events = len(world.log)
    if events < settings.least:
        raise ValueError(f"{events} events: a model needs {settings.least}; wait for more")
    begin = max(int(events * (1 - settings.tail)), events - settings.most, 1)
    blend, towers = _blend(
        world, begin, seed=seed, settings=settings, trends=trends, told=progress
    )
    progress("ease", 0.0)
    to_NK, weight_NK = ease(world.pasts, items=world.catalogue.size, end=events)
    if settings.anew:
        towers = _towers(world, end=events, seed=seed, settings=settings, told=progress)
    else:
        towers = _tuned(
            world, towers, end=events, new=min(settings.refresh, events - begin)
        )
    progress("done", 1.0)
    return _tensors(world, to_NK, weight_NK, towers, blend, whole=len(log))


def follows_on(tensors: Mapping[str, Tensor], *, events: int) -> bool:
    """Whether a model can be learned on from: it has our parts and our features, and a log of
    so many events has not outgrown the one that its blend was learned from."""
    held, whole = tensors.get("blend.prior_F"), tensors.get("whole")
    if held is None or len(held) != len(FEATURES) or UNTIL_MS not in tensors:
        return False
    return whole is not None and events < GROWN * int(whole)


def learn_on(
    tensors: Mapping[str, Tensor],
    log: LearnLog,
    *,
    progress: Progress = lambda _what, _share: None,
    law: Law | None = None,
) -> dict[str, Tensor]:
    """The model after what is new in the log: what speaks for what is solved anew from all of
    it, the tower learns the newest events, the blend stays (people's answers move it where
    lists are made)."""
    held = tensors["items"].numpy().view(np.uint64)
    world = World.of(log, law or Law(), first=held)
    events = len(world.log)
    new = int((world.log.at_ms_E > int(tensors[UNTIL_MS])).sum())
    progress("ease", 0.0)
    to_NK, weight_NK = ease(world.pasts, items=world.catalogue.size, end=events)
    towers = towers_of(tensors)
    if new:
        progress("tower", 0.0)
        towers = _tuned(world, towers, end=events, new=new)
    progress("done", 1.0)
    blend = blend_of(tensors)
    return _tensors(world, to_NK, weight_NK, towers, blend, whole=int(tensors["whole"]))


def _tensors(
    world: World,
    to_NK: NDArray[np.int32],
    weight_NK: NDArray[np.float32],
    towers: Sequence[TowerModel],
    blend: Blend,
    *,
    whole: int,
) -> dict[str, Tensor]:
    names = world.catalogue.name[: world.catalogue.size].view(np.int64)
    return {
        "items": torch.from_numpy(names.copy()),
        UNTIL_MS: torch.tensor(int(world.log.at_ms_E.max())),
        "whole": torch.tensor(whole),
        "ease.to": torch.from_numpy(to_NK),
        "ease.weight": torch.from_numpy(weight_NK),
        **tower_tensors(towers),
        **blend_tensors(blend),
    }


def judge(
    tensors: Mapping[str, Tensor] | None,
    log: LearnLog,
    *,
    newest: int,
    trends: TrendConfig | None = None,
    law: Law | None = None,
    block: int = 64,
    k: int = 20,
) -> Judged:
    """Hits at 20 of a model (None: plain weights) on the newest events, each asked with what
    was known before it (of others: before its block)."""
    law, trends = law or Law(), trends or TrendConfig()
    world = World.of(log, law)
    hit_N = np.full(newest, np.nan, np.float32)
    model = (
        Fitted("", None, (), untrained())
        if tensors is None
        else fitted(tensors, world.catalogue, version="")
    )
    sources = world.sources(model, trends)
    model.align(world.catalogue, world.vectors, np.zeros(0, np.int64))
    at_N = np.flatnonzero(log.kind_E != IMPRESSION) - (len(log) - newest)
    begin = int((at_N < 0).sum())
    for event_U, fresh_U in _steps(world, sources, begin, len(world.log), block=block):
        row_UK, _, _ = ordered(
            candidates(
                world.pasts.people(event_U), sources, listed_UN=world.listed(event_U), interest_UD=world.interest(event_U, sources),
                memory_UV=world.memory(event_U, model),
            ), sources, k=k,
        )  # fmt: skip
        hit_U = (row_UK == world.pasts.row_E[event_U][:, None]).any(axis=1)
        hit_N[at_N[event_U]] = np.where(fresh_U, hit_U, np.nan)
    return Judged(hit_N)


def _steps(
    world: World, sources: Sources, begin: int, end: int, *, block: int
) -> Iterator[tuple[Ints, NDArray[np.bool_]]]:
    """Blocks of events, each before it is folded in, and which of them lists could foretell:
    items that are here and were not touched before."""
    pasts, law = world.pasts, world.law
    for at in range(0, begin, 20_000):
        fold_live(sources.live, pasts, np.arange(at, min(at + 20_000, begin)), law=law)
    for at in range(begin, end, block):
        event_U = np.arange(at, min(at + block, end))
        new_U = np.array(
            [pasts.row_E[e] not in pasts.touched(e) for e in event_U.tolist()], bool
        )
        yield event_U, new_U & world.asked_E[event_U]
        fold_live(sources.live, pasts, event_U, law=law)


def _blend(
    world: World,
    begin: int,
    *,
    seed: int,
    settings: LearnSettings,
    trends: TrendConfig,
    told: Progress,
) -> tuple[Blend, Sequence[TowerModel]]:
    """Step through the tail twice: a part of it for the prior, all of it for the blend."""
    rng = np.random.default_rng(seed)
    towers = _towers(world, end=begin, seed=seed, settings=settings, told=told)
    model = Fitted("", None, towers, untrained())
    short = min(begin + settings.refresh, len(world.log))
    feature_ECF = _gathered(
        world, model, begin, short, rng=rng, settings=settings, trends=trends, told=told
    )
    model.blend = fit(
        feature_ECF, rows=world.catalogue.size, seed=seed, settings=settings, prior=True
    )
    feature_ECF = _gathered(
        world,
        model,
        begin,
        len(world.log),
        rng=rng,
        settings=settings,
        trends=trends,
        told=told,
    )
    told("blend", 0.0)
    blend = fit(
        feature_ECF,
        rows=world.catalogue.size,
        seed=seed,
        settings=settings,
        prior=False,
        start=model.blend,
    )
    return blend, towers


def _gathered(
    world: World,
    model: Fitted,
    begin: int,
    end: int,
    *,
    rng: np.random.Generator,
    settings: LearnSettings,
    trends: TrendConfig,
    told: Progress,
) -> NDArray[np.float16]:
    """E x C x F: features of what was touched (place 0) and of others: half what the prior
    would choose, half by chance."""
    sources = world.sources(model, trends)
    out, towers = [], model.towers
    rows, half = world.catalogue.size, settings.candidates // 2
    done = begin
    for block_U, fresh_U in _steps(world, sources, begin, end, block=64):
        if (
            model.ease is None
            or block_U[0] - done >= settings.refresh
            or block_U[0] == begin
        ):
            done = int(block_U[0])
            to_NK, weight_NK = ease(world.pasts, items=rows, end=done)
            model.ease = Follows.fixed(np.arange(rows), to_NK.astype(np.int64), weight_NK)
            if done > begin:
                model.towers = towers = _tuned(
                    world, towers, end=done, new=settings.refresh
                )
            model.align(world.catalogue, world.vectors, np.arange(rows))
        told("features", (block_U[0] - begin) / max(1, end - begin))
        event_U = block_U[fresh_U]
        if not len(event_U):
            continue
        listed_UN, wanted_U = world.listed(event_U), world.pasts.row_E[event_U]
        chance_UX = rng.integers(0, rows, (len(event_U), half))
        found = candidates(
            world.pasts.people(event_U), sources, listed_UN=listed_UN,             interest_UD=world.interest(event_U, sources), wanted_U=wanted_U,
            others_UX=chance_UX, size=half, memory_UV=world.memory(event_U, model),
        )  # fmt: skip
        there_UC = found.there_UC.copy()
        there_UC[:, half:] &= found.row_UC[:, half:] != wanted_U[:, None]
        feature_UCF = np.where(there_UC[..., None], found.feature_UCF, np.nan)
        pad = 2 * half - feature_UCF.shape[1]
        out.append(
            np.pad(feature_UCF, ((0, 0), (0, pad), (0, 0)), constant_values=np.nan).astype(
                np.float16
            )
        )
    return (
        np.concatenate(out) if out else np.zeros((0, 2 * half, len(FEATURES)), np.float16)
    )


def _touches(world: World, end: int) -> Touches:
    _, user_E = np.unique(world.log.user_E[:end], return_inverse=True)
    log = world.log
    return Touches(
        user_E=user_E.astype(np.int64), item_E=world.pasts.row_E[:end],
        at_ms_E=log.at_ms_E[:end], kind_E=log.kind_E[:end].astype(np.int64),
        value_E=np.nan_to_num(log.value_E[:end]),
        mass_E=world.law.weights(log.kind_E[:end], np.nan_to_num(log.value_E[:end])).astype(
            np.float32
        ),
    )  # fmt: skip


def _content(world: World, tower: TowerSettings) -> NDArray[np.float32] | None:
    published_N = world.catalogue.published_at_ms[: world.catalogue.size]
    return tower_content(world.vector_ND, published_N, tower)


def _towers(
    world: World, *, end: int, seed: int, settings: LearnSettings, told: Progress
) -> list[TowerModel]:
    if settings.tower is None or end < settings.least:
        return []
    net, count = settings.tower, settings.towers
    net = msgspec.structs.replace(
        net,
        content_width=world.vector_ND.shape[1] + AGES,
        aged_at_ms=max(1, int(world.log.at_ms_E[:end].max())),
    )
    return [
        train(
            _touches(world, end), _content(world, net),
            world.catalogue.name[: world.catalogue.size], settings=net,
            training=TowerTraining(epochs=settings.tower_epochs, seed=count * seed + t),
            progress=lambda share, _, t=t: told("tower", (t + share) / count),  # type: ignore[misc]
        )
        for t in range(count)
    ]  # fmt: skip


def _tuned(
    world: World, towers: Sequence[TowerModel], *, end: int, new: int
) -> list[TowerModel]:
    return [
        fine_tune(
            tower, _touches(world, end), _content(world, tower.settings),
            world.catalogue.name[: world.catalogue.size], new=new,
            tuning=FineTuning(recent=max(4_000, new)), training=TowerTraining(seed=t),
        )
        for t, tower in enumerate(towers)
    ]  # fmt: skip


__all__ = ["LearnSettings", "follows_on", "judge", "learn", "learn_on"]
