"""This node's public addresses as three neighbours observe them (identify's `observedAddr`).

The same neighbours are asked over connections that stay open. An open TCP connection proves that the address has not
changed; a broken one, or a QUIC connection on which another address is observed, tells a node behind a NAT that it
has changed. From time to time another neighbour is chosen, so that the bootstrap nodes are not asked by all nodes.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Collection

import attrs
import trio

from plasm_core.address_classes import IPAddress
from plasm_core.errors import PlasmError
from plasm_core.randomness import RANDOM
from plasm_core.records.peer import PeerId
from plasm_transport_libp2p.addresses import ip_of, is_public
from plasm_transport_libp2p.identify import identify
from plasm_transport_libp2p.interfaces import PeerNetwork

log = logging.getLogger(__name__)

OBSERVERS = 3
_ASK_S = 8.0
_KEPT_FOR = 20
"""How many times, on average, a neighbour is asked before another replaces it."""


@attrs.frozen(kw_only=True)
class ObservedAddresses:
    """The public IP address of each version, 4 or 6, that a strict majority of observers report.

    `asked` and `answered` count the neighbours.
    """

    addresses: dict[int, IPAddress]
    asked: int
    answered: int


class AddressObservers:
    """The neighbours that are asked. `neighbours` returns the candidates, the preferred first."""

    def __init__(self, network: PeerNetwork, neighbours: Callable[[], Collection[PeerId]]) -> None:
        self._network = network
        self._neighbours = neighbours
        self._kept: set[PeerId] = set()

    def is_one_lost(self) -> bool:
        """Return whether the connection to an observer that answered last time is closed."""
        return any(not self._network.is_connected_directly(peer) for peer in self._kept)

    async def look(self) -> ObservedAddresses:
        """Ask the observers, for eight seconds at most. Their failures do not raise."""
        chosen = self._choose()
        seen: dict[PeerId, IPAddress | None] = {}

        async def ask(peer: PeerId) -> None:
            try:
                observed = (await identify.ask(self._network, peer)).observed
            except PlasmError as exc:
                log.debug("observer does not answer peer=%s reason=%s", peer, exc)
                return
            if self._network.is_connected_directly(peer):
                public = observed is not None and is_public(observed)
                seen[peer] = ip_of(observed) if public and observed is not None else None

        with trio.move_on_after(_ASK_S):
            async with trio.open_nursery() as nursery:
                for peer in chosen:
                    nursery.start_soon(ask, peer)
        self._kept = set(seen)
        return ObservedAddresses(
            addresses=majority_addresses(seen.values()), asked=len(chosen), answered=len(seen)
        )

    def _choose(self) -> list[PeerId]:
        """Return up to three candidates: those that answered before, each with a chance of 1 in 20 of being replaced."""
        others = self._neighbours()
        kept = [peer for peer in self._kept if len(others) <= OBSERVERS or RANDOM.randrange(_KEPT_FOR)]
        return list(dict.fromkeys([*kept, *others]))[:OBSERVERS]


def majority_addresses(seen: Collection[IPAddress | None]) -> dict[int, IPAddress]:
    """Return the address reported by a strict majority, per IP version."""
    found = {}
    for version in (4, 6):
        counted = Counter(ip for ip in seen if ip is not None and ip.version == version)
        for ip, count in counted.most_common(1):
            if 2 * count > counted.total():
                found[version] = ip
    return found
