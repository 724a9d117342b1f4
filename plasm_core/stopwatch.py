"""Times a run: its start by the wall clock, its duration by the monotonic clock."""

from __future__ import annotations

import time
from datetime import datetime, timedelta, timezone

import attrs


@attrs.frozen
class Stopwatch:
    """Measures one run, from its creation on. Start, end and span are consistent even if the wall clock is changed."""

    started_at: datetime = attrs.field(factory=lambda: datetime.now(timezone.utc), init=False)
    _started_s: float = attrs.field(factory=lambda: time.monotonic(), init=False)

    def read(self) -> tuple[datetime, float]:
        """Return the time of the end, which is the start plus the span, and the span in seconds."""
        span = timedelta(seconds=time.monotonic() - self._started_s)
        return self.started_at + span, span.total_seconds()
