"""A change event: wakes the tasks that wait for a change later than the last one they saw."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import trio


class News:
    """An event that can occur many times: a counter of the occurrences, so that a waiting task misses none."""

    def __init__(self) -> None:
        self.count = 0
        self._waiting = trio.lowlevel.ParkingLot()
        self._next: News | None = None

    @property
    def is_awaited(self) -> bool:
        """Whether any task waits."""
        return bool(self._waiting)

    def tell(self) -> None:
        """Count an occurrence, and wake all waiting tasks."""
        self.count += 1
        self._waiting.unpark_all()
        if self._next is not None:
            self._next.tell()

    @contextmanager
    def passed_on(self, other: News) -> Iterator[None]:
        """Have each occurrence of this event be one of another event too, until the context ends."""
        self._next = other if other is not self else None
        try:
            yield
        finally:
            self._next = None

    async def after(self, seen: int) -> int:
        """Wait until the count is greater than `seen`, and return it."""
        if self.count == seen:
            await self._waiting.park()
        return self.count
