"""How many bytes is a user, by number of events?"""

import random
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.report import write  # noqa: E402
from encoders.law import Law  # noqa: E402
from encoders.persist import dumps  # noqa: E402
from encoders.state import fold, new_state  # noqa: E402
from schemas import Interaction  # noqa: E402

NOW = 1_764_000_000_000


def main() -> None:
    rows, random_, state, folded = [], random.Random(0), new_state(Law()), 0
    for events in (1, 10, 50, 100, 256, 500, 1_000, 5_000):
        for n in range(folded, events):
            event = Interaction(
                event_id=f"e{n}", user_id="u", item_id=f"i{int(random_.random() ** 2 * 1682)}",
                kind="click", at_ms=NOW + n,
            )  # fmt: skip
            fold(state, event, offset=n, at_ms=event.at_ms)
        folded, size = events, len(dumps(state))
        rows.append(
            {
                "events": events, "items touched": state.size, "bytes stored": size,
                "as base64": (size + 2) // 3 * 4, "base64 bytes an event": round(size * 4 / 3 / events, 1),
                "bytes at hand": state.nbytes,
            }
        )  # fmt: skip
    write("state-size", "How many bytes is a user, by number of events?", rows)


if __name__ == "__main__":
    main()
