"""A token bucket for what costs its sender nothing, such as heartbeats, pings and resets."""

from __future__ import annotations

import time
from collections.abc import Callable


class Budget:
    """Starts full, refills with time, and grows by what is earned, never beyond `capacity`."""

    def __init__(self, *, capacity: float, per_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._capacity = capacity
        self._per_s = per_s
        self._clock = clock
        self._left = capacity
        self._filled_at = clock()

    @property
    def left(self) -> float:
        """How much may be spent now."""
        self._refill()
        return self._left

    def spend(self, cost: float = 1.0) -> bool:
        """Take `cost` out. Returns False, and takes nothing, if that much is not there."""
        if self._left < cost:
            self._refill()  # the clock is read only when it matters: most senders never come near the end
            if self._left < cost:
                return False
        self._left -= cost
        return True

    def earn(self, amount: float) -> None:
        """Put something back for useful work."""
        self._left = min(self._capacity, self._left + amount)

    def _refill(self) -> None:
        now = self._clock()
        self._left = min(self._capacity, self._left + (now - self._filled_at) * self._per_s)
        self._filled_at = now
