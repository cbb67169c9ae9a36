"""The whole path of encode on in-memory doors with real encoders: what may be relied on."""

import dataclasses
import hashlib
import random

import pytest
import torch
from msgspec.structs import replace

from encoders.config import EncoderConfig
from encoders.content import TextContent
from encoders.fusion import columns_of, fuse, fusion_version
from encoders.load import load_encoders
from schemas import (
    Interaction,
    Item,
    ItemVectors,
    Media,
    MediaRef,
    Query,
    Slot,
    Visit,
    encode,
)
from tests.support.media_server import media_server
from tests.support.waiting import wait_for
from tests.support.workshop import (
    NOW,
    TOPICS,
    Counting,
    Workshop,
    picture,
    settled,
    sound,
    vector,
    wait_for_threads,
)
from workers.ports import Outbound, TransientError

pytestmark = pytest.mark.models
RED, BLUE = picture((200, 10, 10)), picture((10, 10, 200))
LOW, HIGH = sound(0.05), sound(1.1)


@pytest.fixture(scope="module")
def encoders():
    return load_encoders(EncoderConfig(device="cpu", video="none", sensor="none"))


@pytest.fixture
def shop(encoders):
    return Workshop(encoders)


def inline(kind: str, data: bytes, **more) -> MediaRef:
    return MediaRef(kind=kind, data=data, **more)


def put(shop: Workshop, item_id: str = "i1", title: str = "A film", **fields) -> None:
    shop.send(TOPICS.items, item_id, Item(item_id=item_id, title=title, **fields))


def upload(shop: Workshop, kind: str, data: bytes, item_id: str = "i1", **fields) -> None:
    media = Media(
        media_id=f"m{shop.ms}", kind=kind, at_ms=NOW, item_id=item_id, data=data, **fields
    )
    shop.send(TOPICS.media, media.user_id or item_id, media)


def say(shop: Workshop, event_id: str = "e1", user: str = "ann", **fields) -> None:
    event = Interaction(
        event_id=event_id, user_id=user, item_id="i1", kind="like", at_ms=NOW, **fields
    )
    shop.send(TOPICS.events, user, event)


def ask(shop: Workshop, event_id: str = "q1", user: str = "ann", **fields) -> None:
    query = Query(event_id=event_id, user_id=user, at_ms=NOW, **fields)
    shop.send(TOPICS.events, user, query)


def reasons(shop: Workshop) -> list[str | None]:
    return [r.header("__connect.errors.class.name") for r in shop.dead_letters()]


# --- items ---------------------------------------------------------------------------------


def test_an_item_gets_one_slot_a_modality_and_one_fused_vector(shop):
    put(shop, media=[inline("image", RED), inline("audio", LOW)])
    shop.drain()
    item = shop.items()["i1"]
    assert {n: s.encoder for n, s in item.slots.items()} == {
        n: e.name for n, e in shop.encoders.items()
    }
    assert {n: len(s.vector) for n, s in item.slots.items()} == {
        "text": 4 * 384, "image": 4 * 1280, "audio": 4 * 256
    }  # fmt: skip
    assert item.encoder == fusion_version(EncoderConfig())
    assert float(vector(item.fused).norm()) == pytest.approx(1.0, abs=1e-5)
    assert item.slots["image"].content == hashlib.sha256(RED).hexdigest()
    assert not shop.dead_letters()


def test_the_text_slot_is_of_title_description_categories_and_attributes(shop, encoders):
    put(
        shop, title="Alien", description="In space.", categories=["horror", "space"],
        creator="R. Scott", attributes={"year": 1979, "mood": "dark", "tags": ["slow"]},
    )  # fmt: skip
    shop.drain()
    text = "Alien\nIn space.\nhorror, space\nR. Scott\ndark\nslow"
    expected = encoders["text"].encode([TextContent(text)])[0]
    torch.testing.assert_close(
        vector(shop.items()["i1"].slots["text"].vector), expected, atol=1e-5, rtol=0
    )


def test_vectors_go_to_the_partition_number_of_their_cause_and_say_when_it_was(shop):
    for n in range(12):
        put(shop, f"i{n}")
    shop.drain()
    causes = {r.key: r for r in shop.log.records(TOPICS.items)}
    written = shop.log.records(TOPICS.item_vectors)
    assert {r.key: r.partition for r in written} == {
        key: r.partition for key, r in causes.items()
    }
    for record in written:
        assert record.header("caused-at-ms") == str(causes[record.key].timestamp_ms)
        assert record.header("content-type") == "application/msgpack"


def test_an_upload_changes_that_slot_alone(shop):
    put(shop, media=[inline("image", RED), inline("audio", LOW)])
    shop.drain()
    before = shop.items()["i1"]
    upload(shop, "image", BLUE)
    shop.drain()
    after = shop.items()["i1"]
    assert after.slots["image"].vector != before.slots["image"].vector
    assert {n: s for n, s in after.slots.items() if n != "image"} == {
        n: s for n, s in before.slots.items() if n != "image"
    }
    assert after.fused != before.fused


def test_an_upload_for_an_item_not_seen_yet_is_kept(shop):
    upload(shop, "image", RED, item_id="new")
    shop.drain()
    assert shop.items()["new"].put is None
    put(shop, "new")
    shop.drain()
    assert set(shop.items()["new"].slots) == {"text", "image"}


def test_a_missing_modality_is_masked_and_not_zero_filled(shop):
    put(shop, "a", title="Same words")
    put(shop, "b", title="Same words", media=[inline("image", RED)])
    shop.drain()
    a, b = shop.items()["a"], shop.items()["b"]
    slots = {"text": vector(a.slots["text"].vector)}
    alone = fuse(columns_of([slots]), rows=1, config=EncoderConfig()).vector_ED[0]
    torch.testing.assert_close(vector(a.fused), alone, atol=1e-5, rtol=0)
    assert set(b.slots) == {"text", "image"}


def test_several_pictures_of_an_item_are_one_slot_of_their_mean(shop):
    put(shop, "a", media=[inline("image", RED), inline("image", BLUE)])
    put(shop, "r", media=[inline("image", RED)])
    put(shop, "b", media=[inline("image", BLUE)])
    shop.drain()
    both, red, blue = (vector(shop.items()[i].slots["image"].vector) for i in "arb")
    mean = torch.nn.functional.normalize(red + blue, dim=0)
    torch.testing.assert_close(both, mean, atol=1e-4, rtol=0)
    assert shop.seen("image") == 2  # each content once


def test_a_new_record_without_media_drops_what_came_with_the_old_and_keeps_uploads(shop):
    put(shop, media=[inline("image", RED)])
    upload(shop, "audio", LOW)
    shop.drain()
    assert set(shop.items()["i1"].slots) == {"text", "image", "audio"}
    put(shop)
    shop.drain()
    assert set(shop.items()["i1"].slots) == {"text", "audio"}


def test_a_withdrawn_item_keeps_a_tombstone_that_an_upload_does_not_revive(shop):
    put(shop, media=[inline("image", RED)])
    shop.send(TOPICS.items, "i1", None)
    upload(shop, "image", BLUE)
    shop.drain()
    gone = shop.items()["i1"]
    assert gone.withdrawn
    assert gone.fused is None
    assert gone.withdrawn_by is not None
    put(shop)
    shop.drain()
    back = shop.items()["i1"]
    assert not back.withdrawn
    assert set(back.slots) == {"text", "image"}
    assert back.slots["image"].content == hashlib.sha256(BLUE).hexdigest()


@pytest.mark.parametrize("seed", range(6))
def test_whatever_the_interleaving_of_items_and_media_the_item_is_the_same(encoders, seed):
    rng = random.Random(seed)
    at_ms = [NOW + rng.randrange(4) for _ in range(6)]
    items = [
        Item(item_id="i1", title="one", media=[inline("image", RED)]),
        None,
        Item(item_id="i1", title="two", vectors={"clip": [1.0, 2.0]}),
    ]
    media = [
        Media(media_id=f"m{n}", kind="image", at_ms=NOW, item_id="i1", data=data)
        for n, data in enumerate((BLUE, RED, BLUE))
    ]
    results = []
    for _ in range(2):
        shop = Workshop(encoders)
        ways = [("items", r, at_ms[n]) for n, r in enumerate(items)]
        ways += [("media", r, at_ms[3 + n]) for n, r in enumerate(media)]
        order = ["items"] * 3 + ["media"] * 3
        rng.shuffle(order)
        for role in order:  # each topic keeps its own order; between them anything goes
            name, record, stamp_ms = next(w for w in ways if w[0] == role)
            ways.remove((name, record, stamp_ms))
            value = None if record is None else encode(record)
            sent = Outbound(getattr(TOPICS, role), b"i1", value)
            shop.log.append([sent], at_ms=stamp_ms)
            if rng.random() < 0.5:
                shop.drain(batch=rng.randint(1, 8))
        shop.drain()
        results.append(shop.items()["i1"])
    one, other = results
    assert without_numbers(one) == without_numbers(other)
    # a row's last bits depend on the batch that it was encoded in
    for a, b in zip(numbers(one), numbers(other), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=0)


def without_numbers(item: ItemVectors) -> ItemVectors:
    def bare(slots: dict[str, Slot]) -> dict[str, Slot]:
        return {name: replace(slot, vector=b"") for name, slot in slots.items()}

    fused = None if item.fused is None else b""
    return replace(item, fused=fused, slots=bare(item.slots), shadowed=bare(item.shadowed))


def numbers(item: ItemVectors) -> list[torch.Tensor]:
    slots = [*sorted(item.slots.items()), *sorted(item.shadowed.items())]
    fused = [] if item.fused is None else [item.fused]
    return [vector(data) for data in [*(slot.vector for _, slot in slots), *fused]]


# --- vectors that producers bring ----------------------------------------------------------


def test_brought_vectors_are_slots_as_they_are_and_no_encoder_runs_for_them(shop):
    put(
        shop,
        vectors={"image": [3.0, 4.0], "clip": [1.0] * 512},
        media=[inline("image", RED)],
    )
    shop.drain()
    item = shop.items()["i1"]
    assert set(item.slots) == {"text", "image", "clip"}
    assert vector(item.slots["image"].vector).tolist() == [3.0, 4.0]
    assert shop.seen("image") == 0
    assert not shop.dead_letters()


def test_a_vector_of_another_width_than_its_space_is_refused_and_the_other_slots_stay(shop):
    put(shop, "a", vectors={"clip": [1.0, 2.0]})
    put(shop, "b", vectors={"clip": [1.0, 2.0, 3.0], "cf": [1.0]})
    shop.drain(batch=1)
    assert set(shop.items()["b"].slots) == {"text", "cf"}
    assert reasons(shop) == ["wrong_width"]
    assert "vectors.clip" in (
        shop.dead_letters()[0].header("__connect.errors.exception.message") or ""
    )


def test_the_width_of_a_space_is_remembered_over_a_restart(shop):
    put(shop, "a", vectors={"clip": [1.0, 2.0]})
    shop.drain()
    put(shop, "b", vectors={"clip": [1.0, 2.0, 3.0]})
    shop.drain()
    assert reasons(shop) == ["wrong_width"]


def test_after_a_restart_a_space_has_the_width_that_most_items_have(encoders):
    shop = Workshop(encoders)
    for n, width in enumerate([2, 3, 3]):  # of three workers, as it were
        put(shop, f"i{n}", vectors={"clip": [1.0] * width})
        with shop.worker() as worker:
            worker.shelf.spaces.clear()
            worker.shelf.declared = frozenset({"clip"})
            shop.turn(worker, until=lambda: settled(worker))
    put(shop, "late", vectors={"clip": [1.0, 2.0, 3.0]})
    worker = shop.drain()
    assert worker.shelf.spaces == {"clip": 3}
    assert set(shop.items()["late"].slots) == {"text", "clip"}
    assert not shop.dead_letters()


def test_a_bad_vector_leaves_its_modality_to_what_the_item_shows(shop):
    put(shop, vectors={"image": [0.0, 0.0]}, media=[inline("image", RED)])
    shop.drain()
    assert set(shop.items()["i1"].slots) == {"text", "image"}
    assert shop.seen("image") == 1
    assert reasons(shop) == ["empty"]


def test_vectors_are_taken_as_far_as_the_log_takes_them_back(shop):
    put(shop, vectors={f"s{n}": [1.0] * 8192 for n in range(40)})
    shop.drain()
    (written,) = shop.log.records(TOPICS.item_vectors)
    assert len(written.value or b"") < 2 * 1024 * 1024
    assert len(shop.items()["i1"].slots) == 17
    assert reasons(shop) == ["too_large"]


# --- what is wrong -------------------------------------------------------------------------


def test_a_broken_file_is_a_dead_letter_and_the_item_keeps_its_other_modalities(shop):
    put(
        shop,
        media=[inline("image", RED[:40]), inline("audio", LOW), inline("smell", b"x")],
    )
    shop.drain()
    assert set(shop.items()["i1"].slots) == {"text", "audio"}
    (letter,) = shop.dead_letters()
    (cause,) = shop.log.records(TOPICS.items)
    assert (letter.key, letter.value) == (cause.key, cause.value)
    told = letter.header("__connect.errors.exception.message") or ""
    assert letter.header("__connect.errors.class.name") == "undecodable"
    assert "media[0]" in told
    assert "media[2].kind" in told
    assert letter.header("__connect.errors.offset") == "0"
    assert letter.header("__connect.errors.stage") == "encode"


@pytest.mark.parametrize(
    ("ref", "reason"),
    [
        (MediaRef(kind="image", uri="file:///etc/passwd"), "not_allowed"),
        (MediaRef(kind="image", uri="https://nowhere.example/x.png"), "not_allowed"),
        (MediaRef(kind="image", data=RED, sha256="0" * 64), "hash_mismatch"),
        (MediaRef(kind="audio", data=RED), "undecodable"),
        (MediaRef(kind="image"), "empty"),
        (MediaRef(kind="image", data=b"x" * (2 * 1024 * 1024 + 1)), "too_large"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_content_that_is_not_taken_says_why(shop, ref, reason):
    put(shop, media=[ref])
    upload(shop, ref.kind, ref.data, uri=ref.uri, sha256=ref.sha256)
    shop.drain()
    assert set(shop.items()["i1"].slots) == {"text"}
    assert reasons(shop) == [reason, reason]


@pytest.mark.parametrize(
    ("topic", "key", "value", "reason"),
    [
        ("items", b"i1", b"\xc1", "unreadable"),
        ("items", b"other", encode(Item(item_id="i1")), "wrong_key"),
        ("items", None, encode(Item(item_id="i1")), "wrong_key"),
        ("items", b"\xff", None, "bad_id"),
        ("items", b"a\x07", None, "bad_id"),
        ("media", b"i1", None, "null_value"),
        (
            "media",
            b"i1",
            encode(Media(media_id="m", kind="image", at_ms=1)),
            "missing_field",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_record_that_cannot_be_used_is_set_aside_and_the_next_is_encoded(
    shop, topic, key, value, reason
):
    shop.log.append([Outbound(getattr(TOPICS, topic), key, value)])
    put(shop, "good")
    shop.drain()
    assert reasons(shop) == [reason]
    assert list(shop.items()) == ["good"]


def test_events_that_cannot_be_read_are_left_to_the_recommend_worker(shop):
    shop.log.append([Outbound(TOPICS.events, b"ann", b"\xc1 text")])
    say(shop, text="hello", user="bob")
    shop.drain()
    assert not shop.dead_letters()
    assert list(shop.signals()) == ["e1#m0"]


# --- content that is the same --------------------------------------------------------------


def test_unchanged_content_is_not_encoded_again(shop):
    for _ in range(3):
        put(shop, title="Same", media=[inline("image", RED), inline("audio", LOW)])
        shop.drain()
    assert [shop.seen(m) for m in ("text", "image", "audio")] == [1, 1, 1]
    assert shop.items()["i1"].slots["image"].source[2] == 2


def test_content_with_a_known_hash_is_not_even_fetched_again(encoders, tmp_path):
    shop = Workshop(encoders, allow=[tmp_path.as_uri()])
    (tmp_path / "a.png").write_bytes(RED)
    ref = MediaRef(
        kind="image",
        uri=(tmp_path / "a.png").as_uri(),
        sha256=hashlib.sha256(RED).hexdigest(),
    )
    put(shop, title="One", media=[ref])
    shop.drain()
    (tmp_path / "a.png").unlink()
    put(shop, title="Two", media=[ref])
    shop.drain()
    assert set(shop.items()["i1"].slots) == {"text", "image"}
    assert not shop.dead_letters()


def test_slots_of_another_encoder_are_not_fused_and_are_encoded_anew(shop):
    put(shop, media=[inline("image", RED)])
    shop.drain()
    other = dataclasses.replace(shop.encoders["image"].inner, name="image/other@1")
    shop.encoders["image"] = Counting(other)
    upload(shop, "audio", LOW)
    shop.drain()
    item = shop.items()["i1"]
    slots = {name: vector(item.slots[name].vector) for name in ("text", "audio")}
    without = fuse(columns_of([slots]), rows=1, config=EncoderConfig()).vector_ED[0]
    torch.testing.assert_close(vector(item.fused), without, atol=1e-5, rtol=0)
    put(shop, media=[inline("image", RED)])
    shop.drain()
    assert shop.items()["i1"].slots["image"].encoder == "image/other@1"
    assert shop.seen("image") == 1


def test_items_of_another_space_are_fused_again_without_an_encoder(encoders):
    shop = Workshop(encoders)
    put(shop, media=[inline("image", RED)])
    put(shop, "i2")
    shop.send(TOPICS.items, "i2", None)
    shop.drain()
    shop.config = EncoderConfig(width=64, fusion="concatenation")
    shop.drain()
    item = shop.items()["i1"]
    assert item.encoder == fusion_version(shop.config)
    assert len(item.fused or b"") == 4 * 64
    assert shop.seen("image") == 1
    assert shop.items()["i2"].fused is None


# --- what people say and show --------------------------------------------------------------


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


# --- delivery ------------------------------------------------------------------------------


def test_nothing_is_committed_that_was_not_acknowledged(shop):
    put(shop)
    with shop.worker() as worker:
        worker.sink.failures.extend([TransientError("away")] * 3)
        shop.turn(worker, until=lambda: len(worker.sink.failures) == 1)
        assert not any(worker.source.committed(shop.log.numbers([TOPICS.items])).values())
        assert shop.items() == {}
        assert not worker.health.ready().body["conditions"]["log"]["ok"]
        shop.turn(worker, until=lambda: settled(worker))
    assert set(shop.items()["i1"].slots) == {"text"}
    assert shop.seen("text") == 1


def test_a_worker_that_dies_before_the_commit_is_followed_by_one_that_does_it_again(shop):
    for n in range(5):
        put(shop, f"i{n}", title=f"Film {n}")
        say(shop, f"e{n}", f"u{n}", text=f"word {n}")
    with shop.worker() as worker:
        shop.turn(worker, until=lambda: worker.encoding is not None)
    shop.drain()
    items, signals = shop.items(), shop.signals()
    again = Workshop({n: c.inner for n, c in shop.encoders.items()})
    for n in range(5):
        put(again, f"i{n}", title=f"Film {n}")
        say(again, f"e{n}", f"u{n}", text=f"word {n}")
    again.drain()
    assert {i: set(v.slots) for i, v in items.items()} == {
        i: set(v.slots) for i, v in again.items().items()
    }
    assert set(signals) == set(again.signals())


def test_slots_survive_a_restart(shop):
    put(shop, media=[inline("image", RED)])
    shop.drain()
    upload(shop, "audio", HIGH)
    shop.drain()
    assert set(shop.items()["i1"].slots) == {"text", "image", "audio"}
    assert shop.seen("image") == 1


def test_slots_survive_compaction_and_a_change_of_owner(shop):
    for n in range(9):
        put(shop, f"i{n}", media=[inline("image", RED)])
    shop.drain(name="one")
    shop.log.compact(TOPICS.item_vectors)
    with shop.worker("two") as two, shop.worker("one") as one:
        for n in range(9):
            upload(shop, "audio", HIGH, item_id=f"i{n}")

        def both_settled() -> bool:
            for worker in (one, two):
                turns = iter(range(3))
                shop.turn(worker, until=lambda turns=turns: next(turns, None) is None)
            return settled(one) and settled(two)

        wait_for(both_settled, limit_s=60.0)
        assert {*one.shelf.items} | {*two.shelf.items} == {0, 1, 2}
        assert not {*one.shelf.items} & {*two.shelf.items}
    assert all(set(i.slots) == {"text", "image", "audio"} for i in shop.items().values())


def test_a_partition_that_is_lost_takes_what_was_under_way_with_it(shop):
    put(shop)
    with shop.worker() as worker:
        shop.turn(worker, until=lambda: worker.encoding is not None)
        (number,) = (r.partition for r in shop.log.records(TOPICS.items))
        read = (TOPICS.items, TOPICS.media, TOPICS.events)
        worker.source.revoke((topic, number) for topic in read)
        shop.turn(worker, until=lambda: worker.encoding is None)
        assert worker.shelf.items.get(number) is None
        assert worker.pending == set()
    assert shop.items() == {}


def test_a_slow_server_holds_up_its_record_and_the_commit_behind_it_and_nobody_else(
    encoders,
):
    with media_server() as server:
        shop = Workshop(encoders, allow=[server.url], tries=1)
        put(shop, media=[MediaRef(kind="image", uri=f"{server.url}/silent")])
        at = (TOPICS.items, shop.log.records(TOPICS.items)[0].partition)
        with shop.worker() as worker:
            shop.turn(worker, until=lambda: bool(server.asked))
            shown = Item(item_id="i2", title="Red", media=[inline("image", RED)])
            shop.send(TOPICS.items, "i2", shown, partition=at[1])
            ask(shop, text="rainy noir")
            shop.turn(worker, until=lambda: {"i2"} == set(shop.items()) and shop.signals())
            assert list(shop.signals()) == ["q1#q"]
            assert worker.source.committed([at]).get(at, 0) == 0
            server.released.set()
            shop.turn(worker, until=lambda: settled(worker))
            assert worker.source.committed([at])[at] == 2
    assert set(shop.items()["i1"].slots) == {"text"}
    assert set(shop.items()["i2"].slots) == {"text", "image"}
    assert reasons(shop) == ["unreachable"]


def test_a_worker_that_dies_while_a_record_waits_is_followed_by_one_that_reads_it(encoders):
    with media_server() as server:
        shop = Workshop(encoders, allow=[server.url], tries=1)
        put(shop, media=[MediaRef(kind="image", uri=f"{server.url}/silent")])
        with shop.worker() as worker:
            shop.turn(worker, until=lambda: bool(worker.waiting.jobs))
            ask(shop, text="rainy noir")
            shop.turn(worker, until=lambda: bool(shop.signals()))
    shop.limits = replace(shop.limits, allow=[])
    shop.drain()
    assert set(shop.items()["i1"].slots) == {"text"}
    assert reasons(shop) == ["not_allowed"]


def test_a_worker_that_was_away_for_longer_than_its_session_asks_before_it_writes(shop):
    put(shop)
    with shop.worker() as worker:
        shop.turn(worker, until=lambda: worker.encoding is not None)
        worker.session_s = 0.0
        wait_for_threads(worker)
        turns = iter(range(5))
        shop.turn(worker, until=lambda: next(turns, None) is None)
        assert shop.items() == {}
        worker.session_s = 60.0
        shop.turn(worker, until=lambda: settled(worker))
    assert set(shop.items()["i1"].slots) == {"text"}


def test_no_more_than_three_batches_are_under_way_and_one_waits(encoders):
    with media_server() as server:
        shop = Workshop(encoders, allow=[server.url], tries=1)
        for n in range(40):
            put(shop, f"i{n}", media=[MediaRef(kind="image", uri=f"{server.url}/silent")])
        with shop.worker(batch=4) as worker:
            shop.turn(worker, until=lambda: bool(worker.waiting.jobs))
            shop.turn(worker, until=lambda: len(worker.gathered.jobs) >= 4)
            worker.patient_until_s = 0.0
            turns = iter(range(10))
            shop.turn(worker, until=lambda: next(turns, None) is None)
            assert len(worker.gathered.jobs) == 4
            assert worker.preparing is not None
            assert len(worker.waiting.jobs) == 4
            server.released.set()
            shop.turn(worker, until=lambda: settled(worker))
    assert len(shop.items()) == 40
