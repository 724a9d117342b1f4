"""How many of a client's jobs may be at one node at once: the window follows the node's answers."""

from __future__ import annotations

import attrs

_FIRST_JOBS = 2.0
_LONGEST_PAUSE_S = 60.0
_DOWN_S = 1.0


@attrs.define
class Window:
    """A window of jobs in flight, opened as TCP opens its own: slow start, then additive increase (RFC 5681).

    Until the first refusal each answer adds a job, after it a whole window of answers does. A refusal halves the
    window, and nothing is sent until the node's `retry_after_s` is over. `most`: the greatest window, in jobs.
    Moments are of the caller's clock, in seconds.
    """

    most: int
    limit: float = _FIRST_JOBS
    threshold: float = float("inf")
    in_flight: int = 0
    closed_until: float = float("-inf")
    failures: int = 0
    """How often in a row the node could not be reached or did not go on."""
    answers: int = 0
    busy_s: float = 0.0
    """The sum of the times from sending a job to its result."""

    def has_room(self, now: float) -> bool:
        """Return whether one more job may be sent."""
        return now >= self.closed_until and self.in_flight < int(min(self.limit, self.most))

    def answered(self, duration_s: float) -> None:
        """Note that a job ended with a result."""
        self.answers += 1
        self.failures = 0
        self.busy_s += duration_s
        if self.in_flight >= int(self.limit) - 1:  # an unused window is no evidence that a larger one works
            self.limit += 1.0 if self.limit < self.threshold else 1.0 / self.limit
        self.limit = min(self.limit, float(self.most))

    def refused(self, now: float, retry_after_s: float) -> None:
        """Note that the node takes no more jobs for now."""
        self.threshold = max(1.0, self.limit / 2)
        self.limit = self.threshold
        self.closed_until = max(self.closed_until, now + min(max(0.1, retry_after_s), _LONGEST_PAUSE_S))

    def failed(self, now: float) -> None:
        """Record that the node could not be reached or stalled: the pause before the next try grows each time."""
        self.failures += 1
        self.threshold = max(1.0, self.limit / 2)
        self.limit = 1.0
        pause_s = min(_DOWN_S * 2 ** min(self.failures - 1, 10), _LONGEST_PAUSE_S)
        self.closed_until = max(self.closed_until, now + pause_s)

    @property
    def latency_s(self) -> float:
        """The mean time from sending a job to its result, 0 before the first."""
        return self.busy_s / self.answers if self.answers else 0.0
