"""`rec tune tower`: settings of the user tower, searched on a recorded log.

Shapes:  E = events,  N = items,  C = width of their vectors
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from encoders.law import CODES, IMPRESSION, Law, hash64
from encoders.tower_data import Touches
from schemas import DecodeError, Interaction, ItemVectors, decode
from workers.terminal import CommandError, Exit, console, say_json

_ROLES = {"interaction": "events", "item_vectors": "item-vectors"}


def tune_tower(
    events: Path, *, trials: int, seconds: float | None, storage: Path, as_json: bool
) -> int:
    """Search, and print what was found. Raises CommandError where a file or optuna is not
    there, or the log is too short."""
    from encoders.tower_tune import tune

    touches, content_NC, hash_N = read(events)
    with _Bar(trials) as bar:
        try:
            found = tune(
                touches, content_NC, hash_N,
                trials=trials, seconds=seconds, storage=storage, progress=bar.told,
            )  # fmt: skip
        except ImportError as error:
            raise CommandError(str(error), Exit.MISSING) from error
        except ValueError as error:
            raise CommandError(f"{events}: {error}", Exit.USAGE) from error
    out = console()
    told = msgspec.to_builtins(found)
    if as_json:
        say_json(told)
        return Exit.DONE
    out.print(f"hit rate at 20: {found.hit_rate:.4f}, the best of {found.trials} trials")
    for part in ("settings", "training"):
        out.print(part, json.dumps(told[part]), markup=False, soft_wrap=True)
    return Exit.DONE


def read(
    file: Path,
) -> tuple[Touches, NDArray[np.float32] | None, NDArray[np.uint64]]:
    """The interactions of a JSONL file in order of time, and the fused vectors of items where
    it holds records of them. CommandError names the line that is wrong."""
    records = list(_records(file))
    said = [
        r for r in records if isinstance(r, Interaction) and CODES[r.kind] != IMPRESSION
    ]
    if not said:
        raise CommandError(
            f"{file} holds no interaction: a line is one JSON map with "
            '"type":"interaction" (docs/schemas/interaction.json)',
            Exit.USAGE,
        )
    said.sort(key=lambda event: event.at_ms)
    vectors = {
        r.item_id: r.fused for r in records if isinstance(r, ItemVectors) and r.fused
    }
    item_of = {name: n for n, name in enumerate(dict.fromkeys([e.item_id for e in said]))}
    for name in vectors:
        item_of.setdefault(name, len(item_of))
    hash_N = np.array([hash64(name) for name in item_of], np.uint64)
    return _touches(said, item_of), _content(vectors, item_of, file), hash_N


def _touches(said: list[Interaction], item_of: dict[str, int]) -> Touches:
    user_of = {name: n for n, name in enumerate(dict.fromkeys(e.user_id for e in said))}
    kind_E = np.array([CODES[e.kind] for e in said], np.int64)
    value_E = np.array([e.value or 0.0 for e in said], np.float32)
    return Touches(
        user_E=np.array([user_of[e.user_id] for e in said], np.int64),
        item_E=np.array([item_of[e.item_id] for e in said], np.int64),
        at_ms_E=np.array([e.at_ms for e in said], np.int64),
        kind_E=kind_E,
        value_E=value_E,
        mass_E=Law().weights(kind_E.astype(np.uint8), value_E).astype(np.float32),
    )


def _content(
    vectors: dict[str, Any], item_of: dict[str, int], file: Path
) -> NDArray[np.float32] | None:
    if not vectors:
        return None
    rows = {name: np.frombuffer(fused, "<f4") for name, fused in vectors.items()}
    widths = sorted({len(row) for row in rows.values()})
    if len(widths) > 1:
        raise CommandError(
            f"{file}: fused vectors are {widths} wide: give those of one encoder",
            Exit.USAGE,
        )
    content_NC = np.zeros((len(item_of), widths[0]), np.float32)
    for name, row in rows.items():
        content_NC[item_of[name]] = row
    return content_NC


def _records(file: Path) -> Iterator[Any]:
    try:
        lines = file.read_bytes().splitlines()
    except OSError as error:
        raise CommandError(f"{file} can't be read: {error.strerror}", Exit.USAGE) from error
    for number, line in enumerate(lines, start=1):
        try:
            tree = msgspec.json.decode(line) if line.strip() else {}
            role = _ROLES.get(tree.get("type", "") if isinstance(tree, dict) else "")
            if role is not None:
                yield decode(role, line, "application/json")
        except (DecodeError, msgspec.DecodeError) as error:
            raise CommandError(f"{file}, line {number}: {error}", Exit.USAGE) from error


class _Bar:
    """Trials that are done and the best up to now, where somebody looks."""

    def __init__(self, trials: int) -> None:
        from rich.progress import Progress

        self._progress = Progress(console=console(stderr=True), transient=True)
        self._task = self._progress.add_task("trials", total=trials)

    def __enter__(self) -> "_Bar":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def told(self, done: int, best: float) -> None:
        self._progress.update(
            self._task, completed=done, description=f"trials, best {best:.4f}"
        )
