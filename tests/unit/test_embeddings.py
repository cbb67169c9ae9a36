"""Endpoints that embed texts: asked in batches, with patience, and believed only so far."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import closing

import msgspec
import pytest
import torch

from encoders.config import EncoderConfig
from encoders.content import TextContent
from encoders.load import load_encoders, warm_up
from encoders.specs import SpecError
from schemas import Item
from tests.support.embedding_server import (
    WIDTH,
    EmbeddingServer,
    embedding_server,
    vector_of,
)
from tests.support.workshop import TOPICS, Workshop, vector
from workers.embeddings import EndpointEncoder, open_endpoint
from workers.ports import FatalError, TransientError

CONFIG = EncoderConfig(
    image="none", audio="none", video="none", sensor="none", endpoint_timeout_s=5.0,
    endpoint_tries=3,
)  # fmt: skip


@pytest.fixture
def server() -> Iterator[EmbeddingServer]:
    with embedding_server() as running:
        yield running


def opened(
    server: EmbeddingServer, model: str = "letters", **change: object
) -> EndpointEncoder:
    """The encoder of this server, whose pauses are none."""
    config = msgspec.structs.replace(CONFIG, **change)
    return open_endpoint(f"endpoint:{server.url}#{model}", config, wait=lambda _: None)


def contents(*texts: str) -> list[TextContent]:
    return [TextContent(text) for text in texts]


def test_an_endpoint_is_an_encoder_whose_width_it_tells_itself(server):
    spec = f"endpoint:{server.url}#letters"
    config = msgspec.structs.replace(CONFIG, text=spec, endpoint_api_key="sesame")
    encoders = load_encoders(config, open_endpoint=open_endpoint)
    with closing(encoders["text"]) as encoder:
        warm_up(encoders)
        assert (encoder.width, encoder.modality) == (WIDTH, "text")
        assert encoder.name.startswith("text/letters@endpoint-")
        vector_EW = encoder.encode(contents("two", "words"))
        expected = torch.tensor([vector_of("two"), vector_of("words")])
        torch.testing.assert_close(vector_EW, expected)
        assert encoder.encode([]).shape == (0, WIDTH)
    assert set(server.keys) == {"Bearer sesame"}
    assert {asked["path"] for asked in server.asked} == {"/v1/embeddings"}


def test_texts_are_asked_in_batches_and_come_back_in_their_order(server):
    texts = [f"text {n}" for n in range(150)]
    with closing(opened(server)) as encoder:
        vector_EW = encoder.encode(contents(*texts))
    torch.testing.assert_close(vector_EW, torch.tensor([vector_of(t) for t in texts]))
    assert [len(asked["input"]) for asked in server.asked] == [1, 64, 64, 22]


def test_only_the_beginning_of_a_text_is_sent_and_never_nothing(server):
    with closing(opened(server, max_tokens=4)) as encoder:
        encoder.encode(contents("x" * 99, "  "))
        assert encoder.cost(TextContent("x" * 99)) == 4
    assert server.asked[-1]["input"] == ["x" * 16, "."]


def test_a_busy_endpoint_is_asked_again_when_it_says_so(server):
    waited: list[float] = []
    server.busy = [(503, {}), (429, {"retry-after": "7"})]
    spec = f"endpoint:{server.url}#letters"
    with closing(open_endpoint(spec, CONFIG, wait=waited.append)) as encoder:
        assert encoder.width == WIDTH
    assert waited == [0.25, 7.0]


def test_an_endpoint_that_stays_busy_is_for_the_worker_to_try_again(server):
    with closing(opened(server)) as encoder:
        server.busy = [(500, {})] * 3
        with pytest.raises(TransientError, match=r"answers 500 \(3 tries\)"):
            encoder.encode(contents("x"))
        assert encoder.encode(contents("x")).shape == (1, WIDTH)


def test_an_endpoint_that_says_nothing_or_is_not_there_is_away(server):
    server.busy = [(0, {})]
    with pytest.raises(TransientError, match="cannot be reached"):
        opened(server, endpoint_timeout_s=0.1, endpoint_tries=1)
    with pytest.raises(TransientError, match="ConnectError"):
        open_endpoint("endpoint:http://127.0.0.1:9/v1#m", CONFIG, wait=lambda _: None)


@pytest.mark.parametrize("status", [401, 404])
def test_a_refusal_stops_and_says_which_setting_to_correct(server, status):
    server.busy = [(status, {})]
    with pytest.raises(
        FatalError, match=f"{status} .*STREAMREC_ENCODERS__ENDPOINT_API_KEY"
    ):
        opened(server)
    assert len(server.asked) == 1


def spoiled(change):
    def spoil(answer):
        for row in answer["data"]:
            row["embedding"] = change(row["embedding"])
        return answer

    return spoil


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda answer: {**answer, "data": answer["data"][1:]}, "for each text"),
        (lambda answer: {**answer, "data": answer["data"] + [{"index": 9, "embedding": [1]}]}, "4 vectors for 3"),
        (lambda _: {"error": "x"}, "for each text"),
        (lambda _: [1, 2], "for each text"),
        (lambda _: b"<html>", "no JSON"),
        (spoiled(lambda row: row[1:]), "width 5, expected 6"),
        (spoiled(lambda row: [math.nan, *row[1:]]), "numbers that are none"),
        (spoiled(lambda row: [0.0] * len(row)), "all zero"),
        (spoiled(lambda row: "x"), "for each text"),
    ],
    ids=["fewer", "more", "an error", "a list", "a page", "narrow", "nan", "zero", "words"],
)  # fmt: skip
def test_an_answer_is_checked_before_it_is_believed(server, spoil, said):
    with closing(opened(server)) as encoder:
        server.spoil = spoil
        with pytest.raises(FatalError, match=said):
            encoder.encode(contents("a", "b", "c"))


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ("endpoint:http://example.com/v1#m", "by https, or by http on loopback"),
        ("endpoint:ftp://127.0.0.1/v1#m", "by https, or by http on loopback"),
        ("endpoint:https://example.com/v1", "no model"),
        ("endpoint:https://example.com/v1?key=x#m", "a query"),
        ("endpoint:https://user:key@example.com/v1#m", "ENDPOINT_API_KEY"),
        ("endpoint:example#m", "no host"),
    ],
)
def test_what_is_no_endpoint_is_refused_before_anything_is_sent(spec, why):
    with pytest.raises(SpecError, match=why):
        open_endpoint(spec, CONFIG)


def test_an_endpoint_is_for_workers_alone_and_has_no_hash():
    config = msgspec.structs.replace(CONFIG, text="endpoint:https://example.com/v1#m")
    with pytest.raises(SpecError, match="only a worker"):
        load_encoders(config)
    pinned = msgspec.structs.replace(config, text=f"{config.text}@sha256={'0' * 64}")
    with pytest.raises(SpecError, match="no file to check"):
        load_encoders(pinned, open_endpoint=open_endpoint)


def test_a_batch_waits_for_an_endpoint_that_is_away_and_nothing_is_lost(server):
    with closing(opened(server)) as encoder:
        shop = Workshop({"text": encoder}, config=CONFIG)
        server.busy = [
            (503, {})
        ] * 7  # two tries of the batch in vain, and one of the third
        shop.send(TOPICS.items, "i1", Item(item_id="i1", title="The General"))
        shop.drain()
    slot = shop.items()["i1"].slots["text"]
    torch.testing.assert_close(vector(slot.vector), torch.tensor(vector_of("The General")))
    assert shop.dead_letters() == []
