"""Which peers a node behind a NAT dials back while its own reachability is unknown.

Dialling a peer opens this node's NAT to that peer, whose dial-back then proves nothing for as long as the mapping
lasts. So the node dials no peer at first. If all nodes of a small network wait like that, a node dials peers whose
ids are greater than its own after two minutes, each once in half an hour.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from plasm_core.records.peer import PeerId

PATIENCE_S = 120.0
"""How long to wait for a verdict on this node before it dials."""
BETWEEN_S = 1800.0
"""Between two dials to one peer: longer than NATs keep mappings, so that the peer's dial-back counts again."""
_MOST_DIALLED = 1024


class DialBackPolicy:
    """Decides which peers this node may dial for their reachability while its own is unknown.

    `own`: this node's PeerId; `clock`: a monotonic clock, in seconds.
    """

    def __init__(self, own: PeerId, clock: Callable[[], float]) -> None:
        self._own = own
        self._clock = clock
        self._waits_since = clock()
        self._dialled: OrderedDict[PeerId, float] = OrderedDict()

    def begin(self) -> None:
        """Start the waiting time again: the verdict has become invalid."""
        self._waits_since = self._clock()

    def allows(self, peer: PeerId) -> bool:
        """Return whether to dial a peer although there is no verdict; if so, count the dial."""
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
