"""What the demo shows besides the stream: an upload, an undo, people's lists."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from rich.console import Console

from schemas import Interaction, Query, Slate, Undo, Visit
from workers import demo_film
from workers.demo_people import Person, fans, of_different_tastes, stars_of
from workers.demo_show import Bar, heading, list_table
from workers.demo_stage import Stage
from workers.demo_system import await_ready
from workers.movielens import MovieLens, Rating, item_of
from workers.terminal import CommandError

TASTES = (("Animation", "Children's"), ("Horror",), ("Film-Noir", "Mystery"))
VISIT_EVERY_S = 0.05
NEWCOMER = "newcomer"


@dataclass(frozen=True)
class Cast:
    """The data set as far as it has been streamed: who is who, and what is what."""

    data: MovieLens
    ratings: Sequence[Rating]

    @cached_property
    def stars(self) -> dict[tuple[str, str], float]:
        return stars_of(self.ratings)

    @property
    def now_ms(self) -> int:
        """Where the stream's time stands."""
        return self.ratings[-1].at_ms

    def title(self, item_id: str) -> str:
        """`The Lion King (1994) Animation, Children's`; two genres are enough to tell."""
        film = self.data.films.get(item_id)
        if film is None:
            return f"{demo_film.TITLE} (new) {', '.join(demo_film.GENRES[:2])}"
        year = f" ({film.year})" if film.year else ""
        return f"{film.title}{year} {', '.join(film.genres[:2])}"

    def short(self, item_id: str) -> str:
        film = self.data.films.get(item_id)
        return film.title if film else demo_film.TITLE

    def rated(self, user_id: str, item_id: str) -> str:
        """`The Lion King 5`: what a person gave to a film."""
        stars = self.stars.get((user_id, item_id))
        return self.short(item_id) + (f" {stars:g}" if stars else "")

    def show(self, out: Console, slate: Slate, *, limit: int = 10, mark: str = "") -> None:
        out.print(
            list_table(
                slate,
                self.title,
                lambda item_id: self.rated(slate.user_id, item_id),
                limit=limit,
                mark=mark,
            )
        )


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
        deadline = time.perf_counter() + 240.0
        while len(stage.encoded) < len(items):
            if time.perf_counter() > deadline:
                missing = len(items) - len(stage.encoded)
                raise CommandError(f"{missing} films have no vector after 240 s")
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


def upload_film(stage: Stage, cast: Cast, out: Console) -> float:
    """Uploads the film while people come by; milliseconds until a list of one has it."""
    out.print(
        f"“{demo_film.TITLE}”, {', '.join(demo_film.GENRES)}. There is no such film: its poster "
        "is drawn and its melody synthesised by this demo."
    )
    some = fans(cast.ratings, cast.data.films, demo_film.GENRES)[:8]
    seen, began_s = _visit_until_found(stage, cast, [some[0].user_id, NEWCOMER])
    user_id, slate, at_s = seen
    stage.until(
        lambda: _slots(stage) >= {"text", "image", "audio"},
        limit_s=30.0,
        what="vectors of the new film's text, picture and sound",
    )
    out.print(
        f"{1000 * (at_s - began_s):.0f} ms after the upload {user_id}'s list has it "
        f"({_place(slate)}); {1000 * (time.perf_counter() - began_s):.0f} ms after it, text, "
        "picture and sound are all in its vector."
    )
    _show_who_gets_it(stage, cast, some, out)
    return 1000 * (at_s - began_s)


def _visit_until_found(
    stage: Stage, cast: Cast, visitors: Sequence[str]
) -> tuple[tuple[str, Slate, float], float]:
    """Uploads, then lets these people come by until the list of one has the film."""
    item, picture, sound = demo_film.upload(at_ms=cast.now_ms)
    began_s = stage.send(item)
    stage.send(picture)
    stage.send(sound)
    number, next_s = 0, began_s
    while time.perf_counter() < began_s + 30.0:
        if time.perf_counter() >= next_s:
            for user_id in visitors:
                stage.send(_visit(user_id, f"upload-{number}", cast.now_ms))
            number, next_s = number + 1, next_s + VISIT_EVERY_S
        for at_s, slate in stage.hear(timeout_s=max(0.0, next_s - time.perf_counter())):
            if slate.user_id in visitors and _place(slate):
                return (slate.user_id, slate, at_s), began_s
    raise CommandError(f"no list of {' or '.join(visitors)} had the new film in 30 s")


def _show_who_gets_it(
    stage: Stage, cast: Cast, some: Sequence[Person], out: Console
) -> None:
    """People of that taste, a newcomer, and one who asks for such a film."""
    lists = [stage.ask(_visit(p.user_id, "after", cast.now_ms)) for p in some]
    got = [(p, slate) for p, slate in zip(some, lists, strict=True) if _place(slate)]
    out.print(
        f"Of the {len(some)} people who like {', '.join(demo_film.GENRES)} most, {len(got)} have "
        "it in their list now, by its likeness to what they rated."
    )
    if got:
        out.print(f"\n{got[0][0].in_words()}")
        cast.show(out, got[0][1], mark=demo_film.ITEM_ID)
    newcomer = stage.ask(_visit(NEWCOMER, "after", cast.now_ms))
    out.print("\nA newcomer, of whom nothing is known")
    cast.show(out, newcomer, limit=5, mark=demo_film.ITEM_ID)
    query = Query(
        event_id="query-1",
        user_id=some[-1].user_id,
        at_ms=cast.now_ms,
        text=demo_film.QUERY,
    )
    out.print(f"\n{some[-1].user_id} asks for “{demo_film.QUERY}”")
    cast.show(out, stage.ask(query), limit=3, mark=demo_film.ITEM_ID)


def take_back(stage: Stage, cast: Cast, out: Console) -> bool:
    """A list, a rating that changes it, the undo; whether the list is as before."""
    person = fans(cast.ratings, cast.data.films, ("Comedy",), most=40)[0]
    before = stage.ask(_visit(person.user_id, "before", cast.now_ms))
    out.print(f"{person.in_words()}. Their list:")
    cast.show(out, before, limit=5)
    first = before.items[0].item_id
    rating = Interaction(
        event_id="rating-1", user_id=person.user_id, item_id=first, kind="rating", value=5.0,
        at_ms=cast.now_ms + 1_000,
    )  # fmt: skip
    changed = stage.ask(rating)
    out.print(f"\nThey give 5 stars to “{cast.short(first)}”:")
    cast.show(out, changed, limit=5)
    back = stage.ask(
        Undo(
            event_id="undo-1",
            user_id=person.user_id,
            undoes=rating.event_id,
            at_ms=cast.now_ms + 2_000,
        )
    )
    out.print("\nThey take the rating back:")
    cast.show(out, back, limit=5)
    same, differed = _ids(before) == _ids(back), _ids(before) != _ids(changed)
    answer = "yes" if same else "no"
    out.print(
        f"the same {len(before.items)} films in the same order as before the rating: {answer}"
        + ("" if differed else " (but the rating had changed nothing)")
    )
    return same and differed


def show_people(stage: Stage, cast: Cast, out: Console) -> None:
    """Three people of different tastes."""
    for person in of_different_tastes(cast.ratings, cast.data.films, TASTES):
        slate = stage.ask(_visit(person.user_id, "last", cast.now_ms + 3_000))
        out.print(f"\n{person.in_words()}")
        cast.show(out, slate, mark=demo_film.ITEM_ID)


def _visit(user_id: str, name: str, at_ms: int) -> Visit:
    return Visit(event_id=f"visit-{user_id}-{name}", user_id=user_id, at_ms=at_ms)


def _place(slate: Slate) -> str:
    """`number 2, by interest`; empty where the film is not in the list."""
    for item in slate.items:
        if item.item_id == demo_film.ITEM_ID:
            return f"number {item.rank}, source {item.source}"
    return ""


def _slots(stage: Stage) -> set[str]:
    stage.look_at_vectors()
    return stage.encoded.get(demo_film.ITEM_ID, set())


def _ids(slate: Slate) -> list[str]:
    return [item.item_id for item in slate.items]
