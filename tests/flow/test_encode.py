"""The path of encode on in-memory doors with real encoders: what items become."""

import dataclasses
import hashlib
import random

import pytest
import torch
from msgspec.structs import replace

from encoders.config import EncoderConfig
from encoders.content import TextContent
from encoders.fusion import columns_of, fuse, fusion_version
from schemas import Item, ItemVectors, Media, MediaRef, Slot, encode
from tests.support.producers import BLUE, LOW, RED, inline, put, upload
from tests.support.workshop import NOW, TOPICS, Counting, Workshop, vector
from workers.ports import Outbound

pytestmark = pytest.mark.models


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
