"""The demo's upload: a film that is not there, its picture and its sound; who finds it, and when.

People come by all the while, and a list of one of them has it or has it not: nothing in the
workers knows of the demo.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console

from schemas import MediaRef, Query, Slate, Visit
from workers import demo_film
from workers.demo_cast import Cast, visit
from workers.demo_people import Person, fans
from workers.demo_stage import Stage
from workers.terminal import CommandError

VISIT_EVERY_S = 0.01
NEWCOMER, ASKER = "newcomer", "somebody"
SHELF = demo_film.GENRES[0]
FANS = 20


def upload_film(stage: Stage, cast: Cast, out: Console) -> float:
    """Uploads the film while people come by; milliseconds until a list has it for what it is."""
    out.print(
        f"“{demo_film.TITLE}”, {', '.join(demo_film.GENRES)}: “{demo_film.DESCRIPTION}” There is "
        "no such film: its poster is drawn and its melody synthesised by this demo."
    )
    some = fans(cast.ratings, cast.data.films, demo_film.GENRES)[:FANS]
    fresh, liked = _visit_until_found(stage, cast, some)
    how = (
        f"looks through {SHELF}, by its likeness to what they rated"
        if liked.source == "interest"
        else f"asks for “{demo_film.QUERY}”"
    )
    out.print(
        f"{fresh.after_ms:.0f} ms after the upload it is in a newcomer's list, as something new "
        f"(number {fresh.place}); after {liked.after_ms:.0f} ms in that of "
        f"{liked.slate.user_id}, who {how} (number {liked.place})."
    )
    stage.until(
        lambda: _slots(stage) >= {"text", "image", "audio"},
        limit_s=30.0,
        what="vectors of the new film's text, picture and sound",
    )
    after_ms = 1000 * (time.perf_counter() - liked.began_s)
    out.print(f"After {after_ms:.0f} ms text, picture and sound are all in its vector.")
    _show_who_gets_it(stage, cast, some, out)
    return liked.after_ms


@dataclass(frozen=True, slots=True)
class Sighting:
    """The first list of its kind that has the film."""

    slate: Slate
    place: int
    source: str
    began_s: float
    at_s: float

    @property
    def after_ms(self) -> float:
        return 1000 * (self.at_s - self.began_s)


def _visit_until_found(
    stage: Stage, cast: Cast, some: Sequence[Person]
) -> tuple[Sighting, Sighting]:
    """Uploads, then lets people come by, one after the other, until the film was listed as
    something new and for what it is (by likeness, or by what somebody asked for)."""
    item, picture, sound = demo_film.upload(at_ms=cast.now_ms)
    began_s = stage.send(item)
    stage.send(picture)
    stage.send(sound)
    found: dict[str, Sighting] = {}
    number, next_s = 0, began_s
    while len(found) < 2:
        if time.perf_counter() > began_s + 30.0:
            missing = "for what it is" if "fresh" in found else "as something new"
            raise CommandError(
                f"30 s after its upload the new film is in no list {missing}"
            )
        if time.perf_counter() >= next_s:
            stage.send(_passer_by(number, cast, some))
            number, next_s = number + 1, next_s + VISIT_EVERY_S
        for at_s, slate in stage.hear(timeout_s=max(0.0, next_s - time.perf_counter())):
            place, source = _place(slate)
            if place:
                kind = "fresh" if source in ("fresh", "explore") else "liked"
                found.setdefault(kind, Sighting(slate, place, source, began_s, at_s))
    return found["fresh"], found["liked"]


def _passer_by(number: int, cast: Cast, some: Sequence[Person]) -> Visit | Query:
    """In turn: two fans who look through the shelf, a newcomer, now and then one who asks."""
    if number % 3 == 2:
        return visit(f"{NEWCOMER}-{number}", f"upload-{number}", cast.now_ms)
    if number % 30 == 0:
        return Query(
            event_id=f"query-{number}",
            user_id=ASKER,
            at_ms=cast.now_ms,
            text=demo_film.QUERY,
        )
    person = some[(number - number // 3) % len(some)]
    return visit(person.user_id, f"upload-{number}", cast.now_ms, shelf=SHELF)


def _show_who_gets_it(
    stage: Stage, cast: Cast, some: Sequence[Person], out: Console
) -> None:
    """Someone who looks through the shelf, a newcomer, one who asks in words or hums."""
    lists = [stage.ask(visit(p.user_id, "after", cast.now_ms, shelf=SHELF)) for p in some]
    got = [(p, slate) for p, slate in zip(some, lists, strict=True) if _place(slate)[0]]
    out.print(
        f"Of the {len(some)} people who like {', '.join(demo_film.GENRES)} most, {len(got)} "
        f"find it at once when they look through {SHELF}. Lists go by what people do, and nobody has "
        "rated it yet; but the last place of a shelf is for what is new on it."
    )
    if got:
        out.print(f"\n{got[0][0].in_words()}; they look through {SHELF}:")
        cast.show(out, got[0][1], mark=demo_film.ITEM_ID)
    out.print("\nA newcomer, of whom nothing is known:")
    newcomer = stage.ask(visit(NEWCOMER, "after", cast.now_ms))
    cast.show(out, newcomer, limit=5, mark=demo_film.ITEM_ID)
    words = Query(
        event_id="query-words", user_id=ASKER, at_ms=cast.now_ms, text=demo_film.QUERY
    )
    out.print(f"\nSomebody else, unknown as well, asks for “{demo_film.QUERY}”:")
    cast.show(out, stage.ask(words), limit=5, mark=demo_film.ITEM_ID)
    hummed = MediaRef(kind="audio", data=demo_film.hummed(), content_type="audio/flac")
    sound = Query(event_id="query-sound", user_id=ASKER, at_ms=cast.now_ms, media=[hummed])
    out.print("\nand then hums the beginning of its melody, slower and lower:")
    cast.show(out, stage.ask(sound), limit=3, mark=demo_film.ITEM_ID)


def _place(slate: Slate) -> tuple[int, str]:
    """Where the film is in the list, and what proposed it; (0, "") where it is not."""
    for item in slate.items:
        if item.item_id == demo_film.ITEM_ID:
            return item.rank, item.source
    return 0, ""


def _slots(stage: Stage) -> set[str]:
    stage.look_at_vectors()
    return stage.encoded.get(demo_film.ITEM_ID, set())
