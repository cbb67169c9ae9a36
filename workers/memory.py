"""Doors without an outside, for tests, evaluation and small tools."""

from collections.abc import Sequence

from workers.points import ahead, behind, newest
from workers.ports import Progress, StoredUser


class MemoryUserStore:
    """Users and progress in two dicts, under the same rule as the real stores."""

    def __init__(self) -> None:
        self.users: dict[str, StoredUser] = {}
        self.points: dict[int, Progress] = {}

    def load(self, point_ids: Sequence[str]) -> dict[str, StoredUser]:
        """The users that are there."""
        return {name: self.users[name] for name in point_ids if name in self.users}

    def save(self, users: Sequence[StoredUser]) -> int:
        """Write those that are absent or stored with a lower offset; how many are behind."""
        refused = 0
        for user in newest(users):
            stored = self.users.get(user.point_id)
            if stored is None or ahead(user, stored.applied):
                self.users[user.point_id] = user
            elif behind(user, stored.applied):
                refused += 1
        return refused

    def progress(self, partitions: Sequence[int]) -> dict[int, Progress]:
        """Progress points of these partitions, where there are any."""
        return {
            number: self.points[number] for number in partitions if number in self.points
        }

    def advance(self, progress: Sequence[Progress]) -> None:
        """Write progress points."""
        self.points |= {point.partition: point for point in progress}

    def close(self) -> None:
        """Nothing to let go."""
