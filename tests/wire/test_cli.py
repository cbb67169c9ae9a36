"""`rec` on a real broker: topics, produce and watch as people and programs use them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import msgpack
import pytest

from schemas import Reason, Slate, SlateItem, encode
from tests.support.kafka import Sent, consume_all, create_topics, produce
from tests.support.rec import Done, run_rec
from workers.laptop_kafka import Broker
from workers.terminal import Exit

pytestmark = pytest.mark.wire
Rec = Callable[..., Done]

ITEM = {"type": "item", "item_id": "i1", "title": "The General"}
CLICK = {
    "type": "interaction", "event_id": "e1", "user_id": "u1", "item_id": "i1", "kind": "click",
    "at_ms": 884_000_000_000,
}  # fmt: skip


@pytest.fixture
def rec(broker: Broker, topic_prefix: str, tmp_path: Path) -> Rec:
    """Runs `rec` on this broker, under a prefix of the test's own, in an empty folder."""
    env = {
        "STREAMREC_KAFKA__BOOTSTRAP": broker.bootstrap,
        "STREAMREC_KAFKA__PREFIX": topic_prefix,
        "COLUMNS": "120",
    }

    def run(*words: str, stdin: str = "") -> Done:
        return run_rec(*words, stdin=stdin, cwd=tmp_path, env=env)

    return run


def lines(*records: dict[str, object]) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


def slate(user_id: str, *event_ids: str) -> bytes:
    item = SlateItem(
        item_id="i1", rank=1, score=0.9, source="interest",
        reasons=[Reason(because="i2", weight=0.62, modality="text")],
    )  # fmt: skip
    return encode(
        Slate(
            slate_id="0-0",
            user_id=user_id,
            as_of_ms=884_000_000_000,
            k=10,
            items=[item],
            caused_by=list(event_ids),
            caused_at_ms=1,
        )
    )


def test_topics_are_made_once_and_a_second_call_changes_nothing(rec: Rec):
    made = rec("topics", "create", "--json")
    assert made.returncode == Exit.DONE, made.stderr
    assert {topic["state"] for topic in json.loads(made.stdout)} == {"created"}
    again = rec("topics", "create")
    assert again.returncode == Exit.DONE
    assert again.stdout.count("present") == 8


def test_a_topic_that_differs_is_named_with_the_remedy(
    rec: Rec, broker: Broker, topic_prefix: str
):
    create_topics(broker.bootstrap, {f"{topic_prefix}.items.v1": 2})
    done = rec("topics", "create")
    assert done.returncode == Exit.NO
    assert f"{topic_prefix}.items.v1 has 2 partitions and not 6" in done.stdout
    assert "STREAMREC_KAFKA__PARTITIONS" in done.stdout


def test_lines_become_records_on_their_topics_under_their_keys(
    rec: Rec, broker: Broker, topic_prefix: str, tmp_path: Path
):
    assert rec("topics", "create").returncode == Exit.DONE
    (tmp_path / "some.jsonl").write_text(
        lines(ITEM, CLICK) + "\n" + lines({"withdraw": "i1"})
    )
    done = rec("produce", "some.jsonl", "--json")
    assert done.returncode == Exit.DONE, done.stderr
    items, events = f"{topic_prefix}.items.v1", f"{topic_prefix}.events.v1"
    said = {"acknowledged": 3, "topics": {events: 1, items: 2}, "skipped": 0}
    assert json.loads(done.stdout) == said
    put, withdrawn = consume_all(broker.bootstrap, items)
    assert (put.key(), withdrawn.key(), withdrawn.value()) == (b"i1", b"i1", None)
    assert msgpack.unpackb(put.value()) == ITEM
    (click,) = consume_all(broker.bootstrap, events)
    assert (click.key(), dict(click.headers())) == (
        b"u1",
        {"content-type": b"application/msgpack"},
    )


def test_a_bad_line_ends_it_and_what_came_before_was_sent(
    rec: Rec, broker: Broker, topic_prefix: str
):
    assert rec("topics", "create").returncode == Exit.DONE
    bad = lines(ITEM, {"type": "visit"}, CLICK)
    done = rec("produce", "-", "--wire", "json", stdin=bad)
    assert done.returncode == Exit.USAGE
    assert "line 2: field `event_id` is missing" in done.stderr
    assert "1 records before it were sent" in done.stderr
    (item,) = consume_all(broker.bootstrap, f"{topic_prefix}.items.v1")
    assert json.loads(item.value()) == ITEM
    skipping = rec("produce", "-", "--skip-bad", "--rate", "100", stdin=bad)
    assert skipping.returncode == Exit.DONE
    assert "2 records acknowledged" in skipping.stdout
    assert "1 bad lines skipped" in skipping.stdout


def test_records_for_topics_that_are_not_there_say_how_to_make_them(rec: Rec):
    done = rec("watch", "u1", "--timeout", "5")
    assert done.returncode == Exit.NO
    assert "run `rec topics create`" in done.stderr
    assert "Traceback" not in done.stderr


def test_lists_are_watched_with_titles_until_there_were_enough(
    rec: Rec, broker: Broker, topic_prefix: str
):
    assert rec("topics", "create").returncode == Exit.DONE
    assert rec("produce", "-", stdin=lines(ITEM)).returncode == Exit.DONE
    produce(
        broker.bootstrap,
        f"{topic_prefix}.recommendations.v1",
        [
            Sent(slate("u1", "e1"), key="u1"),
            Sent(slate("u2", "e2"), key="u2"),
            Sent(None, key="u2"),
        ],
    )
    shown = rec("watch", "u1", "--from-start", "--count", "1", "--json")
    assert shown.returncode == Exit.DONE, shown.stderr
    found = json.loads(shown.stdout)
    assert (found["user_id"], found["items"][0]["title"]) == ("u1", "The General")
    everybody = rec("watch", "--all", "--from-start", "--count", "3")
    assert everybody.returncode == Exit.DONE
    assert "The General (i1)" in everybody.stdout
    assert "i2 (text 0.62)" in everybody.stdout
    assert "u2: erased, no list" in everybody.stdout
    nobody = rec("watch", "u9", "--from-start", "--count", "1", "--timeout", "1")
    assert nobody.returncode == Exit.NO


def test_a_store_is_forgotten_only_when_that_is_said(rec: Rec, tmp_path: Path):
    assert rec("topics", "create").returncode == Exit.DONE
    store = tmp_path / "var" / "store" / "worker-0"
    store.mkdir(parents=True)
    asked = rec("rebuild")
    assert asked.returncode == Exit.USAGE
    assert "--yes" in asked.stderr
    assert store.is_dir()
    assert rec("rebuild", "--yes").returncode == Exit.DONE
    assert not store.exists()
    assert rec("rebuild", "--yes").returncode == Exit.DONE
