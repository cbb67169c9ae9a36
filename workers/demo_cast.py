"""Who is who and what is what, as far as the ratings have been streamed."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from rich.console import Console

from schemas import Slate, Visit
from workers import demo_film
from workers.demo_people import stars_of
from workers.demo_show import list_table
from workers.movielens import MovieLens, Rating


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


def visit(user_id: str, name: str, at_ms: int, *, shelf: str = "") -> Visit:
    """Somebody comes by; with a shelf, only for what has that category."""
    context = {"category": shelf} if shelf else {}
    return Visit(
        event_id=f"visit-{user_id}-{name}", user_id=user_id, at_ms=at_ms, context=context
    )
