"""Addresses at which peers were last reported or reached."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from multiaddr import Multiaddr

from plasm_core.records.peer import PeerId

MAX_ADDRESSES = 8
"""Of one peer: as many as one dial tries."""
_MAX_PEERS = 4096


class AddressBook:
    """Maps a peer to its addresses. It keeps the 4,096 peers whose entries were written last."""

    def __init__(self) -> None:
        self._addresses: OrderedDict[PeerId, tuple[Multiaddr, ...]] = OrderedDict()

    def learn(self, peer: PeerId, addresses: Iterable[Multiaddr]) -> None:
        """Replace a peer's addresses by the first eight of these; without any, keep the old ones."""
        kept = tuple(dict.fromkeys(addresses))[:MAX_ADDRESSES]
        if kept:
            self._addresses[peer] = kept
            self._addresses.move_to_end(peer)
            while len(self._addresses) > _MAX_PEERS:
                self._addresses.popitem(last=False)

    def addresses(self, peer: PeerId) -> tuple[Multiaddr, ...]:
        """Return the addresses of a peer, an empty tuple if the peer is not known."""
        return self._addresses.get(peer, ())
