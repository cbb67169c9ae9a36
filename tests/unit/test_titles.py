"""Titles for people, from the items topic."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from schemas import Item, encode
from workers.ports import Record, TransientError
from workers.titles import Titles


class Listed:
    """A table that gives what it holds, one portion a call."""

    def __init__(self, *portions: Sequence[tuple[str, bytes | None]]) -> None:
        self.portions = list(portions)

    def refresh(self, *, limit: int, timeout_s: float) -> list[Record]:
        rows = self.portions.pop(0) if self.portions else []
        return [
            Record("items", 0, n, 0, key.encode(), v) for n, (key, v) in enumerate(rows)
        ]

    def behind(self) -> int:
        return len(self.portions)

    def close(self) -> None:
        self.portions.clear()


def titled(item_id: str, title: str) -> tuple[str, bytes]:
    return item_id, encode(Item(item_id=item_id, title=title))


def test_items_are_shown_by_their_titles_and_others_by_their_ids():
    known = Titles(Listed([titled("i1", "The General"), titled("i2", "")])).catch_up()
    assert (known.of("i1"), known.both("i1")) == ("The General", "The General (i1)")
    assert (known.of("i2"), known.both("i3")) == ("i2", "i3")


def test_a_new_title_counts_and_a_withdrawn_item_has_none():
    known = Titles(Listed([titled("i1", "Old")], [titled("i1", "New")], [("i1", None)]))
    known.catch_up(limit_s=5.0)
    assert known.of("i1") == "i1"
    follows = Titles(Listed([titled("i1", "Old")], [titled("i1", "New")]))
    follows.follow()
    assert follows.of("i1") == "New"


def test_what_can_not_be_read_is_passed_over():
    known = Titles(Listed([("i1", b"\xc1"), titled("i2", "Two")])).catch_up()
    assert (known.of("i1"), known.of("i2")) == ("i1", "Two")


def test_a_table_that_gives_nothing_is_not_waited_for_for_ever():
    class Silent(Listed):
        def behind(self) -> int:
            return 1

    with pytest.raises(TransientError, match="not read in 0"):
        Titles(Silent()).catch_up(limit_s=0.0)
