"""The law of slots: whatever the interleaving of items and media, the same item."""

import random
from functools import reduce

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import ItemVectors, Slot, decode, encode
from workers.slots import Put, Upload, Withdrawal, merge, stamp_of

ITEMS, MEDIA = "rec.items.v1", "rec.media.v1"
NOTHING = ItemVectors(item_id="i1")
NAMES = ("text", "image", "clip")


def slot(topic: str, stamp_ms: int, offset: int, name: str = "") -> Slot:
    vector = f"{topic[4]}{stamp_ms}.{offset}.{name}".encode().ljust(16)
    return Slot(
        vector=vector,
        encoder="e",
        source=(topic, 0, offset),
        stamp_ms=stamp_ms,
        content="c",
    )


def put(stamp_ms: int, offset: int, *names: str) -> Put:
    slots = {name: slot(ITEMS, stamp_ms, offset, name) for name in names}
    return Put((stamp_ms, ITEMS, offset), slots)


def withdrawal(stamp_ms: int, offset: int) -> Withdrawal:
    return Withdrawal((stamp_ms, ITEMS, offset))


def upload(stamp_ms: int, offset: int, name: str) -> Upload:
    return Upload(name, slot(MEDIA, stamp_ms, offset, name))


def merged(*changes) -> ItemVectors:
    return reduce(merge, changes, NOTHING)


def taken(vectors: ItemVectors) -> dict[str, int]:
    """Which offsets the slots in force come from."""
    return {name: s.source[2] for name, s in vectors.slots.items()}


names = st.sets(st.sampled_from(NAMES))
kinds = st.one_of(
    st.tuples(st.just("put"), names),
    st.tuples(st.just("withdraw"), st.just(frozenset())),
    st.tuples(st.just("upload"), st.sampled_from(NAMES)),
)


@st.composite
def histories(draw):
    """Records of both topics, each topic with offsets of its own; stamps may be equal, and
    may go back within a topic."""
    changes = []
    offsets = {"items": 0, "media": 0}
    for kind, named in draw(st.lists(kinds, min_size=1, max_size=8)):
        stamp_ms = draw(st.integers(0, 4))
        topic = "media" if kind == "upload" else "items"
        offset = offsets[topic] = offsets[topic] + 1
        if kind == "put":
            changes.append(put(stamp_ms, offset, *sorted(named)))
        elif kind == "withdraw":
            changes.append(withdrawal(stamp_ms, offset))
        else:
            changes.append(upload(stamp_ms, offset, named))
    return changes


def by_the_book(changes) -> tuple[bool, dict[str, bytes]]:
    """The law said again in plain words: whether withdrawn, and the vectors in force."""
    ends = [c.stamp for c in changes if isinstance(c, Withdrawal)]
    end = max(ends, default=(-1, "", -1))
    puts = [c for c in changes if isinstance(c, Put) and c.stamp > end]
    newest = max(puts, key=lambda c: c.stamp, default=None)
    candidates = list(newest.slots.items()) if newest else []
    candidates += [
        (c.name, c.slot)
        for c in changes
        if isinstance(c, Upload) and stamp_of(c.slot) > end
    ]
    force = {}
    for name, s in sorted(candidates, key=lambda pair: stamp_of(pair[1])):
        force[name] = s.vector
    return bool(ends) and newest is None, force


@settings(max_examples=300)
@given(histories(), st.randoms(use_true_random=False))
def test_order_and_repetition_change_nothing(changes, rng: random.Random):
    again = [*changes, *rng.choices(changes, k=4)]
    rng.shuffle(again)
    assert merged(*again) == merged(*changes)


@settings(max_examples=300)
@given(histories())
def test_the_result_is_the_law_in_plain_words(changes):
    vectors = merged(*changes)
    withdrawn, force = by_the_book(changes)
    assert vectors.withdrawn == withdrawn
    assert {name: s.vector for name, s in vectors.slots.items()} == force


@settings(max_examples=200)
@given(histories(), st.integers(0, 8), st.randoms(use_true_random=False))
def test_a_restart_anywhere_changes_nothing(changes, at, rng: random.Random):
    rng.shuffle(changes)
    kept = decode("item-vectors", encode(merged(*changes[:at])))
    assert reduce(merge, changes[at:], kept) == merged(*changes)


def test_an_upload_changes_its_slot_alone():
    vectors = merged(put(1, 0, "text", "image"), upload(2, 0, "image"))
    assert vectors.slots["text"].source == (ITEMS, 0, 0)
    assert vectors.slots["image"].source == (MEDIA, 0, 0)
    assert vectors.shadowed["image"].source == (ITEMS, 0, 0)


def test_a_new_record_without_media_drops_what_came_with_the_old_and_keeps_uploads():
    vectors = merged(put(1, 0, "text", "image"), upload(2, 0, "clip"), put(3, 1, "text"))
    assert taken(vectors) == {"text": 1, "clip": 0}


def test_what_stood_in_the_shadow_comes_back():
    shadowing = merged(upload(1, 5, "image"), put(2, 0, "image"))
    assert taken(shadowing) == {"image": 0}
    assert taken(merge(shadowing, put(3, 1, "text"))) == {"text": 1, "image": 5}


def test_what_is_uploaded_for_an_unknown_item_is_kept():
    vectors = merged(upload(1, 0, "image"))
    assert (taken(vectors), vectors.put, vectors.withdrawn) == ({"image": 0}, None, False)


def test_a_withdrawal_ends_what_is_older():
    vectors = merged(put(1, 0, "text"), upload(2, 0, "image"), withdrawal(3, 1))
    assert (vectors.withdrawn, vectors.slots, vectors.shadowed) == (True, {}, {})


def test_an_upload_alone_never_revives_an_item():
    vectors = merged(put(1, 0, "text"), withdrawal(2, 1), upload(3, 0, "image"))
    assert vectors.withdrawn
    revived = merge(vectors, put(4, 2, "text"))
    assert not revived.withdrawn
    assert taken(revived) == {"text": 2, "image": 0}


@pytest.mark.parametrize(
    "late", [put(1, 0, "text"), upload(1, 0, "text"), withdrawal(1, 0)]
)
def test_what_is_older_than_a_withdrawal_and_arrives_later_changes_nothing(late):
    vectors = merged(withdrawal(2, 1))
    assert merge(vectors, late) == vectors
