"""Whom a node behind a router dials for others while it does not know whether it is reached itself.

Whoever it dials can prove nothing to it for a while, since many routers let in whoever was spoken to. So at first
it dials nobody. Where there are few nodes, and all wait like that, those whose names come first begin, and rarely.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from plasm_core.records.peer import PeerId

PATIENCE_S = 120.0
"""How long to wait for a verdict before beginning."""
BETWEEN_S = 1800.0
"""How rarely one peer is dialled: long enough for routers to forget, so that it can prove something in turn."""
_MOST_DIALLED = 1024


class Restraint:
    """One node's. `clock`: seconds of a clock that only goes forward."""

    def __init__(self, own: PeerId, clock: Callable[[], float]) -> None:
        self._own = own
        self._clock = clock
        self._waits_since = clock()
        self._dialled: OrderedDict[PeerId, float] = OrderedDict()

    def begin(self) -> None:
        """Wait anew: what was known is so no longer."""
        self._waits_since = self._clock()

    def allows(self, peer: PeerId) -> bool:
        """Return whether to dial a peer although there is no verdict, and take note of it if so."""
        now = self._clock()
        is_too_soon = (
            now - self._waits_since < PATIENCE_S or now - self._dialled.get(peer, -BETWEEN_S) < BETWEEN_S
        )
        if is_too_soon or str(self._own) >= str(peer):
            return False
        self._dialled[peer] = now
        while len(self._dialled) > _MOST_DIALLED:
            self._dialled.popitem(last=False)
        return True
