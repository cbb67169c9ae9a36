"""One reader of many small topics: what is not its main business goes where it belongs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from workers.ports import Record, Table


@dataclass(frozen=True, slots=True, eq=False)
class RoutedTable:
    """A Table whose records of the topics in `routes` are handed over there, in order, and
    not returned."""

    table: Table
    routes: Mapping[str, Callable[[Record], None]]

    def refresh(self, *, limit: int, timeout_s: float) -> list[Record]:
        """As Table promises, of the other topics."""
        rest = []
        for record in self.table.refresh(limit=limit, timeout_s=timeout_s):
            if (route := self.routes.get(record.topic)) is not None:
                route(record)
            else:
                rest.append(record)
        return rest

    def behind(self) -> int:
        """As Table promises, of all topics."""
        return self.table.behind()
