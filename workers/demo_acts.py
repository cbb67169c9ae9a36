"""What the demo shows besides the stream and the upload: vectors, an undo, people's lists."""

import time
from pathlib import Path

from rich.console import Console

from schemas import Interaction, Slate, Undo
from workers import demo_film
from workers.demo_cast import Cast, visit
from workers.demo_people import Person, fans, of_different_tastes
from workers.demo_show import Bar, heading
from workers.demo_stage import Stage
from workers.demo_system import await_ready
from workers.movielens import MovieLens, item_of
from workers.terminal import CommandError

FILMS_S = 480.0  # a limit, not a promise: posters on a busy laptop
TRENDS_S = 30.0  # a limit too: trends have taken in what came long before
QUIET_S = 2.0  # trends that move nothing for so long have taken in all
TASTES = (("Animation", "Children's"), ("Horror",), ("Film-Noir", "Mystery"))


def load_films(
    stage: Stage, data: MovieLens, out: Console, *, folder: Path, posters: Path | None
) -> None:
    """Produces the films and waits until all have vectors and the workers are ready."""
    heading(out, "3  Films become vectors")
    began_s, items = (
        time.perf_counter(),
        [item_of(f, posters=posters) for f in data.films.values()],
    )
    for item in items:
        stage.send(item)
    with Bar(out, "films encoded", total=len(items)) as bar:
        deadline = time.perf_counter() + FILMS_S
        while len(stage.encoded) < len(items):
            if time.perf_counter() > deadline:
                missing = len(items) - len(stage.encoded)
                raise CommandError(f"{missing} films have no vector after {FILMS_S:g} s")
            stage.look_at_vectors(timeout_s=0.1)
            stage.hear(timeout_s=0.0)
            bar.reach(len(stage.encoded))
    await_ready(folder, list(stage.children), limit_s=60.0)
    of_what = {name: 0 for slots in stage.encoded.values() for name in sorted(slots)}
    for name in of_what:
        of_what[name] = sum(name in slots for slots in stage.encoded.values())
    out.print(
        f"{len(items):,} films have vectors "
        f"({', '.join(f'{name} {count:,}' for name, count in of_what.items())}) "
        f"{time.perf_counter() - began_s:.1f} s after they were produced, workers' start included"
    )


def take_back(stage: Stage, cast: Cast, out: Console) -> bool:
    """A list, a rating that changes it, the undo; whether the list is as before."""
    person = fans(cast.ratings, cast.data.films, ("Comedy",), most=40)[0]
    before = settled(stage, cast, person)
    out.print(f"{person.in_words()}. Their list:")
    cast.show(out, before, limit=5)
    first = before.items[0].item_id
    rating = Interaction(
        event_id="rating-1", user_id=person.user_id, item_id=first, kind="rating", value=5.0,
        at_ms=cast.now_ms + 1_000,
    )  # fmt: skip
    cast.stars[person.user_id, first] = 5.0
    changed = stage.ask(rating)
    out.print(f"\nThey give 5 stars to “{cast.short(first)}”:")
    cast.show(out, changed, limit=5)
    at_ms = cast.now_ms + 2_000
    undo = Undo(
        event_id="undo-1", user_id=person.user_id, undoes=rating.event_id, at_ms=at_ms
    )
    began_s, back = time.perf_counter(), stage.ask(undo)
    while not (same := _alike(before, back)) and time.perf_counter() < began_s + TRENDS_S:
        stage.hear(timeout_s=0.1)  # trends may still count the rating, for a second or two
        name = f"again-{time.perf_counter() - began_s:.3f}"
        back = stage.ask(visit(person.user_id, name, at_ms))
    out.print("\nThey take the rating back:")
    cast.show(out, back, limit=5)
    differed, answer = not _alike(before, changed), "yes" if same else "no"
    out.print(
        f"the same {len(before.items)} films in the same order as before the rating: {answer}, "
        f"after {1000 * (time.perf_counter() - began_s):.0f} ms"
        + ("" if differed else " (but the rating had changed nothing)")
    )
    return same and differed


def settled(stage: Stage, cast: Cast, person: Person) -> Slate:
    """The person's list once it stays: until then trends take in what others just rated."""
    began_s = same_s = time.perf_counter()
    slate = stage.ask(visit(person.user_id, "before", cast.now_ms))
    while (now_s := time.perf_counter()) < min(same_s + QUIET_S, began_s + TRENDS_S):
        stage.hear(timeout_s=0.1)
        again = stage.ask(
            visit(person.user_id, f"before-{now_s - began_s:.3f}", cast.now_ms)
        )
        if not _alike(slate, again):
            slate, same_s = again, now_s
    return slate


def show_people(stage: Stage, cast: Cast, out: Console) -> None:
    """Three people of different tastes."""
    for person in of_different_tastes(cast.ratings, cast.data.films, TASTES):
        slate = stage.ask(visit(person.user_id, "last", cast.now_ms + 3_000))
        out.print(f"\n{person.in_words()}")
        cast.show(out, slate, mark=demo_film.ITEM_ID)


def _alike(one: Slate, other: Slate) -> bool:
    """Whether both lists hold the same in the same order, but for places that are chance's."""
    ours, theirs = (
        [i.item_id for i in s.items if i.source != "explore"] for s in (one, other)
    )
    least = min(len(ours), len(theirs))
    return ours[:least] == theirs[:least]
