"""What the demo decides without a system: whom it shows, what it uploads, how it says why."""

import io

import soundfile
from PIL import Image
from rich.console import Console

from schemas import Reason, Slate, SlateItem, encode
from schemas.codec import decode
from workers.demo_cast import Cast
from workers.demo_film import ITEM_ID, RATE_HZ, TITLE, upload
from workers.demo_people import fans, of_different_tastes
from workers.movielens import Film, MovieLens, Rating
from workers.topic_specs import MIB

FILMS = {
    f"film-{n}": Film(str(n), title, 1990 + n, genres)
    for n, (title, genres) in enumerate(
        [("Scream", ("Horror",)), ("Toys", ("Animation",)), ("Alien", ("Horror", "Sci-Fi"))]
    )
}


def rated(user: str, film: int, stars: float = 5.0) -> Rating:
    return Rating(user, f"film-{film}", stars, 884_000_000_000)


def test_fans_are_those_whose_liked_films_are_of_the_genre_most():
    ratings = [
        rated("ann", 0), rated("ann", 2), rated("bob", 0), rated("bob", 1), rated("cid", 0),
        rated("ann", 1, stars=2.0),
    ]  # fmt: skip
    people = fans(ratings, FILMS, ["Horror"], least=2)
    assert [(p.user_id, p.liked, p.share) for p in people] == [
        ("ann", 2, 1.0),
        ("bob", 2, 0.5),
    ]
    assert people[0].in_words() == "ann: 100% of the 2 films they liked are Horror"


def test_people_of_different_tastes_are_different_people():
    ratings = [rated("ann", 0)] * 20 + [rated("bob", 1)] * 20
    chosen = of_different_tastes(
        ratings, FILMS, [("Horror",), ("Sci-Fi", "Horror"), ("Comedy",)]
    )
    assert [person.user_id for person in chosen] == ["ann", "bob"]


def test_the_uploaded_film_is_real_media_that_fits_its_topics():
    item, picture, sound = upload(at_ms=884_000_000_000)
    assert Image.open(io.BytesIO(picture.data)).size == (300, 450)
    wave, rate_hz = soundfile.read(io.BytesIO(sound.data))
    assert rate_hz == RATE_HZ
    assert 3.0 < len(wave) / rate_hz < 10.0
    assert 0.05 < abs(wave).max() <= 1.0
    assert item.published_at_ms == 884_000_000_000
    for role, record in (("items", item), ("media", picture), ("media", sound)):
        value = encode(record)
        assert decode(role, value) == record
        assert len(value) < MIB


def test_the_same_film_is_uploaded_every_time():
    assert upload(at_ms=1) == upload(at_ms=1)


def test_a_list_is_shown_with_titles_and_reasons():
    cast = Cast(MovieLens(FILMS, ()), [rated("ann", 0, stars=4.0)])
    items = [
        SlateItem(
            item_id="film-2", rank=1, score=0.91, source="interest",
            reasons=[Reason(because="film-0", weight=0.62, modality="text")],
        ),
        SlateItem(item_id=ITEM_ID, rank=2, score=0.5, source="fresh"),
    ]  # fmt: skip
    slate = Slate(
        slate_id="0-0", user_id="ann", as_of_ms=884_000_000_000, k=10, items=items,
        caused_by=["e"], caused_at_ms=0,
    )  # fmt: skip
    out = Console(file=io.StringIO(), width=150)
    cast.show(out, slate)
    shown = out.file.getvalue()
    assert "Alien (1992) Horror, Sci-Fi" in shown
    assert "because you rated Scream 4 (text 0.62)" in shown
    assert f"{TITLE} (new)" in shown
