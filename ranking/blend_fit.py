"""The prior and the blend, fitted to what was touched among candidates.

Shapes:  E = touches,  U = those of a batch,  C = candidates, the right one first,  F = features
"""

import copy
from math import log as logarithm

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ranking.blend import (
    LONG,
    MOST_FEW,
    Blend,
    loss,
    rarity,
)
from ranking.learn_settings import LearnSettings


def fit(
    feature_ECF: NDArray[np.float16],
    *,
    rows: int,
    seed: int,
    settings: LearnSettings,
    prior: bool,
    start: Blend | None = None,
) -> Blend:
    """Learn the prior (linear, from what chance chose) or the blend (from all). Of the blend's
    passes the one stays that foretells the newest tenth best, which it does not learn from."""
    half = settings.candidates // 2
    if prior:
        feature_ECF = np.concatenate([feature_ECF[:, :1], feature_ECF[:, half:]], axis=1)
    log_w_C = torch.zeros(feature_ECF.shape[1])
    if not prior:  # each that chance chose stands for many that it did not choose
        log_w_C[half:] = logarithm(max((rows - half) / half, 1.0))
    learned, checked = feature_ECF, feature_ECF[len(feature_ECF) * 9 // 10 :]
    if not prior:
        learned = feature_ECF[: len(feature_ECF) * 9 // 10]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        blend = _begun(start, feature_ECF)
        parts = [p for name, p in blend.named_parameters() if (name == "prior_F") == prior]
        rate, epochs = (0.05, 5) if prior else (settings.learning_rate, settings.epochs)
        optimizer = torch.optim.Adam(parts, rate)
        steps = max(1, epochs * len(learned) // 64)
        schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.1, steps)
        best, least = (
            copy.deepcopy(blend),
            _surprise(blend, checked, log_w_C, settings, prior),
        )
        for _ in range(epochs):
            for at_U in torch.randperm(len(learned)).split(64):
                said = _said(blend, learned[at_U.numpy()], log_w_C, settings, prior)
                optimizer.zero_grad()
                said.backward()
                optimizer.step()
                schedule.step()
            now = _surprise(blend, checked, log_w_C, settings, prior)
            if now < least or prior:
                best, least = copy.deepcopy(blend), now
    return best.requires_grad_(False)


def _begun(start: Blend | None, feature_ECF: NDArray[np.float16]) -> Blend:
    """A blend to learn from: calibrated, or one that so far weighs as the prior does."""
    blend = Blend()
    if start is None:
        _calibrate(blend, feature_ECF)
        return blend
    blend.prior_F.data.copy_(start.prior_F)
    blend.linear.weight.data.copy_(start.prior_F[None])
    blend.outer.weight.data.zero_()
    blend.mean_F, blend.scale_F, blend.few = start.mean_F, start.scale_F, start.few
    return blend


def _said(
    blend: Blend,
    feature_UCF: NDArray[np.float16],
    log_w_C: Tensor,
    settings: LearnSettings,
    prior: bool,
) -> Tensor:
    """The loss of a batch."""
    batch = torch.from_numpy(feature_UCF.astype(np.float32))
    missing_UC = batch.isnan().any(dim=2)
    batch = batch.nan_to_num()
    score_UC = (batch @ blend.prior_now() if prior else blend(batch)) + log_w_C
    return loss(
        score_UC.masked_fill(missing_UC, -torch.inf),
        torch.zeros(len(batch), dtype=torch.long),
        rarity(blend, batch[:, 0], settings.rare),
    )


def _surprise(
    blend: Blend,
    feature_ECF: NDArray[np.float16],
    log_w_C: Tensor,
    settings: LearnSettings,
    prior: bool,
) -> float:
    if not len(feature_ECF):
        return float("inf")
    with torch.no_grad():
        return float(_said(blend, feature_ECF, log_w_C, settings, prior))


def _calibrate(blend: Blend, feature_ECF: NDArray[np.float16]) -> None:
    told = feature_ECF.reshape(-1, feature_ECF.shape[2]).astype(np.float32)
    told = told[~np.isnan(told).any(axis=1)]
    if len(told):
        blend.mean_F = torch.from_numpy(told.mean(axis=0))
        std_F = told.std(axis=0)  # what never changed says nothing, whatever it is one day
        scale_F = np.where(std_F > 1e-3, 1 / np.maximum(std_F, 1e-3), 0)
        blend.scale_F = torch.from_numpy(scale_F.astype(np.float32))
        touches = np.expm1(told[:, LONG]).mean() / 4
        blend.few = torch.tensor(min(MOST_FEW, float(touches) / 10))
