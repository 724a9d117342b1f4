"""The reservations that a node behind a NAT keeps at relays."""

from __future__ import annotations

import logging
from collections.abc import Callable

import attrs
import trio

from plasm_core.errors import PlasmError
from plasm_core.plugins.interfaces import Directory
from plasm_core.records.peer import PeerId
from plasm_transport_libp2p.addresses import is_public, is_relayed, parse
from plasm_transport_libp2p.circuit_relay.circuit import CircuitTransport, reserve
from plasm_transport_libp2p.interfaces import PeerNetwork

log = logging.getLogger(__name__)

RELAY_CLASS = "service/circuit-v2"
"""The capability class under which relays list themselves."""
RELAYS = 2
"""How many relays a node that is not reachable has reservations at."""
_ADDRESSES_PER_RELAY = 2
_RENEW_S = 45.0
_SEARCH_S = 10.0
_AGAIN_S = (2.0, 60.0)
_CANDIDATES = 8


@attrs.frozen(kw_only=True)
class _RelayReservation:
    addresses: tuple[str, ...]
    renew_at: float


class ReservationStore:
    """Finds relays through the directory, renews their reservations, and replaces lost ones.

    `local`: use relays at private addresses, too. `changed` is called when the set of relays changes. `note` is
    called with a sentence on each change.
    """

    def __init__(
        self,
        network: PeerNetwork,
        directory: Directory,
        circuits: CircuitTransport,
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
        self._held: dict[PeerId, _RelayReservation] = {}
        self._search_at, self._again_s = 0.0, _AGAIN_S[0]

    @property
    def relays(self) -> tuple[PeerId, ...]:
        """The relays with a reservation of this node."""
        return tuple(self._held)

    @property
    def addresses(self) -> list[str]:
        """The relayed addresses of this node, without its `/p2p/` part."""
        return [address for held in self._held.values() for address in held.addresses]

    def release(self) -> None:
        """Give up all reservations: this node is reachable directly."""
        if self._held:
            self._held.clear()
            self._circuits.relays.clear()
            self._note("gave up its relays")
            self._changed()

    async def look_after(self, *, search: bool) -> None:
        """Drop reservations whose connection is lost, renew the others and, with `search`, look for relays if too few are left."""
        for peer in [peer for peer in self._held if not self._network.is_connected_directly(peer)]:
            self._lose(peer, "the connection broke")
        await self._renew()
        if search and len(self._held) < RELAYS and trio.current_time() >= self._search_at:
            shortest_s, longest_s = _AGAIN_S
            found = await self._search()
            self._again_s = shortest_s if found else min(2 * self._again_s, longest_s)
            self._search_at = trio.current_time() + self._again_s

    def search_soon(self) -> None:
        """Search for relays at the next call instead of after the back-off: the network has changed."""
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
        """Look for relays and reserve, until there are enough. Return whether one was added."""
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
        self._held[peer] = _RelayReservation(addresses=circuits, renew_at=trio.current_time() + _RENEW_S)
        self._circuits.relays.add(peer)
        log.info("relay reserved peer=%s", peer)
        self._note(f"uses the relay {peer}")
        self._changed()
        return True

    def _serves(self, address: str) -> bool:
        where, _ = parse(address)
        return where is not None and not is_relayed(where) and (self._local or is_public(where))
