"""Media: how contents are fetched, and how much of them."""

import hashlib

import msgspec
import pytest

from schemas import MediaRef
from tests.support.media_bytes import LIMITS, image_ref, no_wait, refusal, within
from tests.support.media_server import media_server
from workers.media import fetch, fetch_once
from workers.media_limits import MediaLimits
from workers.ports import TransientError


@pytest.fixture
def server():
    with media_server() as running:
        running.files["/img/a.bin"] = b"content"
        yield running


def test_a_url_is_fetched(server):
    assert (
        fetch(image_ref(f"{server.url}/img/a.bin"), limits=within(server.url)) == b"content"
    )


def test_a_redirect_is_followed_where_it_is_allowed(server):
    ref = image_ref(f"{server.url}/redirect?to=/img/a.bin")
    assert fetch(ref, limits=within(server.url)) == b"content"


def test_a_redirect_to_elsewhere_is_not_followed(server):
    with media_server() as other:
        other.files["/x"] = b"secret"
        for target in (
            f"{other.url}/x",
            "file:///etc/passwd",
            f"//127.0.0.1:{other.port}/x",
        ):
            ref = image_ref(f"{server.url}/redirect?to={target}")
            assert refusal(fetch, ref, limits=within(server.url)).reason == "not_allowed"
        assert other.asked == []


def test_redirects_without_an_end_have_one(server):
    twice = f"{server.url}/redirect?to={server.url}/redirect%3Fto=/img/a.bin"
    assert fetch(image_ref(twice), limits=within(server.url, redirects=2)) == b"content"
    error = refusal(fetch, image_ref(twice), limits=within(server.url, redirects=1))
    assert error.reason == "not_allowed"
    assert "redirects" in str(error)


def test_a_server_that_is_busy_is_asked_again(server):
    server.busy, waits = 2, []
    ref = image_ref(f"{server.url}/img/a.bin")
    assert fetch(ref, limits=within(server.url), wait=waits.append) == b"content"
    assert waits == [0.2, 0.4]


def test_a_server_that_stays_busy_is_given_up(server):
    server.busy = 9
    ref = image_ref(f"{server.url}/img/a.bin")
    assert (
        refusal(fetch, ref, limits=within(server.url), wait=no_wait).reason == "unreachable"
    )
    assert len(server.asked) == 3


def test_one_try_says_that_another_may_succeed(server):
    server.busy = 1
    with pytest.raises(TransientError):
        fetch_once(image_ref(f"{server.url}/img/a.bin"), limits=within(server.url))


def test_what_is_not_there_is_not_asked_for_again(server):
    ref = image_ref(f"{server.url}/none")
    assert (
        refusal(fetch, ref, limits=within(server.url), wait=no_wait).reason == "unreachable"
    )
    assert server.asked == ["/none"]


def test_a_server_that_is_not_there_is_unreachable():
    with media_server() as gone:
        url = gone.url
    error = refusal(fetch, image_ref(f"{url}/x"), limits=within(url), wait=no_wait)
    assert error.reason == "unreachable"


@pytest.mark.parametrize("path", ["/drip", "/drip-headers", "/silent"])
def test_a_slow_server_costs_no_more_than_the_limit(server, path):
    limits = within(server.url, total_s=0.3, read_s=5)
    error = refusal(fetch, image_ref(f"{server.url}{path}"), limits=limits, wait=no_wait)
    assert error.reason == "too_slow"
    assert len(server.asked) == 1


def test_a_silent_server_costs_no_more_than_one_read(server):
    limits = within(server.url, total_s=30, read_s=0.1)
    error = refusal(fetch, image_ref(f"{server.url}/silent"), limits=limits)
    assert error.reason == "too_slow"


@pytest.mark.parametrize("path", ["/drip", "/silent"])
def test_a_fetch_is_given_up_when_we_stop(server, path):
    limits = within(server.url, total_s=60, read_s=60)
    error = refusal(
        fetch, image_ref(f"{server.url}{path}"), limits=limits, wait=lambda _: True
    )
    assert error.reason == "unreachable"
    assert "we stop" in str(error)


def test_reading_stops_at_the_limit_of_bytes(server):
    limits = within(server.url, max_bytes=100_000)
    for path in ("/endless", "/says-huge"):
        error = refusal(fetch, image_ref(f"{server.url}{path}"), limits=limits)
        assert error.reason == "too_large"


def test_a_body_longer_than_its_length_says_is_cut_there(server):
    ref = image_ref(f"{server.url}/says-less")
    assert fetch(ref, limits=within(server.url, max_bytes=100)) == b"x" * 10


def test_a_body_shorter_than_its_length_says_is_unreachable(server):
    ref = image_ref(f"{server.url}/says-more")
    assert (
        refusal(fetch, ref, limits=within(server.url), wait=no_wait).reason == "unreachable"
    )


def test_what_a_server_packs_is_not_unpacked(server):
    ref = image_ref(f"{server.url}/packed")
    assert fetch(ref, limits=within(server.url)).startswith(b"\x1f\x8b")


def test_a_file_over_the_limit_of_bytes_is_too_large(folder):
    ref = image_ref((folder / "allowed" / "a.bin").as_uri())
    limits = within(folder / "allowed", max_bytes=6)
    assert refusal(fetch, ref, limits=limits).reason == "too_large"


def test_inline_bytes_are_taken_up_to_their_limit():
    limits = MediaLimits(inline_bytes=4)
    assert fetch(image_ref(data=b"four"), limits=limits) == b"four"
    assert refusal(fetch, image_ref(data=b"fives"), limits=limits).reason == "too_large"


def test_content_must_have_the_hash_that_was_told(folder):
    told = hashlib.sha256(b"content").hexdigest()
    ref = image_ref((folder / "allowed" / "a.bin").as_uri(), sha256=told.upper())
    assert fetch(ref, limits=within(folder)) == b"content"
    for wrong in (told[:-1] + "x", "abc"):
        bad = msgspec.structs.replace(ref, sha256=wrong)
        error = refusal(fetch, bad, limits=within(folder), field="media[3]")
        assert error.reason == "hash_mismatch"
        assert "media[3].sha256" in str(error)


@pytest.mark.parametrize("kind", ["smell", "Video", ""])
def test_a_kind_that_nobody_decodes_is_refused_before_it_is_fetched(server, kind):
    ref = MediaRef(kind=kind, uri=f"{server.url}/img/a.bin")
    assert refusal(fetch, ref, limits=within(server.url)).reason == "unsupported_kind"
    assert server.asked == []


def test_a_reference_to_nothing_is_empty(folder):
    (folder / "allowed" / "none").write_bytes(b"")
    assert refusal(fetch, image_ref(), limits=LIMITS).reason == "empty"
    ref = image_ref((folder / "allowed" / "none").as_uri())
    assert refusal(fetch, ref, limits=within(folder)).reason == "empty"


def test_a_refusal_names_field_value_and_remedy():
    error = refusal(
        fetch, image_ref("http://x/" + "y" * 900), limits=LIMITS, field="media[1]"
    )
    assert "media[1].uri" in str(error)
    assert "'http://x/yyy" in str(error)
    assert "STREAMREC_MEDIA__ALLOW" in str(error)
    assert len(str(error)) < 300
