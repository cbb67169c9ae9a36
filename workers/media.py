"""From a reference to its bytes: inline, by `file:`, by `http(s):`; and no further than allowed.

    check kind -> inline | allow-list -> read with limits -> check sha256 -> bytes

`workers/media_decode.py` makes content of the bytes.
"""

import asyncio
import hashlib
import logging
import os
import ssl
import stat
import time
from collections.abc import Callable, Coroutine
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from schemas import MediaRef
from workers.media_limits import MediaError, MediaLimits, MediaReason, path
from workers.ports import TransientError

if TYPE_CHECKING:
    import httpx

__all__ = ["DECODED_KINDS", "MediaError", "MediaLimits", "fetch", "fetch_once"]

DECODED_KINDS = ("image", "audio", "text", "video", "sensor")
_BLOCK = 1 << 16
_LOOK_UP_S = 0.2  # how often a fetch under way looks whether we stop
# Of each request it says the whole URL, and many a signed URL is a key.
logging.getLogger("httpx").setLevel(logging.WARNING)
_BUSY = (408, 425, 429)  # with 5xx, answers that may be better later


def fetch(
    ref: MediaRef,
    *,
    limits: MediaLimits,
    field: str = "media",
    wait: Callable[[float], object] = time.sleep,
) -> bytes:
    """The bytes of a reference, as its sha256 says. Raises MediaError, which names `field`.

    A server that does not answer is asked `limits.tries` times in all. `wait` pauses for so
    many seconds; when it returns true, as an Event's does, the fetch is given up.
    """
    for attempt in range(limits.tries - 1):
        try:
            return fetch_once(ref, limits=limits, field=field, wait=wait)
        except TransientError:
            if wait(0.2 * 2**attempt):
                break
    try:
        return fetch_once(ref, limits=limits, field=field, wait=wait)
    except TransientError as error:
        raise _refused(
            "unreachable", path(field, "uri"), ref.uri,
            f"{error} ({limits.tries} tries); send the record again once it can be fetched",
        ) from error  # fmt: skip


def fetch_once(
    ref: MediaRef,
    *,
    limits: MediaLimits,
    field: str = "media",
    wait: Callable[[float], object] = time.sleep,
) -> bytes:
    """One try. Raises TransientError where another may succeed, else MediaError."""
    if ref.kind not in DECODED_KINDS:
        known = ", ".join(DECODED_KINDS)
        raise _refused(
            "unsupported_kind", path(field, "kind"), ref.kind, f"send one of {known}"
        )
    data = _inline(ref, limits, field) if ref.data else _fetched(ref, limits, field, wait)
    if not data:
        raise _refused(
            "empty", path(field, "uri"), ref.uri, "send content of at least one byte"
        )
    told = ref.sha256.lower()
    if told and hashlib.sha256(data).hexdigest() != told:
        raise _refused(
            "hash_mismatch", path(field, "sha256"), ref.sha256,
            f"the content's sha256 is {hashlib.sha256(data).hexdigest()}; send it, or the content meant",
        )  # fmt: skip
    return data


def _inline(ref: MediaRef, limits: MediaLimits, field: str) -> bytes:
    if len(ref.data) > limits.inline_bytes:
        raise _refused(
            "too_large", path(field, "data"), ref.data[:16],
            f"it has {len(ref.data)} bytes, {limits.inline_bytes} are allowed inline; send a uri",
        )  # fmt: skip
    return ref.data


def _fetched(
    ref: MediaRef, limits: MediaLimits, field: str, wait: Callable[[float], object]
) -> bytes:
    from workers.media_allow import NotAllowed, allowed_path, allowed_url, scheme_of

    name = path(field, "uri")
    if not ref.uri:
        raise _refused("empty", path(field), ref.uri, "send a uri, or data")
    try:
        if scheme_of(ref.uri) == "file":
            return _read_file(allowed_path(ref.uri, limits.allow), ref, limits, name)
        url = allowed_url(ref.uri, limits.allow)
    except (NotAllowed, UnicodeError, RuntimeError, OSError) as error:
        raise _refused("not_allowed", name, ref.uri, str(error)) from error
    return asyncio.run(_unless_stopped(_read_http(url, ref, limits, name), wait))


def _read_file(file: Path, ref: MediaRef, limits: MediaLimits, name: str) -> bytes:
    # The path is real, so a link in its last place is one that was put there since. A pipe
    # would block the open but for O_NONBLOCK.
    try:
        handle = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(handle, "rb") as stream:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise _refused("not_allowed", name, ref.uri, "it is not a plain file")
            data = stream.read(limits.max_bytes + 1)
    except OSError as error:
        told = error.strerror or "it cannot be read"
        raise _refused("unreachable", name, ref.uri, f"{told}; send it again once it is there") from error  # fmt: skip
    if len(data) > limits.max_bytes:
        raise _too_large(ref, limits, name)
    return data


async def _unless_stopped(
    reading: Coroutine[None, None, bytes], wait: Callable[[float], object]
) -> bytes:
    """What is read, or TransientError when we are to stop: a worker that ends does not wait
    for somebody else's server."""
    task = asyncio.ensure_future(reading)
    while not (await asyncio.wait({task}, timeout=_LOOK_UP_S))[0]:
        if wait(0):
            task.cancel()
            raise TransientError("given up: we stop")
    return task.result()


async def _read_http(
    url: "httpx.URL", ref: MediaRef, limits: MediaLimits, name: str
) -> bytes:
    import httpx

    timeout = httpx.Timeout(limits.read_s, connect=limits.connect_s)
    try:
        # The limit of the whole: a server that sends a byte now and then keeps within the others.
        async with (
            asyncio.timeout(limits.total_s),
            httpx.AsyncClient(
                verify=_trusted(), timeout=timeout, trust_env=False
            ) as client,
        ):
            for _ in range(limits.redirects + 1):
                found = await _read_hop(client, url, ref, limits, name)
                if isinstance(found, bytes):
                    return found
                url = found
    except (TimeoutError, httpx.ReadTimeout) as error:
        raise _refused(
            "too_slow", name, ref.uri,
            f"not fetched within {limits.total_s:g} s ({limits.read_s:g} s a read); serve it faster",
        ) from error  # fmt: skip
    except httpx.TransportError as error:
        raise TransientError(f"the server cannot be reached: {error!r}") from error
    raise _refused(
        "not_allowed",
        name,
        ref.uri,
        f"more than {limits.redirects} redirects; send the last uri",
    )


async def _read_hop(
    client: "httpx.AsyncClient",
    url: "httpx.URL",
    ref: MediaRef,
    limits: MediaLimits,
    name: str,
) -> "bytes | httpx.URL":
    """The body, or where a redirect leads, checked like the first URL."""
    from workers.media_allow import NotAllowed, allowed_url

    headers = {"accept-encoding": "identity", "user-agent": "streamrec"}
    async with client.stream("GET", url, headers=headers) as answer:
        if answer.has_redirect_location:
            try:
                return allowed_url(url.join(answer.headers["location"]), limits.allow)
            except (NotAllowed, ValueError) as error:
                raise _refused(
                    "not_allowed", name, ref.uri, f"it redirects elsewhere: {error}"
                ) from error
        _check_status(answer.status_code, ref, name)
        told = answer.headers.get("content-length", "")
        if told.isdecimal() and int(told) > limits.max_bytes:
            raise _too_large(ref, limits, name)
        data = bytearray()
        async for block in answer.aiter_raw(_BLOCK):  # raw: what is packed is not unpacked
            data += block
            if len(data) > limits.max_bytes:
                raise _too_large(ref, limits, name)
        return bytes(data)


def _check_status(status: int, ref: MediaRef, name: str) -> None:
    if status >= 500 or status in _BUSY:
        raise TransientError(f"the server answers {status}")
    if status != 200:
        raise _refused(
            "unreachable",
            name,
            ref.uri,
            f"the server answers {status}; send a uri that is there",
        )


@lru_cache(maxsize=1)
def _trusted() -> ssl.SSLContext:
    """The certificates that we trust; reading them takes longer than a small fetch."""
    import httpx

    return httpx.create_ssl_context(trust_env=False)


def _too_large(ref: MediaRef, limits: MediaLimits, name: str) -> MediaError:
    return _refused(
        "too_large",
        name,
        ref.uri,
        f"it has more than {limits.max_bytes} bytes; send a smaller one",
    )


def _refused(reason: MediaReason, field: str, value: object, remedy: str) -> MediaError:
    shown = repr(value)
    shown = shown if len(shown) <= 80 else shown[:77] + "..."
    return MediaError(reason, f"field `{field}` is {shown}; {remedy}")
