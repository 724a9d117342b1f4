"""The latest changes of a node's reachability, as sentences for the log and for `plasm doctor`."""

from __future__ import annotations

import logging
from collections import deque
from datetime import datetime, timezone

from plasm_core.records.reachability import ReachabilityChange

log = logging.getLogger(__name__)

MAX_CHANGES = 12


class ReachabilityHistory:
    """The twelve latest changes. A repeated one replaces its earlier entry, so that it does not push out others."""

    def __init__(self) -> None:
        self._changes: deque[ReachabilityChange] = deque(maxlen=MAX_CHANGES)

    @property
    def changes(self) -> tuple[ReachabilityChange, ...]:
        """The latest first."""
        return tuple(self._changes)

    def note(self, what: str) -> None:
        """Record a change that has just happened, and log it."""
        log.info("reachability change=%r", what)
        known = next((change for change in self._changes if change.what == what), None)
        if known is not None:
            self._changes.remove(known)
        self._changes.appendleft(ReachabilityChange(at=datetime.now(timezone.utc), what=what))
