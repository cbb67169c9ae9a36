"""Media: what may be fetched, and from where."""

import os

import msgspec
import pytest

from tests.support.media_bytes import LIMITS, image_ref, refusal, within
from workers.media import fetch
from workers.media_allow import NotAllowed, allowed_path, allowed_url
from workers.media_limits import MediaLimits


@pytest.mark.parametrize(
    "uri", ["file:///etc/passwd", "http://127.0.0.1/", "https://a.b/c"]
)
def test_nothing_is_allowed_unless_somebody_allows_it(uri):
    assert refusal(fetch, image_ref(uri), limits=LIMITS).reason == "not_allowed"


def test_a_file_under_an_allowed_folder_is_read(folder):
    ref = image_ref((folder / "allowed" / "a.bin").as_uri())
    assert fetch(ref, limits=within(folder / "allowed")) == b"content"


@pytest.mark.parametrize(
    "path",
    [
        "allowed/../secret.bin",
        "allowed/%2e%2e/secret.bin",
        "allowed/..%2fsecret.bin",
        "allowed/./../secret.bin",
        "allowed-not/b.bin",
        "secret.bin",
        "allowed/a.bin%00.png",
    ],
)
def test_a_file_outside_the_allowed_folder_is_not_read(folder, path):
    ref = image_ref(f"{folder.as_uri()}/{path}")
    assert refusal(fetch, ref, limits=within(folder / "allowed")).reason == "not_allowed"


def test_a_link_out_of_the_allowed_folder_is_not_followed(folder):
    (folder / "allowed" / "link").symlink_to(folder / "secret.bin")
    (folder / "allowed" / "dir").symlink_to(folder / "allowed-not")
    for name in ("link", "dir/b.bin"):
        ref = image_ref(f"{(folder / 'allowed').as_uri()}/{name}")
        assert (
            refusal(fetch, ref, limits=within(folder / "allowed")).reason == "not_allowed"
        )


def test_an_allowed_folder_may_itself_be_a_link(folder):
    (folder / "way").symlink_to(folder / "allowed")
    ref = image_ref((folder / "way" / "a.bin").as_uri())
    assert fetch(ref, limits=within(folder / "way")) == b"content"


def test_a_pipe_or_a_folder_is_not_a_file(folder):
    os.mkfifo(folder / "allowed" / "pipe")
    (folder / "allowed" / "folder").mkdir()
    for name in ("pipe", "folder"):
        ref = image_ref((folder / "allowed" / name).as_uri())
        assert refusal(fetch, ref, limits=within(folder / "allowed")).reason in (
            "not_allowed",
            "unreachable",
        )


def test_a_file_that_is_not_there_is_unreachable(folder):
    ref = image_ref((folder / "allowed" / "none.bin").as_uri())
    assert refusal(fetch, ref, limits=within(folder / "allowed")).reason == "unreachable"


@pytest.mark.parametrize("host", ["", "localhost", "LOCALHOST"])
def test_a_file_uri_may_name_this_machine(folder, host):
    path = (folder / "allowed" / "a.bin").as_posix()
    assert allowed_path(f"FILE://{host}{path}", [folder.as_uri()]).name == "a.bin"


@pytest.mark.parametrize("uri", ["file://elsewhere/x", "file:x", "file:///x?y", "file:"])
def test_other_file_uris_are_refused(uri):
    with pytest.raises(NotAllowed):
        allowed_path(uri, ["file:///"])


@pytest.mark.parametrize(
    ("uri", "prefix"),
    [
        ("https://good.example/img/a.png", "https://good.example/img/"),
        ("https://good.example/img/a.png", "https://good.example/img"),
        ("https://good.example/img/a.png?size=2", "https://good.example"),
        ("HTTPS://GOOD.Example/img/a.png", "https://good.example/img/"),
        ("https://good.example:443/img/a.png", "https://good.example/img/"),
        ("https://good.example/img/a.png", "HTTPS://Good.example:443/img/"),
        ("https://good.example/img/a%20b.png", "https://good.example/img/"),
        ("https://good.example/img/a.png?to=../x", "https://good.example/img/"),
    ],
)
def test_a_url_below_a_prefix_is_allowed(uri, prefix):
    assert allowed_url(uri, ["file:///x", prefix]).host == "good.example"


@pytest.mark.parametrize(
    "uri",
    [
        "http://good.example/img/a.png",
        "https://good.example.evil.example/img/a.png",
        "https://good.example@evil.example/img/a.png",
        "https://good.example:pw@evil.example/img/a.png",
        "https://user@good.example/img/a.png",
        "https://@good.example/img/a.png",
        "https://evil.example#@good.example/img/a.png",
        "https://evil.example\\@good.example/img/a.png",
        "https://good.example\\.evil.example/img/a.png",
        "https://good.example:444/img/a.png",
        "https://good.example./img/a.png",
        "https://good.example/img-not/a.png",
        "https://good.example/img/../a.png",
        "https://good.example/img/%2e%2e/a.png",
        "https://good.example/img/%2E./a.png",
        "https://good.example/img/..%2fa.png",
        "https://good.example/img/%252e%252e/a.png",
        "https://good.example/img/./a.png",
        "https://good.example/IMG/a.png",
        "https://good.example/",
        " https://good.example/img/a.png",
        "https://good.example/img/a\n.png",
        "https:///img/a.png",
        "https:good.example/img/a.png",
        "ftp://good.example/img/a.png",
        "data:image/png;base64,AAAA",
        "//good.example/img/a.png",
        "",
        "https://[::1/img/",
    ],
)
def test_a_url_that_is_not_below_a_prefix_is_refused(uri):
    with pytest.raises(NotAllowed):
        allowed_url(uri, ["https://good.example/img"])


@pytest.mark.parametrize(
    "prefix",
    ["cdn.example", "ftp://x/", "http://", "http://u@x/", "https://x/?a=b", "/srv"],
)
def test_a_prefix_that_would_not_mean_what_it_says_stops_the_start(prefix):
    with pytest.raises(msgspec.ValidationError, match=r"prefix|host"):
        msgspec.convert({"allow": [prefix]}, MediaLimits)
