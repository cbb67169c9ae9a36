"""What people say, show and ask, encoded into their logs."""

import pytest

from encoders.config import EncoderConfig
from encoders.fusion import fusion_version
from schemas import MediaRef, Query, Visit
from tests.support.producers import BLUE, LOW, RED, ask, inline, put, reasons, say, upload
from tests.support.workshop import NOW, TOPICS, vector

pytestmark = pytest.mark.models


def test_each_content_of_an_interaction_is_a_signal_in_its_users_log(shop):
    put(shop)
    say(shop, text="lovely", media=[inline("image", RED), inline("audio", LOW)])
    shop.drain()
    signals = shop.signals()
    assert {e: s.modality for e, s in signals.items()} == {
        "e1#m0": "text", "e1#m1": "image", "e1#m2": "audio"
    }  # fmt: skip
    for signal in signals.values():
        assert (signal.of, signal.user_id, signal.item_id) == ("e1", "ann", "i1")
        assert (signal.cause, signal.at_ms) == ("interaction", NOW)
        assert signal.encoder == fusion_version(EncoderConfig())
        assert float(vector(signal.vector).norm()) == pytest.approx(1.0, abs=1e-5)


def test_a_signal_goes_to_the_partition_number_of_its_cause_with_its_headers(shop):
    query = Query(event_id="q1", user_id="ann", at_ms=NOW, text="rain")
    headers = (("traceparent", b"00-1"), ("x-else", b"?"))
    shop.send(TOPICS.events, "ann", query, partition=2, headers=headers)
    upload(shop, "image", RED, user_id="bob")
    shop.drain()
    records = {
        r.key: r for r in shop.log.records(TOPICS.events) if r.header("caused-at-ms")
    }
    assert records[b"ann"].partition == 2
    assert records[b"ann"].header("traceparent") == "00-1"
    assert records[b"ann"].header("x-else") is None
    (cause,) = shop.log.records(TOPICS.media)
    assert records[b"bob"].partition == cause.partition
    assert records[b"bob"].header("caused-at-ms") == str(cause.timestamp_ms)


def test_a_query_is_one_signal_fused_from_all_of_it(shop):
    ask(shop, text="rainy noir", media=[inline("image", RED)], context={"category": "film"})
    shop.drain()
    (signal,) = shop.signals().values()
    assert (signal.event_id, signal.of, signal.cause) == ("q1#q", "q1", "query")
    assert signal.modality == "image+text"
    assert signal.context == {"category": "film"}


@pytest.mark.parametrize(
    "fields",
    [{}, {"text": "  "}, {"media": [MediaRef(kind="image", data=b"junk")]}],
    ids=["nothing", "blank", "broken"],
)
def test_a_query_that_cannot_be_encoded_still_has_its_signal(shop, fields):
    ask(shop, **fields)
    shop.drain()
    (signal,) = shop.signals().values()
    assert (signal.event_id, signal.vector, signal.modality) == ("q1#q", None, "")
    assert reasons(shop) == (["undecodable"] if "media" in fields else [])


def test_a_query_as_large_as_the_log_takes_has_a_signal_that_the_log_takes(shop):
    context = {"category": "film", "history": "x" * 1_040_000}
    ask(shop, text="rainy noir", context=context)
    shop.drain()
    (sent, written) = shop.log.records(TOPICS.events)
    assert len(written.value or b"") < len(sent.value or b"")
    (signal,) = shop.signals().values()
    assert signal.context == {"category": "film"}
    assert signal.vector


def test_what_a_user_uploads_is_a_signal_and_no_slot(shop):
    upload(shop, "audio", LOW, user_id="ann", item_id="i1", event_id="e7")
    shop.drain()
    (signal,) = shop.signals().values()
    assert signal.event_id.startswith("m")
    assert signal.event_id.endswith("#u")
    assert (signal.of, signal.cause, signal.user_id) == ("e7", "upload", "ann")
    assert shop.items() == {}


def test_broken_content_of_an_interaction_is_a_dead_letter_and_the_rest_are_signals(shop):
    say(shop, media=[inline("image", b"junk"), inline("image", BLUE)])
    shop.drain()
    assert list(shop.signals()) == ["e1#m1"]
    assert reasons(shop) == ["undecodable"]


def test_what_a_user_shows_is_near_to_the_item_that_shows_it(shop):
    put(shop, "red", title="x", media=[inline("image", RED)])
    put(shop, "blue", title="x", media=[inline("image", BLUE)])
    say(shop, media=[inline("image", RED)])
    shop.drain()
    shown = vector(shop.signals()["e1#m0"].vector)
    near = {i: float(vector(item.fused) @ shown) for i, item in shop.items().items()}
    assert near["red"] > near["blue"] + 0.05


def test_the_longest_id_has_signals_with_ids_that_are_taken(shop):
    say(shop, "e" * 256, text="hello")
    shop.drain()
    (signal,) = shop.signals().values()
    assert signal.of == "e" * 256
    assert len(signal.event_id) <= 256


def test_clicks_and_signals_are_passed_over_and_their_offsets_committed(shop):
    for n in range(40):
        event = Visit(
            event_id=f"v{n}", user_id=f"u{n}", at_ms=NOW, context={"device": "text"}
        )
        shop.send(TOPICS.events, f"u{n}", event)
        say(shop, f"e{n}", f"u{n}")
    worker = shop.drain()
    committed = worker.source.committed(shop.log.numbers([TOPICS.events]))
    assert sum(committed.values()) == 80
    assert shop.signals() == {}
    assert shop.seen("text") == 0
