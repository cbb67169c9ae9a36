"""Does what is asked for fit the person, too?

MovieLens-100k: the served system learns from the history; then people who are about to touch a film
ask for its genres, and what they touch next is looked for in the answer. And people ask for titles
that they have not touched, which are to be found first, whoever asks.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as `rec` does

import msgspec  # noqa: E402
import numpy as np  # noqa: E402

from benchmarks.report import write  # noqa: E402
from encoders.config import EncoderConfig  # noqa: E402
from encoders.content import TextContent  # noqa: E402
from encoders.fusion import columns_of  # noqa: E402
from encoders.fusion_load import load_fusion  # noqa: E402
from encoders.load import load_encoders  # noqa: E402
from evaluation.baselines.content import SPEC, text_vectors  # noqa: E402
from evaluation.recorded import Log, movielens_100k  # noqa: E402
from evaluation.served import Served  # noqa: E402
from ranking.learn_settings import LearnSettings  # noqa: E402
from schemas import Query, Signal  # noqa: E402

PLACES = 50
COUNT = count()
CONFIG = EncoderConfig(
    text=SPEC, image="none", audio="none", video="none", sensor="none", device="cpu"
)
WAYS: dict[str, float | None] = {
    "by content: vectors of both added": None,
    "the question alone": 1.0,
    "blended, half of each": 0.5,
    "blended, the default": 0.7,
    "the person alone, among the 200 nearest": 0.0,
}


@dataclass(frozen=True, slots=True)
class Wish:
    """Who asks for what, and which film is meant."""

    user_id: str
    words: str
    item_id: str


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--history", type=int, default=30_000)
    options.add_argument("--asks", type=int, default=600)
    options.add_argument("--titles", type=int, default=250)
    options.add_argument("--tower-epochs", type=int, default=3)
    options.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "streamrec")
    said = options.parse_args()
    log = movielens_100k(cache=said.cache)
    served = Served(
        items=log.items, vector_IW=text_vectors(log.items, cache=said.cache), config=CONFIG,
        refresh=0, places=PLACES, explore=0.0, blend_rate=0.0,
        learning=LearnSettings(
            epochs=2, tower_epochs=said.tower_epochs, anew=False, most=6_000
        ),
    )  # fmt: skip
    history = log.head(said.history)
    served.fit(history)
    asks, titles = genres_of_next(log, said), titles_unseen(log, history, said)
    rows = [
        {"answered": way, **next_found(served, asks, share), **found(served, titles, share)}
        for way, share in WAYS.items()
    ]
    write(
        "queries", "Does what is asked for fit the person, too?", rows,
        f"MovieLens-100k: learned, briefly, from the first {said.history:,} events; {len(asks)} times "
        "somebody asks for the genres of the film that they touch next and had not touched before, "
        f"{len(titles)} times for a title by chance; one seed; the bound of the person's part "
        "(ranking/asked.py) was chosen by such asks",
    )  # fmt: skip


def genres_of_next(log: Log, said: argparse.Namespace) -> list[Wish]:
    """What is touched after the history, every fifth event, as a wish for its genres."""
    touched = {(e.user_id, e.item_id) for e in log.events[: said.history]}
    categories = {i.item_id: ", ".join(i.categories) for i in log.items}
    return [
        Wish(e.user_id, categories[e.item_id], e.item_id)
        for e in log.events[said.history :: 5]
        if (e.user_id, e.item_id) not in touched
    ][: said.asks]


def titles_unseen(log: Log, history: Log, said: argparse.Namespace) -> list[Wish]:
    """Any film, by its title, and somebody of the history who has not touched it."""
    rng = np.random.default_rng(0)
    touched = {(e.user_id, e.item_id) for e in history.events}
    people = sorted({e.user_id for e in history.events})
    made: list[Wish] = []
    while len(made) < said.titles:
        item, user = log.items[rng.integers(len(log.items))], str(rng.choice(people))
        if (user, item.item_id) not in touched:
            made.append(Wish(user, item.title, item.item_id))
    return made


def next_found(
    served: Served, wishes: Sequence[Wish], share: float | None
) -> dict[str, object]:
    place_E = places(served, wishes, share)
    return {
        "next first": f"{(place_E == 1).mean():.3f}",
        "next in 10": f"{(place_E <= 10).mean():.3f}",
        "next, mean 1/place": f"{(1 / place_E).mean():.3f}",
    }


def found(served: Served, wishes: Sequence[Wish], share: float | None) -> dict[str, object]:
    place_E = places(served, wishes, share)
    return {
        "title first": f"{(place_E == 1).mean():.3f}",
        "title in 3": f"{(place_E <= 3).mean():.3f}",
    }


def places(served: Served, wishes: Sequence[Wish], share: float | None) -> np.ndarray:
    """E: where each one's film is in the answer; infinite where it is not. `share`: the
    question's; none: as lists by content are made."""
    lists, replay = served._worker.lists, served._replay
    blending = lists.blending
    assert blending is not None
    if share is not None:
        blending.config = msgspec.structs.replace(blending.config, query_weight=share)
    lists.blending = None if share is None else blending
    place_E = np.full(len(wishes), np.inf)
    for n, (wish, vector) in enumerate(zip(wishes, fused(wishes), strict=True)):
        name = f"ask-{next(COUNT)}"
        replay.send([
            Query(event_id=name, user_id=wish.user_id, at_ms=replay.now_ms, text=wish.words),
            Signal(
                event_id=f"{name}#q", of=name, cause="query", user_id=wish.user_id,
                at_ms=replay.now_ms, vector=vector.astype("<f4").tobytes(), modality="text",
                encoder=served.encoder,
            ),
        ])  # fmt: skip
        answer = [i.item_id for i in served._answer(name)]
        if wish.item_id in answer:
            place_E[n] = 1 + answer.index(wish.item_id)
    lists.blending = blending
    return place_E


def fused(wishes: Sequence[Wish]) -> np.ndarray:
    """E x D: what was asked, in the space of the items."""
    words = [TextContent(w.words) for w in wishes]
    vectors = load_encoders(CONFIG)["text"].encode(words)
    columns = columns_of([{"text": v} for v in vectors])
    made: np.ndarray = load_fusion(CONFIG).fuse(columns, rows=len(words)).vector_ED.numpy()
    return made


if __name__ == "__main__":
    main()
