"""A change event: wakes the tasks that wait for a change later than the last one they saw."""

from __future__ import annotations

import trio


class News:
    """An event that can occur many times: a counter of the occurrences, so that a waiting task misses none."""

    def __init__(self) -> None:
        self.count = 0
        self._waiting = trio.lowlevel.ParkingLot()

    @property
    def is_awaited(self) -> bool:
        """Whether any task waits."""
        return bool(self._waiting)

    def tell(self) -> None:
        """Count an occurrence, and wake all waiting tasks."""
        self.count += 1
        self._waiting.unpark_all()

    async def after(self, seen: int) -> int:
        """Wait until the count is greater than `seen`, and return it."""
        if self.count == seen:
            await self._waiting.park()
        return self.count
