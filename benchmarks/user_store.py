"""How many users a second are saved for good, and loaded, in the embedded store?

Also how long one step of a save keeps other threads waiting (the engine holds Python's lock),
and what the folder weighs when the same users are saved over and over.
"""

import argparse
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.report import percentile, write  # noqa: E402
from workers.edge import EdgeUserStore  # noqa: E402
from workers.ports import Applied, Progress, StoredUser, point_id_of  # noqa: E402

WIDTH = 256


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=20, help="saves of the same users")
    said = options.parse_args()
    rows = [
        measure(users, nbytes, said.rounds)
        for users, nbytes in ((200, 2048), (1000, 2048), (5000, 2048), (5000, 8192))
    ]
    write("user-store", "How many users a second does the embedded store save?", rows)


def measure(users: int, nbytes: int, rounds: int) -> dict[str, object]:
    chance = np.random.default_rng(0)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        store = EdgeUserStore(folder, width=WIDTH)
        took, longest, weight = [], 0.0, []
        for turn in range(rounds):
            batch = [_user(chance, n, turn * users + n, nbytes) for n in range(users)]
            with _Stall() as stall:
                began = time.perf_counter()
                store.save(batch)
                store.advance([_progress(turn)])
                took.append(time.perf_counter() - began)
            longest = max(longest, stall.longest_s)
            weight.append(_mib(Path(folder)))
        began = time.perf_counter()
        store.load([one.point_id for one in batch])
        loaded = time.perf_counter() - began
        store.close()
    return {
        "users": users,
        "state bytes": nbytes,
        "save p50 ms": round(1e3 * percentile(took, 0.5)),
        "saved/s": round(users / percentile(took, 0.5)),
        "loaded/s": round(users / loaded),
        "longest stall ms": round(1e3 * longest),
        "MiB half way": round(weight[rounds // 2]),
        "MiB at the end": round(weight[-1]),
    }


def _user(chance: np.random.Generator, n: int, offset: int, nbytes: int) -> StoredUser:
    return StoredUser(
        point_id=point_id_of(f"u{n}"),
        user_id=f"u{n}",
        interest=chance.standard_normal(WIDTH, np.float32),
        applied=Applied(topic_id="t", partition=0, offset=offset),
        as_of_ms=offset,
        model="m",
        state=chance.bytes(nbytes),
    )


def _progress(turn: int) -> Progress:
    return Progress(topic_id="t", partition=0, offset=turn, writer="w", turn=turn)


def _mib(folder: Path) -> float:
    return sum(p.stat().st_blocks * 512 for p in folder.rglob("*") if p.is_file()) / 2**20


class _Stall:
    """The longest that a thread which wants to run every millisecond had to wait."""

    def __enter__(self) -> "_Stall":
        self.longest_s = 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._tick)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _tick(self) -> None:
        last = time.perf_counter()
        while not self._over.wait(0.001):
            now = time.perf_counter()
            self.longest_s, last = max(self.longest_s, now - last), now


if __name__ == "__main__":
    main()
