"""An outside consumer's account of events and lists."""

import math

import pytest

from workers.ledger import Ledger, Pace, percentile


def ledger_with(*event_ids: str) -> Ledger:
    ledger = Ledger()
    for at, event_id in enumerate(event_ids):
        ledger.sent(event_id, at_s=float(at), phase="bulk")
    return ledger


def test_an_event_that_no_list_names_is_lost():
    ledger = ledger_with("a", "b", "c")
    ledger.listed(["a", "c"], at_s=5.0)
    assert ledger.lost() == ["b"]
    assert ledger.open == 1


def test_an_event_that_two_lists_name_is_doubled_and_counted_once_in_the_waits():
    ledger = ledger_with("a")
    ledger.listed(["a"], at_s=1.0)
    ledger.listed(["a"], at_s=9.0)
    assert ledger.doubled() == ["a"]
    assert ledger.waited_s == {"bulk": [1.0]}
    assert ledger.open == 0


def test_several_events_in_one_list_are_all_answered():
    ledger = ledger_with("a", "b")
    ledger.listed(["a", "b"], at_s=3.0)
    assert (ledger.lists, ledger.lost(), ledger.doubled()) == (1, [], [])
    assert ledger.waited_s["bulk"] == [3.0, 2.0]


def test_names_that_others_sent_are_neither_lost_nor_doubled():
    ledger = ledger_with("a")
    ledger.listed(["a", "a#m0", "stranger"], at_s=1.0)
    ledger.listed(["stranger"], at_s=1.0)
    assert (ledger.lost(), ledger.doubled(), ledger.lists) == ([], [], 2)


def test_waits_are_kept_by_phase():
    ledger = Ledger()
    ledger.sent("a", at_s=0.0, phase="bulk")
    ledger.sent("b", at_s=0.0, phase="steady")
    ledger.listed(["a", "b"], at_s=0.25)
    assert ledger.waited_s == {"bulk": [0.25], "steady": [0.25]}


def test_an_event_id_names_one_event():
    with pytest.raises(ValueError, match="was sent before"):
        ledger_with("a", "a")


@pytest.mark.parametrize(
    ("percent", "expected"),
    [
        pytest.param(0, 1.0, id="least"),
        pytest.param(50, 50.0, id="median"),
        pytest.param(99, 99.0, id="tail"),
        pytest.param(100, 100.0, id="worst"),
    ],
)
def test_a_percentile_is_a_value_that_was_measured(percent, expected):
    assert percentile([float(v) for v in range(100, 0, -1)], percent) == expected


def test_nothing_measured_has_no_percentile():
    assert math.isnan(percentile([], 50))


def test_at_a_steady_rate_each_event_is_due_in_its_time():
    pace = Pace(per_s=200.0, began_s=10.0)
    assert [pace.due(at) for at in (9.9, 10.0, 10.004, 10.006, 11.0)] == [0, 1, 1, 2, 201]
    assert pace.due_at_s(0) == 10.0
    assert pace.due_at_s(200) == 11.0
