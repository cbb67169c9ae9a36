"""The demo's data: parsed, put in order of time, and fetched only if it is the pinned wheel."""

import hashlib
import zipfile
from pathlib import Path

import pytest

from workers.movielens import (
    INSIDE,
    fetch,
    interaction_of,
    item_of,
    parse_films,
    parse_ratings,
    read,
    title_in_order,
)
from workers.terminal import CommandError, Exit

ITEMS = (
    "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
    "12\tUsual Suspects, The\t1995\tCrime Thriller\n"
    "267\tunkonwn\tunkonwn\tunknown\n"
    "1412\tLand Before Time III (1995)\tV\tAnimation Children's\n"
    "1233\tNénette et Boni\t1938\tDrama\n"
)
INTER = (
    "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
    "196\t12\t3\t881250949\n"
    "22\t1233\t1\t878887116\n"
    "22\t12\t5\t878887116\n"
)


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """A wheel that holds these few lines."""
    path = tmp_path / "recbole-1.2.1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{INSIDE}.item", ITEMS)
        archive.writestr(f"{INSIDE}.inter", INTER)
    return path


def pin_for(wheel: Path) -> Path:
    """A requirements file that pins this wheel."""
    sha256 = hashlib.sha256(wheel.read_bytes()).hexdigest()
    pin = wheel.parent / "data.txt"
    pin.write_text(f"# why\nrecbole==1.2.1 \\\n    --hash=sha256:{sha256}\n")
    return pin


def test_films_have_titles_years_and_genres():
    films = parse_films(ITEMS)
    assert films["film-12"].title == "The Usual Suspects"
    assert films["film-12"].genres == ("Crime", "Thriller")
    assert films["film-267"].genres == ()
    assert films["film-1412"].year == 0
    assert films["film-1233"].title == "Nénette et Boni"


def test_ratings_come_in_order_of_time_and_keep_their_order_within_a_second():
    ratings = parse_ratings(INTER)
    assert [r.event_id for r in ratings] == [
        "rating-user-22-film-1233",
        "rating-user-22-film-12",
        "rating-user-196-film-12",
    ]
    assert ratings[0].at_ms == 878_887_116_000
    assert ratings[1].stars == 5.0


@pytest.mark.parametrize(
    ("title", "said"),
    [
        pytest.param("Wrong Trousers, The", "The Wrong Trousers", id="article"),
        pytest.param("Enfer, L'", "L'Enfer", id="elided article"),
        pytest.param("Cry, the Beloved Country", "Cry, the Beloved Country", id="none"),
        pytest.param(
            "Tin Drum, The (Blechtrommel, Die)",
            "The Tin Drum (Die Blechtrommel)",
            id="both",
        ),
        pytest.param("Thieves (Voleurs, Les)", "Thieves (Les Voleurs)", id="in brackets"),
        pytest.param("Babe (1995)", "Babe (1995)", id="brackets without one"),
    ],
)
def test_titles_read_as_people_say_them(title, said):
    assert title_in_order(title) == said


def test_a_film_becomes_an_item_with_its_poster_where_there_is_one(tmp_path):
    (tmp_path / "12.jpg").write_bytes(b"jpeg")
    films = parse_films(ITEMS)
    item = item_of(films["film-12"], posters=tmp_path)
    assert item.media[0].uri == (tmp_path / "12.jpg").as_uri()
    assert item.published_at_ms == 788_918_400_000
    assert item_of(films["film-1233"], posters=tmp_path).media == []


def test_a_film_from_before_our_clock_or_of_no_known_year_is_not_taken_for_new():
    films = parse_films(ITEMS)
    assert item_of(films["film-1233"]).published_at_ms == 0
    assert item_of(films["film-1412"]).published_at_ms == 0


def test_a_rating_becomes_an_event_at_the_time_at_which_it_was_given():
    event = interaction_of(parse_ratings(INTER)[2])
    assert (event.kind, event.value, event.at_ms) == ("rating", 3.0, 881_250_949_000)


def test_the_pinned_wheel_is_read_without_being_imported(wheel):
    data = read(fetch(cache=wheel.parent / "none", wheel=wheel, pin=pin_for(wheel)))
    assert len(data.films) == 4
    assert len(data.ratings) == 3


def test_a_cached_wheel_is_not_fetched_again(wheel):
    assert fetch(cache=wheel.parent, pin=pin_for(wheel)) == wheel


def test_a_wheel_with_another_hash_is_refused(wheel):
    pin = pin_for(wheel)
    wheel.write_bytes(wheel.read_bytes() + b"x")
    with pytest.raises(CommandError, match="not the pinned wheel") as refused:
        fetch(cache=wheel.parent / "none", wheel=wheel, pin=pin)
    assert refused.value.code is Exit.USAGE


def test_a_wheel_without_the_data_says_so(tmp_path):
    empty = tmp_path / "empty.whl"
    with zipfile.ZipFile(empty, "w"):
        pass
    with pytest.raises(CommandError, match="holds no MovieLens-100k"):
        read(empty)
