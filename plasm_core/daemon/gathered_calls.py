"""Calls from threads into the event loop that may come a little late: many are made in one pass of the loop."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import trio

WITHIN_S = 0.02
GATHER_BYTES = 1 << 14
"""Output of a job is told of at once when so much has come."""
_ROUNDS = 50
"""How many rounds without a call pass before the task sleeps: waking the loop costs as much as some rounds."""


class GatheredCalls:
    """Functions to be called in the event loop within `WITHIN_S`, in their order, while `run` runs.

    A thread that has the loop make a call at once wakes it each time. A job of a few milliseconds has ended before
    its progress is worth telling.
    """

    def __init__(self, token: trio.lowlevel.TrioToken) -> None:
        self._token = token
        self._calls: deque[Callable[[], object]] = deque()
        self._is_awake = False
        self._asleep = trio.lowlevel.ParkingLot()

    def add(self, call: Callable[[], object]) -> None:
        """Have a function called soon. Thread-safe."""
        self._calls.append(call)
        if not self._is_awake:
            self._token.run_sync_soon(self._asleep.unpark_all, idempotent=True)

    def make(self) -> None:
        """Make all calls now: what follows in the loop must not be overtaken by them."""
        while self._calls:
            self._calls.popleft()()

    async def run(self) -> None:
        """Make calls until cancelled."""
        while True:
            # A thread that added a call before it could see this finds it made below.
            self._is_awake = False
            if not self._calls:
                await self._asleep.park()
            self._is_awake = True
            idle = 0
            while idle < _ROUNDS:
                await trio.sleep(WITHIN_S)
                idle = 0 if self._calls else idle + 1
                self.make()
