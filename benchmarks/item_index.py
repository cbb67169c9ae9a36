"""How long does a list take to search, in the worker's matrix and in the embedded engine?

Beside both, the bare matrix product that an exact search can't be faster than. A third of
the items expires, a hundred a list are excluded.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.report import percentile, write  # noqa: E402
from ranking.index import NEVER_MS, Ask, IndexedItem  # noqa: E402
from ranking.resident import ResidentIndex  # noqa: E402
from workers.edge import EdgeItemIndex  # noqa: E402

WIDTH = 256


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--items", default="1682,100000", help="sizes, comma-separated")
    options.add_argument(
        "--engine-items", type=int, default=20_000, help="largest size for it"
    )
    said = options.parse_args()
    rows = [
        row
        for size in (int(part) for part in said.items.split(","))
        for row in measure(size, engine=size <= said.engine_items)
    ]
    write("item-index", "How long does a list take to search?", rows)


def measure(size: int, *, engine: bool) -> list[dict[str, object]]:
    chance = np.random.default_rng(0)
    hashes = np.unique(chance.integers(1, 2**64 - 1, size, dtype=np.uint64))
    matrix = chance.standard_normal((len(hashes), WIDTH), dtype=np.float32)
    items = [
        IndexedItem(
            hash=name, vector=matrix[n], expires_at_ms=NEVER_MS if n % 3 else 10**6 + n
        )
        for n, name in enumerate(hashes.tolist())
    ]
    resident = ResidentIndex(WIDTH)
    resident.put(items)
    rows = []
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        edge = EdgeItemIndex(folder, width=WIDTH)
        edge.put(items if engine else items[:1])
        for lists in (1, 20, 500):
            ask = Ask(
                vector_UD=chance.standard_normal((lists, WIDTH), dtype=np.float32),
                as_of_ms_U=chance.integers(10**6, 10**6 + 100, lists),
                category_U=[""] * lists,
                exclude_U=[chance.choice(hashes, 100) for _ in range(lists)],
            )
            rows.append(
                {
                    "items": size,
                    "lists": lists,
                    "product ms": _ms(lambda a=ask: a.vector_UD @ matrix.T),
                    "resident ms": _ms(lambda a=ask: resident.search(a, limit=10)),
                    "engine ms": _ms(lambda a=ask: edge.search(a, limit=10), times=3)
                    if engine and lists <= 20
                    else "",
                    "vectors 25k ms": _ms(
                        lambda: resident.vectors(chance.choice(hashes, 25_000))
                    ),
                }
            )
        edge.close()
    return rows


def _ms(call: Callable[[], object], times: int = 15) -> float:
    took = []
    for _ in range(times):
        began = time.perf_counter()
        call()
        took.append(time.perf_counter() - began)
    return round(1e3 * percentile(took, 0.5), 2)


if __name__ == "__main__":
    main()
