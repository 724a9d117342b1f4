"""News: wakes those who wait for anything newer than what they have seen."""

from __future__ import annotations

import trio


class News:
    """Counts what has happened, so that nothing told between a look and a wait is missed."""

    def __init__(self) -> None:
        self.count = 0
        self._waiting = trio.lowlevel.ParkingLot()

    @property
    def is_awaited(self) -> bool:
        """Whether anybody waits."""
        return bool(self._waiting)

    def tell(self) -> None:
        """Wake all who wait."""
        self.count += 1
        self._waiting.unpark_all()

    async def after(self, seen: int) -> int:
        """Wait until there is anything newer than `seen`, a count, and return the count there is then."""
        if self.count == seen:
            await self._waiting.park()
        return self.count
