"""One deadline for all the waits that a call is made of."""

from __future__ import annotations

import math

import trio

from plasm_core.client.arguments import check_timeout


class Deadline:
    """The moment at which a call gives up, by trio's clock. Each of its waits gets the seconds that are left."""

    def __init__(self, timeout_s: float | None) -> None:
        """`timeout_s`: seconds from now; None for no limit. Raises: TypeError, ValueError."""
        check_timeout(timeout_s)
        self._at = math.inf if timeout_s is None else trio.current_time() + timeout_s

    @property
    def left_s(self) -> float | None:
        """The seconds that are left, None without a limit."""
        return None if self._at == math.inf else max(0.0, self._at - trio.current_time())

    def within_s(self, seconds: float) -> float:
        """Return the seconds that a wait may take which has a limit of its own."""
        left_s = self.left_s
        return seconds if left_s is None else min(seconds, left_s)
