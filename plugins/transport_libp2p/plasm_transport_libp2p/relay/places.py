"""The places that a node keeps at relays while nobody reaches it straight."""

from __future__ import annotations

import logging
from collections.abc import Callable

import attrs
import trio

from plasm_core.errors import PlasmError
from plasm_core.records.peer import PeerId
from plasm_transport_libp2p.addresses import is_public, is_relayed, parse
from plasm_transport_libp2p.kademlia.directory import KademliaDirectory
from plasm_transport_libp2p.network import Libp2pNetwork
from plasm_transport_libp2p.relay.circuit import Circuits, reserve

log = logging.getLogger(__name__)

RELAY_CLASS = "service/circuit-v2"
"""The class under which relays are found."""
RELAYS = 2
"""How many a node that nobody reaches has a place at."""
_ADDRESSES_PER_RELAY = 2
_RENEW_S = 45.0
_SEARCH_S = 10.0
_AGAIN_S = (2.0, 60.0)
_CANDIDATES = 8


@attrs.frozen(kw_only=True)
class _Place:
    addresses: tuple[str, ...]
    renew_at: float


class Places:
    """Reservations: found through the directory, renewed, and replaced.

    `local`: use relays at private addresses too. `changed` is called when there are others. `note` is told in
    words what happened.
    """

    def __init__(
        self,
        network: Libp2pNetwork,
        directory: KademliaDirectory,
        circuits: Circuits,
        *,
        local: bool,
        changed: Callable[[], None],
        note: Callable[[str], None],
    ) -> None:
        self._network = network
        self._directory = directory
        self._circuits = circuits
        self._local = local
        self._changed = changed
        self._note = note
        self._held: dict[PeerId, _Place] = {}
        self._search_at, self._again_s = 0.0, _AGAIN_S[0]

    @property
    def relays(self) -> tuple[PeerId, ...]:
        """Those at which there is a place."""
        return tuple(self._held)

    @property
    def addresses(self) -> list[str]:
        """The addresses of circuits to this node, without its name."""
        return [address for held in self._held.values() for address in held.addresses]

    def release(self) -> None:
        """Give all up: this node is reached straight."""
        if self._held:
            self._held.clear()
            self._circuits.relays.clear()
            self._note("gave its relays up")
            self._changed()

    async def look_after(self, *, search: bool) -> None:
        """Drop the places that are lost, renew the others and, with `search`, look for more if there are too few."""
        for peer in [peer for peer in self._held if not self._network.is_connected_straight(peer)]:
            self._lose(peer, "the connection broke")
        await self._renew()
        if search and len(self._held) < RELAYS and trio.current_time() >= self._search_at:
            shortest_s, longest_s = _AGAIN_S
            found = await self._search()
            self._again_s = shortest_s if found else min(2 * self._again_s, longest_s)
            self._search_at = trio.current_time() + self._again_s

    def search_soon(self) -> None:
        """Forget that there were no relays: the network has changed."""
        self._search_at, self._again_s = 0.0, _AGAIN_S[0]

    def _lose(self, peer: PeerId, reason: str) -> None:
        log.info("relay lost peer=%s reason=%s", peer, reason)
        del self._held[peer]
        self._circuits.relays.discard(peer)
        left = ", ".join(map(str, self._held)) or "none"
        self._note(f"lost the relay {peer}: {reason}; relays left: {left}")
        self.search_soon()
        self._changed()

    async def _renew(self) -> None:
        for peer, held in list(self._held.items()):
            if trio.current_time() < held.renew_at:
                continue
            try:
                await reserve(self._network, peer, ())
            except (PlasmError, trio.TooSlowError) as exc:
                self._lose(peer, str(exc) or "no answer")
            else:
                self._held[peer] = attrs.evolve(held, renew_at=trio.current_time() + _RENEW_S)

    async def _search(self) -> bool:
        """Look for relays and reserve places, until there are enough. Return whether one was added."""
        added = False
        with trio.move_on_after(_SEARCH_S):
            async with self._directory.find(RELAY_CLASS, _CANDIDATES) as found:
                async for peer, addresses in found:
                    if peer not in self._held and await self._reserve(peer, addresses):
                        added = True
                    if len(self._held) >= RELAYS:
                        break
        return added

    async def _reserve(self, peer: PeerId, addresses: tuple[str, ...]) -> bool:
        straight = [address for address in addresses if self._serves(address)]
        if not straight:
            return False
        try:
            await reserve(
                self._network, peer, [where for where, _ in map(parse, straight) if where is not None]
            )
        except (PlasmError, trio.TooSlowError) as exc:
            log.info("relay not used peer=%s reason=%s", peer, exc)
            return False
        circuits = tuple(f"{address}/p2p-circuit" for address in straight[:_ADDRESSES_PER_RELAY])
        self._held[peer] = _Place(addresses=circuits, renew_at=trio.current_time() + _RENEW_S)
        self._circuits.relays.add(peer)
        log.info("relay reserved peer=%s", peer)
        self._note(f"uses the relay {peer}")
        self._changed()
        return True

    def _serves(self, address: str) -> bool:
        where, _ = parse(address)
        return where is not None and not is_relayed(where) and (self._local or is_public(where))
