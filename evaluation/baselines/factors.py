"""ALS and BPR: item factors by the library `implicit`, users' live.

Most people of a stream are new, so a factor learnt for each user would be no baseline: the
user's vector is found anew from his profile each time (ALS: the exact fold-in of its own
least squares; BPR: the mean of his items' factors).

Legend:  F = factors,  I = items,  N = events of a profile, newest first
"""

import json
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.baselines.scorer import Profiles, Scores
from evaluation.recorded import Event, Floats, Log
from workers.terminal import CommandError, Exit

PEERS = Path(".venv-peers/bin/python")


@dataclass(slots=True)
class Als:
    """x = (Y'Y + sum (c_n - 1) y y' + l2)^-1 sum c_n y, c_n = 1 + live_alpha recency^n.

    `refit` events of the stream: items' factors are found anew; 0: never."""

    factors: int = 32
    l2: float = 17.0
    alpha: float = 2.0
    iterations: int = 15
    recency: float = 0.75
    longest: int = 100
    live_alpha: float = 40.0
    refit: int = 0
    seed: int = 1
    peers: Path = PEERS
    profiles: Profiles = field(default_factory=Profiles)
    _item_IF: Floats = field(init=False)
    _gram_FF: Floats = field(init=False)
    _weight_N: Floats = field(init=False)
    _items: int = 0
    _since: int = 0

    def fit(self, history: Log) -> None:
        self._items = len(history.items)
        self._weight_N = (self.live_alpha * self.recency ** np.arange(self.longest)).astype(
            np.float32
        )
        for event in history.each():
            self._note(event)
        self._solve()

    def score(self, user: int, at_ms: int) -> Scores:
        touched_NF = self._item_IF[self.profiles.known(user, at_ms, self.longest)]
        weight_N = self._weight_N[: len(touched_NF)]
        gram_FF = self._gram_FF + (touched_NF.T * weight_N) @ touched_NF
        vector_F = np.linalg.solve(gram_FF, touched_NF.T @ (weight_N + 1))
        score_I: Scores = self._item_IF @ vector_F
        return score_I

    def apply(self, event: Event) -> None:
        self._note(event)
        self._since += 1
        if self.refit and self._since >= self.refit:
            self._solve()

    def _note(self, event: Event) -> None:
        if event.wanted:
            self.profiles.add(event)

    def _solve(self) -> None:
        self._since = 0
        self._item_IF = implicit_factors(
            self.profiles, self.peers, items=self._items,
            settings={"model": "als", "factors": self.factors, "regularization": self.l2,
                      "alpha": self.alpha, "iterations": self.iterations,
                      "random_state": self.seed},
        )  # fmt: skip
        self._gram_FF = self._item_IF.T @ self._item_IF + self.l2 * np.eye(
            self.factors, dtype=np.float32
        )


@dataclass(slots=True)
class Bpr:
    """score = y_i · (spread x mean of recency^n y_n) + bias_i."""

    factors: int = 64
    l2: float = 0.003
    rate: float = 0.02
    iterations: int = 100
    recency: float = 0.8
    longest: int = 100
    spread: float = 3.0
    seed: int = 1
    peers: Path = PEERS
    profiles: Profiles = field(default_factory=Profiles)
    _item_IF: Floats = field(init=False)
    _bias_I: Floats = field(init=False)
    _weight_N: Floats = field(init=False)

    def fit(self, history: Log) -> None:
        for event in history.each():
            self.apply(event)
        found_IF = implicit_factors(
            self.profiles, self.peers, items=len(history.items),
            settings={"model": "bpr", "factors": self.factors, "regularization": self.l2,
                      "learning_rate": self.rate, "iterations": self.iterations,
                      "random_state": self.seed},
        )  # fmt: skip
        self._item_IF, self._bias_I = found_IF[:, :-1], found_IF[:, -1]
        self._weight_N = (self.recency ** np.arange(self.longest)).astype(np.float32)

    def score(self, user: int, at_ms: int) -> Scores:
        touched_NF = self._item_IF[self.profiles.known(user, at_ms, self.longest)]
        if not len(touched_NF):
            return self._bias_I.copy()
        weight_N = self._weight_N[: len(touched_NF)]
        vector_F = self.spread * weight_N @ touched_NF / weight_N.sum()
        score_I: Scores = self._item_IF @ vector_F + self._bias_I
        return score_I

    def apply(self, event: Event) -> None:
        if event.wanted:
            self.profiles.add(event)


def has_peers(python: Path = PEERS) -> bool:
    return python.exists()


def implicit_factors(
    profiles: Profiles, python: Path, *, items: int, settings: dict[str, Any]
) -> Floats:
    """I x F of the items, by evaluation/peers/implicit_factors.py in the peers' environment.
    CommandError if that is not there or fails."""
    if not has_peers(python):
        raise CommandError(f"no {python}: run `make peers`", Exit.MISSING)
    script = Path(__file__).parent.parent / "peers" / "implicit_factors.py"
    users = profiles.users()
    touched = [profiles.told(user)[0] for user in users]
    item_E = np.concatenate(touched)
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "in.npz", Path(folder) / "out.npz"
        np.savez(
            source,
            user_E=np.repeat(np.arange(len(users)), [len(held) for held in touched]),
            item_E=item_E,
            weight_E=np.ones(len(item_E), np.float32),
            shape=np.array([len(users), items]),
        )
        done = subprocess.run(
            [str(python), str(script), str(source), str(target), json.dumps(settings)],
            capture_output=True, text=True, check=False,
            env={"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )  # fmt: skip
        if done.returncode:
            said = (done.stderr.strip().splitlines() or ["nothing"])[-1]
            raise CommandError(f"{script.name} failed in {python}: {said}", Exit.MISSING)
        with np.load(target) as found:
            item_IF: Floats = found["item"].astype(np.float32)
    return item_IF
