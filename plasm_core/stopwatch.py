"""Times a run: a moment by the wall clock, and how long it took by a clock that nobody sets."""

from __future__ import annotations

import time
from datetime import datetime, timedelta, timezone

import attrs


@attrs.frozen
class Stopwatch:
    """Started when it is made. What it says of one run agrees with itself, however the wall clock is set."""

    started_at: datetime = attrs.field(factory=lambda: datetime.now(timezone.utc), init=False)
    _started_s: float = attrs.field(factory=lambda: time.monotonic(), init=False)

    def read(self) -> tuple[datetime, float]:
        """Return the moment of the end, which is the start and the span since, and that span in seconds."""
        span = timedelta(seconds=time.monotonic() - self._started_s)
        return self.started_at + span, span.total_seconds()
