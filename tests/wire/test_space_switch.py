"""A new fusion rolled out on a real Kafka while events come: each list is of one space, wholly,
whoever is killed in the middle of it; then back, forth again, and confirmed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count, groupby
from pathlib import Path
from threading import Event as Flag
from threading import Thread
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
import torch
from confluent_kafka import Consumer, TopicPartition

from encoders.fusion_load import load_fusion
from encoders.fusion_model import FusionModel, FusionNet
from encoders.fusion_nets import NetSettings, SlotSpec
from encoders.load import load_encoders
from schemas import Event, Interaction, Item, ItemVectors, Query, Slate, decode, encode
from tests.support.people import assert_answered_once
from tests.support.spine import WIDTH, Process, Reader, Spine, reading, spine
from tests.support.waiting import wait_for
from workers.laptop_kafka import Broker

pytestmark = [pytest.mark.wire, pytest.mark.fault, pytest.mark.timeout(400)]
FILMS, AT_MS = 3_000, 1_764_000_000_000
WORDS = [f"word{n}" for n in range(400)]
NAMES = [f"film{n}" for n in range(FILMS)]


@pytest.fixture
def house(broker: Broker, topic_prefix: str, tmp_path: Path) -> Iterator[Spine]:
    settings = {
        "STREAMREC_ENCODERS__TEXT": "builtin:bag-of-words",
        "STREAMREC_ENCODE__BATCH": "500",
        "STREAMREC_LIST__RANKER": "content",
        "STREAMREC_TRAIN__OUT": str(tmp_path / "models"),
    }
    settings |= {
        f"STREAMREC_ENCODERS__{modality}": "none"
        for modality in ("IMAGE", "AUDIO", "VIDEO", "SENSOR")
    }
    with spine(broker.bootstrap, topic_prefix, tmp_path, **settings) as made:
        yield made


def fusion_of(house: Spine) -> FusionModel:
    """A fusion as a file beside the others: what it computes is all its own."""
    torch.manual_seed(5)
    text = load_encoders(house.config.encoders)["text"]
    slots = (SlotSpec("text", text.width, text.name),)
    net = NetSettings(  # wide, so that it takes its time
        kind="weighted", width=WIDTH, components=text.width, hidden=10_000
    )
    made = FusionModel.of(FusionNet(slots, net), slots=slots, net=net)
    made.save(house.folder / "made.safetensors")
    return made


def put_films(house: Spine, names: list[str], **more: Any) -> None:
    """Each with a title of its own."""
    for name in names:
        title = " ".join(random.Random(name).sample(WORDS, 5))
        house.put("items", name, encode(Item(item_id=name, title=title, **more)))
    house.flush()


@dataclass
class Traffic:
    """Clicks all the time, each by somebody new, and questions, from a thread of its own."""

    house: Spine
    sent: list[Event] = field(default_factory=list)
    enough: Flag = field(default_factory=Flag)

    def __enter__(self) -> Traffic:
        self.thread = Thread(target=self.run)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.enough.set()
        self.thread.join(30)

    def clicks(self) -> list[str]:
        """The ids of those that were sent until now."""
        return [e.event_id for e in [*self.sent] if isinstance(e, Interaction)]

    def run(self) -> None:
        for n in count():
            user, at_ms = f"u{n}", AT_MS + n
            event: Event = Interaction(
                event_id=f"e{n}", user_id=user, item_id=random.Random(n).choice(NAMES),
                kind="click", at_ms=at_ms,
            )  # fmt: skip
            if n % 10 == 9:
                event = Query(
                    event_id=f"e{n}", user_id=user, at_ms=at_ms, text=WORDS[n % 400]
                )
            self.house.send(event)
            self.sent.append(event)
            if self.enough.wait(0.02):
                return


class Written:
    """What rec.item-vectors.v1 says: the newest spaces of each item, and its vector in each."""

    def __init__(self, house: Spine) -> None:
        self.consumer = Consumer(
            {"bootstrap.servers": house.bootstrap, "group.id": f"written-{uuid4()}"}
        )
        name = house.topic("item-vectors")
        parts = self.consumer.list_topics(name, timeout=30).topics[name].partitions
        self.consumer.assign([TopicPartition(name, number, 0) for number in parts])
        self.spaces: dict[str, tuple[str, str]] = {}
        self.vectors: dict[str, dict[str, Any]] = {}

    def close(self) -> None:
        self.consumer.close()

    def read(self) -> int:
        """Some of what is there; how many records."""
        messages = self.consumer.consume(300, 0.05)
        for message in messages:
            assert message.error() is None, message.error()
            self.take(decode("item-vectors", message.value()))
        return len(messages)

    def take(self, found: ItemVectors) -> None:
        self.spaces[found.item_id] = (found.encoder, found.encoder_next)
        both = ((found.encoder, found.fused), (found.encoder_next, found.fused_next))
        for space, fused in both:
            if fused is not None:
                self.vectors.setdefault(space, {})[found.item_id] = np.frombuffer(
                    fused, "<f4"
                )

    def until(self, condition: Callable[[], object], *, what: str) -> None:
        def met() -> object:
            self.read()
            return condition()

        wait_for(met, limit_s=90, what=what)

    def all_of(self, *spaces: str) -> Callable[[], bool]:
        """Every item's newest record is of these two, that in force and the next."""
        wanted = (spaces[0], *spaces[1:], "")[:2]
        return lambda: len(self.spaces) >= FILMS and {*self.spaces.values()} == {wanted}


@pytest.fixture
def written(house: Spine) -> Iterator[Written]:
    made = Written(house)
    yield made
    made.close()


def lists_of(reader: Reader) -> dict[int, list[Slate]]:
    """By partition, in the order of the log."""
    out: dict[int, list[Slate]] = {}
    for message, slate in zip(reader.messages, reader.slates, strict=True):
        out.setdefault(message.partition(), []).append(slate)
    return out


def until_lists_are_of(reader: Reader, space: str, workers: list[Process]) -> None:
    """Read on until the newest list of each partition is of this space."""
    newest: dict[int, str] = {}

    def all_over() -> bool:
        reader.poll()
        found = lists_of(reader).items()
        newest.update({n: slates[-1].versions["encoder"] for n, slates in found})
        return len(newest) == 3 and {*newest.values()} == {space}

    try:
        wait_for(all_over, limit_s=60, what=f"lists of {space}")
    except AssertionError as error:
        said = [f"{w.output}lacking {gauge(w, 'space_items_lacking')}" for w in workers]
        raise AssertionError("\n".join([f"{newest}", *said])) from error


def gauge(worker: Process, name: str) -> float:
    """What the worker shows; -1 while it doesn't."""
    said = worker.get("/metrics")[1].decode()
    shown = [x for x in said.splitlines() if x.startswith(f"streamrec_{name} ")]
    return float(shown[0].split()[1]) if shown else -1


def assert_right(slates: list[Slate], sent: list[Event], written: Written) -> None:
    """The list after a person's only click is what is nearest to the item in the list's own
    space, by the vectors that the log has."""
    touched = {e.event_id: e.item_id for e in sent if isinstance(e, Interaction)}
    spaces = {
        space: np.stack([vectors[name] for name in NAMES])
        for space, vectors in written.vectors.items()
    }
    row_of, checked = {name: row for row, name in enumerate(NAMES)}, 0
    for slate in slates:
        (event,) = slate.caused_by
        if (item := touched.get(event)) is None:
            continue
        cosine = (matrix := spaces[slate.versions["encoder"]]) @ matrix[row_of[item]]
        cosine[row_of[item]] = -1  # it is seen
        best, names = np.sort(cosine)[::-1][: slate.k], [i.item_id for i in slate.items]
        assert len({*names}) == slate.k
        np.testing.assert_allclose(
            [cosine[row_of[name]] for name in names], best, atol=1e-4
        )
        checked += 1
    assert checked > 500


def test_a_fusion_is_rolled_out_and_back_and_confirmed_while_workers_are_killed(
    house: Spine, written: Written
):
    old, new = load_fusion(house.config.encoders).version, fusion_of(house).version
    put_films(house, NAMES)
    coder = house.start("encode")
    one, two = (house.start("recommend", name) for name in ("one", "two"))
    written.until(written.all_of(old), what="vectors of the old space")
    for worker in (one, two):
        worker.wait_ready()
        wait_for(lambda: gauge(worker, "items_indexed") >= FILMS, limit_s=30)  # noqa: B023

    publish = ("models", "publish", "made.safetensors", "--name", "fusion")
    with (
        reading(house) as reader, Traffic(house) as traffic, ThreadPoolExecutor(1) as beside,
    ):  # fmt: skip
        until_lists_are_of(reader, old, [one, two])
        publishing = beside.submit(house.rec, *publish)
        written.until(lambda: written.vectors.get(new), what="the first of the new space")
        coder.kill()
        one.kill()
        assert new in publishing.result(60)
        wait_for(lambda: not written.read(), limit_s=30)
        assert len(written.vectors[new]) < FILMS, "it was to be killed in the middle"
        put_films(house, [f"late{n}" for n in range(20)], available=False)
        coder, one = house.start("encode"), house.start("recommend", "one")
        until_lists_are_of(reader, new, [one, two])

        two.kill()
        two = house.start("recommend", "two")  # back into the space that it was in
        reader.until(traffic.clicks())
        assert old in house.rec("models", "rollback", "--name", "fusion")
        written.until(lambda: (new, old) in written.spaces.values(), what="the first back")
        coder.kill()
        coder = house.start("encode")
        until_lists_are_of(reader, old, [one, two])

        house.rec(*publish)
        until_lists_are_of(reader, new, [one, two])
        assert "confirmed" in house.rec("models", "confirm")
        written.until(written.all_of(new), what="vectors of the new space alone")
        one.kill()
        one = house.start("recommend", "one")  # it begins in what was confirmed
        reader.until(traffic.clicks())
    house.flush()
    with reading(house) as reader:
        assert_answered_once(reader, traffic.sent)
    for slates in lists_of(reader).values():
        spaces = [space for space, _ in groupby(s.versions["encoder"] for s in slates)]
        assert spaces == [old, new, old, new]
    assert_right(reader.slates, traffic.sent, written)
    assert len(written.spaces) == FILMS + 20
    assert [worker.stop() for worker in (coder, one, two)] == [0, 0, 0]
