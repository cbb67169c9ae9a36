"""Settings of a tower by search: temporal cross-validation, within a budget, resumable.

Each fold foretells a stretch of the log from all that came before it; never is anything
learned from what came later. The search is optuna's TPE (Bergstra 2011; Akiba 2019), which
gives up early on settings that do worse on the first folds than half of the others did.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from encoders.tower import TowerSettings
from encoders.tower_data import Touches
from encoders.tower_score import ranks
from encoders.tower_train import TowerTraining, train

if TYPE_CHECKING:
    import optuna

K = 20
TrialDone = Callable[[int, float], None]
"""Called after each trial with how many are done, and the best score up to now."""


Space = Callable[[Any, TowerSettings, TowerTraining], tuple[TowerSettings, TowerTraining]]


@dataclass(frozen=True, slots=True)
class Fold:
    """Events [0, begin) are learned from, [begin, end) are foretold."""

    begin: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuned:
    """The best settings found, their hit rate at 20 over all folds, and how many trials are in
    the storage."""

    settings: TowerSettings
    training: TowerTraining
    hit_rate: float
    trials: int


def folds(events: int, *, count: int = 2, share: float = 0.0625) -> tuple[Fold, ...]:
    """The last `count` stretches of this share of the log, one after the other. Raises
    ValueError where that leaves nothing to learn from."""
    size = int(events * share)
    if size < 1 or events - count * size < size:
        raise ValueError(
            f"{events} events give no {count} folds of {share:g} with a history before them: "
            "give a longer log, or fewer or smaller folds"
        )
    first = events - count * size
    return tuple(Fold(first + n * size, first + (n + 1) * size) for n in range(count))


def space(
    trial: Any, settings: TowerSettings, training: TowerTraining
) -> tuple[TowerSettings, TowerTraining]:
    """What is searched, and between what; the rest is as given. `trial` is optuna's."""
    return (
        msgspec.structs.replace(
            settings,
            width=trial.suggest_categorical("width", [32, 64, 96, 128]),
            blocks=trial.suggest_int("blocks", 1, 3),
            length=trial.suggest_categorical("length", [25, 50, 100]),
            interests=trial.suggest_categorical("interests", [1, 2, 4]),
            dropout=trial.suggest_float("dropout", 0.0, 0.5),
            trust=trial.suggest_float("trust", 0.1, 20.0, log=True),
            memory=trial.suggest_categorical("memory", [True, False]),
        ),
        msgspec.structs.replace(
            training,
            epochs=trial.suggest_int("epochs", 5, 80, log=True),
            batch=trial.suggest_categorical("batch", [8, 16, 32, 64]),
            learning_rate=trial.suggest_float("learning_rate", 3e-4, 2e-2, log=True),
            weight_decay=trial.suggest_float("weight_decay", 1e-4, 0.3, log=True),
            half_life_days=trial.suggest_float("half_life_days", 7.0, 365.0, log=True),
            drop_id=trial.suggest_float("drop_id", 0.0, 0.5),
        ),
    )


def tune(
    log: Touches,
    content_NC: NDArray[np.float32] | None,
    hash_N: NDArray[np.uint64],
    *,
    trials: int,
    seconds: float | None = None,
    storage: Path,
    progress: TrialDone | None = None,
    over: Sequence[Fold] | None = None,
    settings: TowerSettings | None = None,
    training: TowerTraining | None = None,
    search: Space = space,
    seed: int = 0,
) -> Tuned:
    """The best of `trials` settings, as far as `seconds` reach (the trial under way then is
    ended first). `storage`: a journal file; given again, the search goes on, and trials that
    it holds count. `settings` and `training` are the first guess, which `search` must hold,
    and what is not searched.

    Raises ImportError where the extra `learn` is not installed, ValueError where the log is
    too short, or no trial is in the storage.
    """
    over = over or folds(len(log))
    width = 0 if content_NC is None else content_NC.shape[1]
    settings = msgspec.structs.replace(settings or TowerSettings(), content_width=width)
    training = training or TowerTraining()
    study = _study(storage, seed=seed)
    if not study.trials:
        study.enqueue_trial(_first(search, settings, training))
    left = trials - len(_ended(study))
    if left > 0:
        study.optimize(
            _objective(log, content_NC, hash_N, over, search, settings, training),
            n_trials=left, timeout=seconds, callbacks=[_teller(progress)],
        )  # fmt: skip
    if not _whole(study):
        raise ValueError(f"{storage} holds no ended trial: give trials and seconds for one")
    best, way = search(_fixed(study.best_params), settings, training)
    ended = len(_ended(study))
    return Tuned(settings=best, training=way, hit_rate=study.best_value, trials=ended)


def _objective(
    log: Touches,
    content_NC: NDArray[np.float32] | None,
    hash_N: NDArray[np.uint64],
    *held: Any,
) -> Callable[["optuna.Trial"], float]:
    """What is maximised: the hit rate over all folds."""
    over, search, settings, training = held

    def objective(trial: "optuna.Trial") -> float:
        tried, way = search(trial, settings, training)
        rates = _rates(log, content_NC, hash_N, over=over, settings=tried, training=way)
        rate = 0.0
        for step, rate in enumerate(rates, start=1):
            trial.report(rate, step)
            if step < len(over) and trial.should_prune():
                raise _optuna().TrialPruned
        return rate

    return objective


def _teller(progress: TrialDone | None) -> Callable[["optuna.Study", Any], None]:
    def told(study: "optuna.Study", _: Any) -> None:
        if progress is not None:
            progress(len(_ended(study)), study.best_value if _whole(study) else 0.0)

    return told


def _rates(
    log: Touches,
    content_NC: NDArray[np.float32] | None,
    hash_N: NDArray[np.uint64],
    *,
    over: Sequence[Fold],
    settings: TowerSettings,
    training: TowerTraining,
) -> Iterator[float]:
    """After each fold the hit rate over all up to it."""
    hits: list[NDArray[np.bool_]] = []
    for fold in over:
        past = log.part(0, fold.begin)
        model = train(past, content_NC, hash_N, settings=settings, training=training)
        rank_E = ranks(model, log, content_NC, hash_N, begin=fold.begin, end=fold.end)
        hits.append(rank_E <= K)
        yield float(np.concatenate(hits).mean())


def _first(
    search: Space, settings: TowerSettings, training: TowerTraining
) -> dict[str, Any]:
    """The first guess, as a trial: what the search would have suggested."""
    guess = _fixed({**msgspec.structs.asdict(settings), **msgspec.structs.asdict(training)})
    search(guess, settings, training)
    return dict(guess.params)


def _fixed(values: dict[str, Any]) -> Any:
    return _optuna().trial.FixedTrial(values)


def _study(storage: Path, *, seed: int) -> "optuna.Study":
    """The one in this journal. Gone on with, it draws by another seed than it began with."""
    _optuna()
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    study: optuna.Study = optuna.create_study(
        study_name="tower",
        storage=JournalStorage(JournalFileBackend(str(storage))),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=4),
        direction="maximize",
        load_if_exists=True,
    )
    study.sampler = optuna.samplers.TPESampler(seed=seed + len(study.trials))
    return study


def _ended(study: "optuna.Study") -> list["optuna.trial.FrozenTrial"]:
    return [trial for trial in study.trials if trial.state.is_finished()]


def _whole(study: "optuna.Study") -> bool:
    return any(trial.state.name == "COMPLETE" for trial in study.trials)


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise ImportError("tuning needs optuna: pip install 'streamrec[learn]'") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
