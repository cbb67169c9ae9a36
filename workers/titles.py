"""Titles of items, for people: read from the items topic, followed as it grows."""

import time
from typing import Protocol

from schemas import DecodeError, Item, decode
from workers.config import Config, topic
from workers.ports import Record, Table, TransientError

LIMIT_S = 30.0


class Closing(Table, Protocol):
    """A table that can be closed."""

    def close(self) -> None: ...


class Titles:
    """Item ids to titles. An item without one, or not known, is shown by its id."""

    def __init__(self, table: Closing) -> None:
        self._table = table
        self._title: dict[str, str] = {}

    def catch_up(self, *, limit_s: float = LIMIT_S) -> "Titles":
        """Reads up to the end that the topic had when it was opened."""
        deadline = time.monotonic() + limit_s
        while self._table.behind():
            if time.monotonic() > deadline:
                raise TransientError(f"the items were not read in {limit_s:g} s")
            self._learn(self._table.refresh(limit=1000, timeout_s=0.1))
        return self

    def follow(self) -> None:
        """Takes in what has come since, without waiting."""
        while records := self._table.refresh(limit=1000, timeout_s=0.0):
            self._learn(records)

    def close(self) -> None:
        self._table.close()

    def of(self, item_id: str) -> str:
        """The title alone, or the id."""
        return self._title.get(item_id) or item_id

    def both(self, item_id: str) -> str:
        """`Title (id)`, or the id."""
        title = self._title.get(item_id)
        return f"{title} ({item_id})" if title else item_id

    def _learn(self, records: list[Record]) -> None:
        for record in records:
            item_id = (record.key or b"").decode(errors="replace")
            if record.value is None:
                self._title.pop(item_id, None)
                continue
            try:
                item = decode("items", record.value, record.header("content-type"))
            except DecodeError:
                continue  # the workers set it aside and say so
            if isinstance(item, Item):
                self._title[item_id] = item.title


def titles(config: Config) -> Titles:
    """Those of this broker's items topic, read up to its end."""
    from workers.kafka import KafkaTable

    return Titles(
        KafkaTable(config.kafka, topics=[topic(config.kafka, "items")])
    ).catch_up()
