"""Texts into vectors by somebody else's model: any endpoint that speaks OpenAI's embeddings.

    endpoint:https://api.openai.com/v1#text-embedding-3-small
    POST URL/embeddings {"model", "input": [texts], "encoding_format": "float"}
      -> {"data": [{"index", "embedding"}, ...]}

Only https, or http on loopback; no redirects are followed. Fates: an endpoint that is away or
busy is asked again with growing pauses, then TransientError, and the worker tries the batch
again; a refusal, or an answer that is not what was asked for, is a FatalError, for it will not
get better by itself. The name has the model's name and a hash of the spec: what the provider
changes behind it we cannot see.
"""

import hashlib
import ipaddress
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urlsplit

import httpx
import torch
from torch import Tensor
from torch.nn.functional import normalize

from encoders.config import EncoderConfig
from encoders.content import TextContent
from encoders.specs import SpecError
from workers.ports import FatalError, TransientError

WIDEST = 8192
"""Numbers of a vector that one record of rec.item-vectors.v1 takes."""
_TEXTS_A_CALL = 64
_A_TOKEN = 4  # characters of one, about
_MAX_BYTES = 64 << 20  # of an answer
_BUSY = (408, 425, 429)  # with 5xx, answers that may be better later
_LONGEST_PAUSE_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointEncoder:
    """Holds `Encoder[TextContent]`; build it by `open_endpoint`. Cost: tokens, about (four
    characters each). Parameters: the provider's."""

    name: str
    url: str
    model: str
    client: httpx.Client
    max_tokens: int
    tries: int
    timeout_s: float
    wait: Callable[[float], object]
    width: int = 0
    modality: str = "text"

    def cost(self, content: TextContent) -> int:
        return min(self.max_tokens, len(content.text) // _A_TOKEN + 1)

    def encode(self, batch: Sequence[TextContent]) -> Tensor:
        """Raises TransientError or FatalError."""
        # Endpoints refuse a text of nothing.
        texts = [c.text[: self.max_tokens * _A_TOKEN].strip() or "." for c in batch]
        texts = [text.encode(errors="replace").decode() for text in texts]
        vector_EW = torch.empty(len(texts), self.width)
        for at in range(0, len(texts), _TEXTS_A_CALL):
            part = texts[at : at + _TEXTS_A_CALL]
            rows = checked(self._ask(part), texts=len(part), width=self.width, url=self.url)
            vector_EW[at : at + len(part)] = torch.tensor(rows)
        return normalize(vector_EW, dim=-1)

    def measured_width(self) -> int:
        """How wide this model's vectors are: one text is sent. Raises as `encode` does."""
        rows = checked(self._ask(["width"]), texts=1, width=0, url=self.url)
        return len(rows[0])

    def close(self) -> None:
        self.client.close()

    def _ask(self, texts: Sequence[str]) -> Any:
        for attempt in range(self.tries):
            try:
                return self._ask_once(texts)
            except _Busy as busy:
                if attempt + 1 == self.tries:
                    raise TransientError(
                        f"endpoint {self.url}: {busy} ({self.tries} tries)"
                    ) from busy
                self.wait(min(busy.pause_s or 0.25 * 2**attempt, _LONGEST_PAUSE_S))
        raise AssertionError("tries is at least 1")

    def _ask_once(self, texts: Sequence[str]) -> Any:
        body = {"model": self.model, "input": list(texts), "encoding_format": "float"}
        try:
            with self.client.stream("POST", self.url, json=body) as answer:
                data = _limited(answer, self.url, limit_s=self.timeout_s)
        except httpx.TransportError as error:
            raise _Busy(f"it cannot be reached: {error!r}") from error
        if answer.status_code >= 500 or answer.status_code in _BUSY:
            told = answer.headers.get("retry-after", "")
            pause_s = float(told) if told.isdecimal() else 0.0
            raise _Busy(f"it answers {answer.status_code}", pause_s)
        if answer.status_code != 200:
            raise FatalError(
                f"endpoint {self.url} answers {answer.status_code} for model {self.model!r}: "
                f"{data[:200].decode(errors='replace')!r}; correct STREAMREC_ENCODERS__TEXT or "
                "STREAMREC_ENCODERS__ENDPOINT_API_KEY"
            )
        try:
            return json.loads(data)
        except ValueError as error:
            raise _wrong(self.url, f"no JSON: {data[:80]!r}") from error


class _Busy(Exception):
    """It may answer later; `pause_s`: when it says so itself."""

    def __init__(self, said: str, pause_s: float = 0.0) -> None:
        super().__init__(said)
        self.pause_s = pause_s


def open_endpoint(
    spec: str, config: EncoderConfig, *, wait: Callable[[float], object] = time.sleep
) -> EndpointEncoder:
    """The encoder of an endpoint: spec, its width asked of the endpoint. Raises SpecError for
    the spec, TransientError and FatalError for the endpoint."""
    parts, model = _parsed(spec)
    path = parts.path.rstrip("/")
    path = path if path.endswith("/embeddings") else f"{path}/embeddings"
    headers = {"user-agent": "streamrec"}
    if config.endpoint_api_key:
        headers["authorization"] = f"Bearer {config.endpoint_api_key}"
    url = parts._replace(path=path, fragment="").geturl()
    digest = hashlib.sha256(f"{url}#{model}".encode()).hexdigest()[:8]
    asked: dict[str, Any] = {
        "name": f"text/{model.rpartition('/')[2]}@endpoint-{digest}",
        "url": url,
        "model": model,
        "max_tokens": config.max_tokens,
        "tries": config.endpoint_tries,
        "timeout_s": config.endpoint_timeout_s,
        "wait": wait,
    }
    client = httpx.Client(
        headers=headers, timeout=config.endpoint_timeout_s, trust_env=False
    )
    try:
        width = EndpointEncoder(client=client, **asked).measured_width()
    except BaseException:
        client.close()
        raise
    return EndpointEncoder(client=client, width=width, **asked)


def checked(answer: Any, *, texts: int, width: int, url: str) -> list[list[float]]:
    """The rows of an answer in the order of the texts, if there is one for each, of finite
    numbers and of this width (0: any up to WIDEST, the same for all). Raises FatalError."""
    try:
        told = {int(row["index"]): row["embedding"] for row in answer["data"]}
        rows = [[float(number) for number in told[at]] for at in range(texts)]
    except (KeyError, TypeError, ValueError) as error:
        raise _wrong(url, f"no data[].index and data[].embedding for each text: {error!r}") from error  # fmt: skip
    if len(told) != texts:
        raise _wrong(url, f"{len(told)} vectors for {texts} texts")
    width = width or len(rows[0])
    for row in rows:
        if len(row) != width or not 1 <= width <= WIDEST:
            raise _wrong(
                url, f"a vector of width {len(row)}, expected {width}, at most {WIDEST}"
            )
        if not all(map(math.isfinite, row)) or not any(row):
            raise _wrong(url, "a vector with numbers that are none, or all zero")
    return rows


def _limited(answer: httpx.Response, url: str, *, limit_s: float) -> bytes:
    """The body, within the limits of size and of time: a server that sends a byte now and then
    keeps within that of each read."""
    data, until_s = bytearray(), time.monotonic() + limit_s
    for block in answer.iter_bytes():
        data += block
        if time.monotonic() > until_s:
            raise _Busy(f"no whole answer within {limit_s:g} s")
        if len(data) > _MAX_BYTES:
            raise _wrong(url, f"more than {_MAX_BYTES} bytes")
    return bytes(data)


def _wrong(url: str, said: str) -> FatalError:
    return FatalError(
        f"endpoint {url} does not answer as OpenAI's embeddings do: {said}; name another in "
        "STREAMREC_ENCODERS__TEXT"
    )


def _parsed(spec: str) -> tuple[SplitResult, str]:
    """The URL and the model. Raises SpecError."""
    url, _, model = spec.removeprefix("endpoint:").partition("#")
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError as error:
        raise _refused(spec, str(error)) from error
    if not model or not host or parts.query:
        raise _refused(spec, "it has no model, no host, or a query")
    if parts.username is not None:
        raise _refused(
            spec, "a key in it would be logged; use STREAMREC_ENCODERS__ENDPOINT_API_KEY"
        )
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_loopback(host)):
        raise _refused(spec, "texts and keys travel by https, or by http on loopback")
    return parts, model


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _refused(spec: str, why: str) -> SpecError:
    return SpecError(f"text encoder {spec!r}: {why}; expected endpoint:URL#MODEL")
