"""Which URIs may be fetched. Pure but for the file system's own links.

What is fetched later is what was checked here: the real path, or the very URL object. A URI
that two programs could read in two ways (users, backslashes, dots or slashes in percent
encoding) is refused, not repaired.
"""

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

import httpx

_PORTS = {"http": 80, "https": 443}


class NotAllowed(ValueError):
    """Not under any allowed prefix; the message says why."""


def allowed_path(uri: str, prefixes: Sequence[str]) -> Path:
    """The real path of a `file:` URI under an allowed folder, all links followed."""
    path = _real_path(uri)
    for prefix in prefixes:
        if urlsplit(prefix).scheme.lower() == "file" and path.is_relative_to(
            _real_path(prefix)
        ):
            return path
    raise NotAllowed("it is not under a prefix of STREAMREC_MEDIA__ALLOW")


def allowed_url(uri: str | httpx.URL, prefixes: Sequence[str]) -> httpx.URL:
    """The URL of an `http(s):` URI under an allowed prefix: same scheme, host and port, and
    a path below."""
    url = _plain_url(uri)
    for prefix in prefixes:
        if urlsplit(prefix).scheme.lower() == "file":
            continue
        base = _plain_url(prefix)
        if _origin(url) == _origin(base) and _below(url.path, base.path):
            return url
    raise NotAllowed("it is not under a prefix of STREAMREC_MEDIA__ALLOW")


def scheme_of(uri: str) -> str:
    return uri.partition(":")[0].lower()


def _real_path(uri: str) -> Path:
    parts = urlsplit(uri)
    if parts.netloc.lower() not in ("", "localhost") or parts.query or parts.fragment:
        raise NotAllowed("a file URI has three slashes and no host, query or fragment")
    path = unquote(parts.path, errors="strict")
    if not path.startswith("/") or "\0" in path:
        raise NotAllowed("a file URI has an absolute path")
    return Path(path).resolve()


def _plain_url(uri: str | httpx.URL) -> httpx.URL:
    text = str(uri)
    if "\\" in text or text != text.strip() or not text.isprintable():
        raise NotAllowed("it has backslashes, blanks or control characters")
    try:
        url = httpx.URL(uri)
    except (httpx.InvalidURL, ValueError) as error:
        raise NotAllowed("it is not a URL") from error
    if url.scheme not in _PORTS or not url.host:
        raise NotAllowed("only file:, http: and https: are fetched")
    rest = text.partition("://")[2].partition("?")[0].partition("#")[0]
    if url.userinfo or "@" in rest.partition("/")[0]:
        raise NotAllowed("it names a user")
    raw_path = url.raw_path.decode("ascii").partition("?")[0].lower()
    if "%2f" in raw_path or "%5c" in raw_path or "%25" in raw_path:
        raise NotAllowed("its path has slashes or percent signs in percent encoding")
    # httpx resolves plain dot segments by itself, so they are looked for as they were written
    if any(step in (".", "..") for step in unquote(rest).split("/")):
        raise NotAllowed("its path has dot segments")
    return url


def _origin(url: httpx.URL) -> tuple[str, str, int]:
    return url.scheme, url.host.lower(), url.port or _PORTS[url.scheme]


def _below(path: str, base: str) -> bool:
    return path == base or path.startswith(base if base.endswith("/") else base + "/")
