"""Videos through the whole path of encode: item media, uploads, comments, and what is refused."""

import pytest
import torch

from encoders.config import EncoderConfig
from encoders.content import ImageContent
from encoders.load import load_encoders
from schemas import Interaction, Item, Media, MediaRef, Query
from tests.support.clips import BLUE, GREEN, RED, clip
from tests.support.workshop import NOW, TOPICS, Workshop, picture, vector

pytestmark = pytest.mark.models
SEEN = clip([(RED, 1.0), (BLUE, 1.0)])
HEARD = clip([(RED, 1.0), (BLUE, 1.0)], tone=0.3)


@pytest.fixture(scope="module")
def encoders():
    return load_encoders(EncoderConfig(device="cpu", text="none", sensor="none"))


@pytest.fixture
def shop(encoders):
    return Workshop(encoders, video_frames=4)


def put(shop: Workshop, *media: MediaRef) -> None:
    shop.send(TOPICS.items, "i1", Item(item_id="i1", title="A film", media=list(media)))


def half(data: bytes) -> bytes:
    return data[: len(data) // 2]


def video(data: bytes, **more) -> MediaRef:
    return MediaRef(kind="video", data=data, content_type="video/mp4", **more)


def reasons(shop: Workshop) -> list[str | None]:
    return [r.header("__connect.errors.class.name") for r in shop.dead_letters()]


def told(shop: Workshop) -> str:
    (letter,) = shop.dead_letters()
    return letter.header("__connect.errors.exception.message") or ""


def test_an_items_video_is_a_slot_of_its_own_and_part_of_the_fused_vector(shop):
    put(shop, video(HEARD))
    shop.drain()
    item = shop.items()["i1"]
    assert set(item.slots) == {"video"}
    assert item.slots["video"].encoder == shop.encoders["video"].name
    assert len(item.slots["video"].vector) == 4 * (1280 + 256)
    assert float(vector(item.fused).norm()) == pytest.approx(1.0, abs=1e-5)
    assert not shop.dead_letters()


def test_what_is_seen_of_a_silent_video_is_the_mean_of_its_pictures(shop, encoders):
    put(shop, video(clip([(RED, 2.0)])))
    shop.drain()
    told_W = vector(shop.items()["i1"].slots["video"].vector)
    red = torch.tensor(RED, dtype=torch.uint8).view(3, 1, 1).expand(3, 48, 64)
    picture_W = encoders["image"].encode([ImageContent(red)])[0]
    assert float(told_W[:1280] @ picture_W) > 0.8
    assert not told_W[1280:].any()


def test_a_sound_track_moves_the_vector_and_another_one_otherwise(shop):
    vectors = {}
    for name, data in {
        "silent": SEEN,
        "low": HEARD,
        "again": HEARD,
        "high": clip([(RED, 1.0), (BLUE, 1.0)], tone=1.4),
    }.items():
        media = Media(media_id=name, kind="video", at_ms=NOW, item_id=name, data=data)
        shop.send(TOPICS.media, name, media)
        shop.drain()
        vectors[name] = vector(shop.items()[name].slots["video"].vector)
    assert float(vectors["low"] @ vectors["again"]) == pytest.approx(1.0, abs=1e-5)
    assert float(vectors["low"] @ vectors["high"]) < 0.99
    assert 0.5 < float(vectors["low"] @ vectors["silent"]) < 0.95


def test_unchanged_videos_are_not_encoded_again(shop):
    put(shop, video(SEEN))
    shop.drain()
    put(shop, video(SEEN))
    shop.drain()
    assert shop.seen("video") == 1


def test_an_upload_changes_the_video_slot_alone(shop):
    put(shop, video(SEEN), video(clip([(GREEN, 1.0)])))
    shop.drain()
    before = shop.items()["i1"].slots["video"]
    media = Media(media_id="m1", kind="video", at_ms=NOW, item_id="i1", data=HEARD)
    shop.send(TOPICS.media, "i1", media)
    shop.drain()
    after = shop.items()["i1"]
    assert set(after.slots) == {"video"}
    assert after.slots["video"].vector != before.vector


def test_a_video_comment_and_a_video_query_become_signals(shop):
    event = Interaction(
        event_id="e1",
        user_id="ann",
        item_id="i1",
        kind="like",
        at_ms=NOW,
        media=[video(SEEN)],
    )
    shop.send(TOPICS.events, "ann", event)
    shop.send(
        TOPICS.events, "ann",
        Query(event_id="q1", user_id="ann", at_ms=NOW, media=[video(HEARD)]),
    )  # fmt: skip
    shop.drain()
    signals = shop.signals()
    assert {s.event_id: s.modality for s in signals.values()} == {
        "e1#m0": "video", "q1#q": "video"
    }  # fmt: skip
    for signal in signals.values():
        assert float(vector(signal.vector).norm()) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize(
    ("data", "reason", "remedy"),
    [
        (half(HEARD), "undecodable", "send a whole MP4"),
        (b"\0\0\0\x1cftypisom" + bytes(64), "undecodable", "send a whole MP4"),
        (b"no video at all", "undecodable", "send MP4"),
        (half(clip([(RED, 2.0)], kind="matroska")), "empty", "at least one frame"),
    ],
    ids=["truncated", "header-only", "text", "truncated-matroska"],
)
def test_a_broken_video_is_a_dead_letter_that_says_what_to_send(shop, data, reason, remedy):
    put(shop, video(data))
    shop.drain()
    assert reasons(shop) == [reason]
    assert "media[0]" in told(shop)
    assert remedy in told(shop)
    assert shop.items()["i1"].slots == {}


def test_a_video_beside_pictures_leaves_theirs_alone(shop):
    put(shop, MediaRef(kind="image", data=picture((200, 10, 10))), video(b"broken"))
    shop.drain()
    assert set(shop.items()["i1"].slots) == {"image"}
    assert "media[1]" in told(shop)
