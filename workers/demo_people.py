"""Whom the demo shows: people chosen by what they rated, never by what they are shown. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from workers.movielens import Film, Rating

LIKED = 4.0


@dataclass(frozen=True, slots=True)
class Person:
    """Someone of the data set: how many films they liked, and which share is of a taste."""

    user_id: str
    genres: tuple[str, ...]
    liked: int
    share: float

    def in_words(self) -> str:
        taste = " or ".join(self.genres)
        return f"{self.user_id}: {self.share:.0%} of the {self.liked} films they liked are {taste}"


def fans(
    ratings: Iterable[Rating],
    films: Mapping[str, Film],
    genres: Sequence[str],
    *,
    least: int = 20,
    most: int = 200,
) -> list[Person]:
    """People with `least` to `most` liked films, those who like these genres most first."""
    wanted, liked, fitting = (
        set(genres),
        defaultdict[str, int](int),
        defaultdict[str, int](int),
    )
    for rating in ratings:
        if rating.stars >= LIKED:
            liked[rating.user_id] += 1
            fitting[rating.user_id] += bool(wanted & set(films[rating.item_id].genres))
    people = [
        Person(user_id, tuple(genres), count, fitting[user_id] / count)
        for user_id, count in liked.items()
        if least <= count <= most
    ]
    return sorted(people, key=lambda person: (-person.share, person.user_id))


def of_different_tastes(
    ratings: Sequence[Rating], films: Mapping[str, Film], tastes: Iterable[Sequence[str]]
) -> list[Person]:
    """The first fan of each taste, everyone once."""
    chosen: list[Person] = []
    for genres in tastes:
        taken = {person.user_id for person in chosen}
        for person in fans(ratings, films, genres):
            if person.user_id not in taken:
                chosen.append(person)
                break
    return chosen


def stars_of(ratings: Iterable[Rating]) -> dict[tuple[str, str], float]:
    """Stars by (user, item), to say why."""
    return {(rating.user_id, rating.item_id): rating.stars for rating in ratings}
