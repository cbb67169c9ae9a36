"""The log that training keeps as columns: read on, forgotten, bounded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from msgspec.structs import replace

from encoders.law import hash64
from schemas import Erase, Interaction, Undo
from tests.support.academy import Academy, chains
from tests.support.house import NOW
from workers.train_columns import Columns


def kept(academy: Academy, limit: int = 1 << 20) -> Columns:
    return Columns(
        folder=academy.folder / "columns", log_id="memory", limit=limit, size=300
    )


def same(a: Any, b: Any) -> bool:
    """Whether two logs have the same columns."""
    names = ("user_E", "item_E", "kind_E", "value_E", "at_ms_E", "offset_E", "partition_E")
    return all(
        np.array_equal(getattr(a, n), getattr(b, n), equal_nan=n == "value_E")
        for n in names
    )


def caught_up(academy: Academy, worker: Any) -> Any:
    academy.turn(worker, until=lambda: not worker.events.behind())
    return worker.columns.view(worker.items.view())


def test_a_restart_reads_on_and_has_the_same_columns(academy: Academy, tmp_path: Path):
    academy.config = replace(academy.config, min_events=1 << 20)
    academy.house.tell(*chains(700))
    first = caught_up(academy, academy.worker())
    assert len(first) == 700
    again = academy.worker()
    assert len(again.columns) == 700
    assert not again.events.behind(), "nothing is read a second time"
    assert same(again.columns.view(again.items.view()), first)
    academy.house.tell(*chains(50, start=700))
    more = caught_up(academy, academy.worker())
    assert len(more) == 750
    academy.folder = tmp_path / "afresh"
    assert same(caught_up(academy, academy.worker()), more)


def test_the_columns_are_those_of_one_reading_whatever_was_killed_when(academy: Academy):
    """A worker that is gone between two reads and before it kept what it had."""
    academy.config = replace(academy.config, min_events=1 << 20)
    rng = np.random.default_rng(3)
    for start in range(0, 900, 90):
        academy.house.tell(*chains(90, start=start))
        columns = kept(academy)
        worker = academy.worker()
        worker.columns = columns
        for _ in range(int(rng.integers(1, 4))):
            from workers.train import read

            read(worker, now=float(rng.choice([-1.0, 1e9])))
            # killed here: what was not kept is read again
    whole = caught_up(academy, academy.worker())
    assert len(whole) == 900
    assert (
        len(set(zip(whole.partition_E.tolist(), whole.offset_E.tolist(), strict=True)))
        == 900
    )


def test_doubles_and_what_was_undone_are_left_out_whichever_came_first(academy: Academy):
    academy.config = replace(academy.config, min_events=1 << 20)
    one, two, three = (
        Interaction(
            event_id=f"e{n}", user_id="ann", item_id=f"i0{n}", kind="click", at_ms=NOW + n
        )
        for n in range(3)
    )
    academy.house.tell(
        Undo(event_id="x0", user_id="ann", undoes="e0", at_ms=NOW),
        one, two, two, three,
        Undo(event_id="x2", user_id="ann", undoes="e2", at_ms=NOW),
        Undo(event_id="x1", user_id="bob", undoes="e1", at_ms=NOW),
    )  # fmt: skip
    log = caught_up(academy, academy.worker())
    assert log.item_E.tolist() == [hash64("i01")]


def test_an_erase_takes_the_user_out_of_memory_and_files_and_later_ones_start_afresh(
    academy: Academy,
):
    academy.config = replace(academy.config, min_events=1 << 20)
    academy.house.tell(*chains(700))
    worker = academy.worker()
    assert len(caught_up(academy, worker)) == 700
    gone = hash64("u3")
    academy.house.tell(
        Erase(event_id="x", user_id="u3", at_ms=NOW),
        Interaction(
            event_id="late", user_id="u3", item_id="i01", kind="click", at_ms=NOW - 5
        ),
        Interaction(
            event_id="new", user_id="u3", item_id="i02", kind="click", at_ms=NOW + 5
        ),
    )
    from workers.train import read

    worker = academy.worker()
    while worker.events.behind():
        read(worker, now=0.0)
    for file in (academy.folder / "columns").glob("events-*.npz"):
        rows = np.load(file)["rows"]
        assert not ((rows["user"] == gone) & (rows["at_ms"] <= NOW)).any()
    log = caught_up(academy, academy.worker())
    assert log.item_E[log.user_E == gone].tolist() == [hash64("i02")]


def test_an_erase_that_was_cut_short_is_finished_at_the_next_opening(academy: Academy):
    academy.config = replace(academy.config, min_events=1 << 20)
    academy.house.tell(*chains(700))
    caught_up(academy, academy.worker())
    older = sorted((academy.folder / "columns").glob("events-*.npz"))[0]
    before = older.read_bytes()
    academy.house.tell(Erase(event_id="x", user_id="u3", at_ms=NOW))
    caught_up(academy, academy.worker())
    older.write_bytes(before)  # as if the crash had come between the two files
    assert hash64("u3") in np.load(older)["rows"]["user"]
    assert hash64("u3") not in kept(academy).view(academy.worker().items.view()).user_E
    assert hash64("u3") not in np.load(older)["rows"]["user"]


def test_columns_are_bounded_and_the_oldest_go(academy: Academy):
    academy.config = replace(academy.config, min_events=1 << 20, max_events=450)
    academy.house.tell(*chains(1_400))
    worker = academy.worker()
    log = caught_up(academy, worker)
    assert len(log) == 450
    assert log.at_ms_E.min() >= NOW - 10_000_000 + 950_000
    assert len(worker.columns) <= 450 + 300


def test_columns_of_another_topic_are_left_behind(academy: Academy):
    academy.house.tell(*chains(700))
    caught_up(academy, academy.worker())
    other = Columns(folder=academy.folder / "columns", log_id="made anew", limit=10)
    assert len(other) == 0
    assert other.next_offsets == {}
