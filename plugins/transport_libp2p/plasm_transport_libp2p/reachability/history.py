"""What happened of late to a node's being reached, in words: for the log, and for `plasm doctor`."""

from __future__ import annotations

import logging
from collections import deque
from datetime import datetime, timezone

from plasm_core.records.reachability import Change

log = logging.getLogger(__name__)

MOST = 12


class History:
    """The latest changes. One that repeats itself takes the place of the one before, so that it hides no other."""

    def __init__(self) -> None:
        self._changes: deque[Change] = deque(maxlen=MOST)

    @property
    def changes(self) -> tuple[Change, ...]:
        """The latest first."""
        return tuple(self._changes)

    def note(self, what: str) -> None:
        """Take note of something that has just happened."""
        log.info("reachability change=%r", what)
        known = next((change for change in self._changes if change.what == what), None)
        if known is not None:
            self._changes.remove(known)
        self._changes.appendleft(Change(at=datetime.now(timezone.utc), what=what))
