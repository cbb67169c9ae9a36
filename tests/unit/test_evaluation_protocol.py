"""The list is asked for, then the event happens: nothing looks ahead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from evaluation.protocol import Outcome, PeekError, Recommender, Split, run
from evaluation.recorded import Event, Ints, Log, of_records, read_jsonl
from evaluation.slices import by_gap, by_length, slices, stream_of
from evaluation.stale import Stale
from schemas import encode
from tests.support.recorded import MINUTE_MS, log_of, touch
from workers.terminal import CommandError


@dataclass
class Diary:
    """Writes down what it is told, and lists items in the catalogue's order."""

    name: str = "diary"
    settings: str = ""
    obey: bool = True
    told: list[str] = field(default_factory=list)
    past: Log | None = None
    items: int = 0

    def fit(self, history: Log) -> None:
        self.past, self.items = history, len(history.items)

    def lists(
        self, user_U: Ints, at_ms_U: Ints, *, k: int, exclude: Sequence[Ints]
    ) -> Ints:
        self.told.append(f"ask {user_U[0]} after {sum('row' in t for t in self.told)}")
        left = [n for n in range(self.items) if not self.obey or n not in exclude[0]]
        return np.array([left[:k]])

    def apply(self, event: Event) -> None:
        self.told.append(f"row {event.row}")


def test_a_recommender_hears_of_an_event_only_after_its_list() -> None:
    log = log_of([("u", "A"), ("u", "B"), ("v", "A"), ("u", "C")], "ABC")
    diary = Diary()
    outcome = run(diary, log, Split(2, 2))
    assert diary.told == ["ask 1 after 0", "row 2", "ask 0 after 1", "row 3"]
    assert outcome.rank_E.tolist() == [1, 1]
    assert outcome.list_EK[:, :4].tolist() == [[0, 1, 2, -1], [2, -1, -1, -1]]


def test_the_history_leads_nowhere_to_what_comes_after() -> None:
    log = log_of([("u", "A"), ("u", "B"), ("v", "A"), ("u", "C")], "ABC")
    past = log.head(2)
    assert (len(past), len(past.events), len(past.items)) == (2, 2, 3)
    for column in (past.user_E, past.item_E, past.value_E, past.at_ms_E, past.wanted_E):
        assert column.base is None  # a view would have the whole log behind it


def test_a_list_of_what_the_user_touched_stops_the_run() -> None:
    log = log_of([("u", "A"), ("u", "B")], "AB")
    with pytest.raises(PeekError, match=r"diary, event 1.*item 0"):
        run(Diary(obey=False), log, Split(1, 1))


def test_ties_in_time_keep_the_order_of_the_file() -> None:
    events = [
        touch("u", "C", 5),
        touch("u", "A", 5),
        touch("u", "B", 4),
        touch("v", "B", 5),
    ]
    log = of_records("ties", events, [])
    assert [event.item_id for event in log.events] == ["B", "C", "A", "B"]
    assert [log.items[n].item_id for n in log.item_E] == ["B", "C", "A", "B"]


@pytest.mark.parametrize(
    ("history", "stream", "limit", "expected"),
    [
        pytest.param(0.8, 0, 0, Split(8, 2), id="a-share"),
        pytest.param(6, 3, 0, Split(6, 3), id="counts"),
        pytest.param(0.5, 0, 3, Split(5, 3), id="a-limit"),
    ],
)
def test_a_split_is_by_count_or_by_share(
    history: float, stream: float, limit: int, expected: Split
) -> None:
    log = log_of([("u", str(n)) for n in range(10)])
    assert Split.of(log, history=history, stream=stream, limit=limit) == expected


def test_a_split_that_leaves_nothing_is_refused() -> None:
    log = log_of([("u", "A"), ("u", "B")])
    with pytest.raises(ValueError, match="leave something on both sides"):
        Split.of(log, history=2)


def test_stale_state_hears_of_an_event_when_it_is_old() -> None:
    log = log_of([("u", "A"), ("u", "B"), ("u", "C"), ("u", "D"), ("u", "E")], "ABCDE")
    diary = Diary()
    outcome = run(Stale(diary, 2 * MINUTE_MS, "2min"), log, Split(1, 4))
    assert outcome.name == "diary@2min"
    # A touch a minute: each is heard of two lists later; what was touched is left out at once.
    assert [t for t in diary.told if "row" in t] == ["row 1", "row 2"]
    assert outcome.list_EK[:, 0].tolist() == [1, 2, 3, 4]


def test_slices_know_what_was_true_before_the_event() -> None:
    touches = [("u", "A")] * 3 + [
        ("u", "B"),
        ("u", "C"),
        ("u", "D"),
        ("v", "A"),
        ("v", "E"),
    ]
    log = log_of(touches, "ABCDE")
    stream = stream_of(log, Split(4, 4), np.eye(5))
    assert stream.before_E.tolist() == [4, 5, 0, 1]
    assert stream.gap_ms_E.tolist() == [MINUTE_MS, MINUTE_MS, -1, MINUTE_MS]
    parts = {name: mask.tolist() for name, mask in slices(stream).items()}
    assert parts["first 5 events"] == [True, False, True, True]
    assert parts["first 5, new users"] == [False, False, True, True]
    assert parts["users with >= 5"] == [False, True, False, False]
    assert parts["cold items"] == [True] * 4
    assert by_gap(stream)["first"].tolist() == [False, False, True, False]
    assert by_gap(stream)["1-5 min"].tolist() == [True, True, False, True]
    assert by_length(stream)["5-19"].tolist() == [False, True, False, False]
    assert stream.profile_EG[3].tolist() == [1, 0, 0, 0, 0]


def test_what_was_touched_before_or_not_wanted_is_no_target() -> None:
    events = [touch("u", "A", 1), touch("u", "A", 2), touch("u", "B", 3, kind="hide")]
    stream = stream_of(of_records("t", events, []), Split(1, 2), np.eye(2))
    assert stream.target_E.tolist() == [False, False]


def test_a_log_is_read_from_the_records_that_rec_produce_takes(tmp_path: Path) -> None:
    events, items = tmp_path / "events.jsonl", tmp_path / "items.jsonl"
    lines = [encode(touch("u", "b", 2), "json"), encode(touch("u", "a", 1), "json")]
    lines.append(b'{"type":"visit","event_id":"x","user_id":"u","at_ms":3}')
    events.write_bytes(b"\n".join(lines) + b"\n")
    items.write_text(
        '{"type":"item","item_id":"b","title":"Bee","categories":["insects"]}\n'
    )
    log = read_jsonl(events, items)
    assert [item.item_id for item in log.items] == ["b", "a"]
    assert log.item_E.tolist() == [1, 0]
    assert log.genres()[0] == ("insects",)


def test_a_bad_line_is_named(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    file.write_text('\n{"type":"interaction","event_id":"e"}\n')
    with pytest.raises(CommandError, match=r"events\.jsonl, line 2: .*user_id"):
        read_jsonl(file)


def test_an_outcome_is_kept_whole(tmp_path: Path) -> None:
    recommender: Recommender = Diary()
    log = log_of([("u", "A"), ("u", "B"), ("v", "A")], "AB")
    outcome = run(recommender, log, Split(1, 2))
    outcome.save(tmp_path / "a" / "diary.npz")
    again = Outcome.load(tmp_path / "a" / "diary.npz")
    assert again.name == "diary"
    assert again.list_EK.tolist() == outcome.list_EK.tolist()
    assert [file.name for file in (tmp_path / "a").iterdir()] == ["diary.npz"]
