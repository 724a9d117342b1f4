"""Where others see this node: a few neighbours are asked, mostly the same, over connections that are kept.

A connection over TCP that lives proves that the address behind it is still there. One that breaks, or one over
QUIC on which another address is seen, is how a node behind a router learns that its address has changed.
Which neighbours they are changes now and then, so that not all cling to those that everyone knows first.
"""

from __future__ import annotations

import logging
import random
from collections import Counter
from collections.abc import Callable, Collection

import attrs
import trio

from plasm_core.errors import PlasmError
from plasm_core.records.peer import PeerId
from plasm_transport_libp2p import identify
from plasm_transport_libp2p.address_classes import IPAddress
from plasm_transport_libp2p.addresses import ip_of, is_public
from plasm_transport_libp2p.network import Libp2pNetwork

log = logging.getLogger(__name__)

WITNESSES = 3
_ASK_S = 8.0
_KEPT_FOR = 20
"""How many times, on average, one is asked before another takes its place."""


@attrs.frozen(kw_only=True)
class Sighting:
    """Where this node is seen: the public IP address of each version that most witnesses name.

    `asked` and `answered` count the neighbours.
    """

    addresses: dict[int, IPAddress]
    asked: int
    answered: int


class Witnesses:
    """The neighbours that are asked. `neighbours` returns those to choose from, the best first."""

    def __init__(self, network: Libp2pNetwork, neighbours: Callable[[], Collection[PeerId]]) -> None:
        self._network = network
        self._neighbours = neighbours
        self._kept: set[PeerId] = set()

    def is_one_lost(self) -> bool:
        """Return whether the connection to one that answered the last time is gone."""
        return any(not self._network.is_connected_straight(peer) for peer in self._kept)

    async def look(self) -> Sighting:
        """Ask. None of the witnesses' failures raises."""
        chosen = self._choose()
        seen: dict[PeerId, IPAddress | None] = {}

        async def ask(peer: PeerId) -> None:
            try:
                observed = (await identify.ask(self._network, peer)).observed
            except PlasmError as exc:
                log.debug("witness does not answer peer=%s reason=%s", peer, exc)
                return
            if self._network.is_connected_straight(peer):
                public = observed is not None and is_public(observed)
                seen[peer] = ip_of(observed) if public and observed is not None else None

        with trio.move_on_after(_ASK_S):
            async with trio.open_nursery() as nursery:
                for peer in chosen:
                    nursery.start_soon(ask, peer)
        self._kept = set(seen)
        return Sighting(addresses=agreed(seen.values()), asked=len(chosen), answered=len(seen))

    def _choose(self) -> list[PeerId]:
        """Return those that answered before, most of the time, then others."""
        others = self._neighbours()
        kept = [peer for peer in self._kept if len(others) <= WITNESSES or random.randrange(_KEPT_FOR)]
        return list(dict.fromkeys([*kept, *others]))[:WITNESSES]


def agreed(seen: Collection[IPAddress | None]) -> dict[int, IPAddress]:
    """Return the address of each version that more than half of those name who name one of this version."""
    found = {}
    for version in (4, 6):
        counted = Counter(ip for ip in seen if ip is not None and ip.version == version)
        for ip, count in counted.most_common(1):
            if 2 * count > counted.total():
                found[version] = ip
    return found
