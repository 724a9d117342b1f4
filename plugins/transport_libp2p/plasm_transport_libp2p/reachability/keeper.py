"""Keeping a node within reach: finds out whether others reach it, and has relays bring them where they do not."""

from __future__ import annotations

import logging
import random

import attrs
import trio

from plasm_core.errors import PlasmError
from plasm_core.records.peer import PeerId
from plasm_core.records.reachability import AddressReach, Reachability, Verdict
from plasm_transport_libp2p.addresses import is_public, is_relayed, parse
from plasm_transport_libp2p.kademlia.directory import KademliaDirectory
from plasm_transport_libp2p.network import Libp2pNetwork
from plasm_transport_libp2p.reachability.dialback import DialBack
from plasm_transport_libp2p.reachability.mapping import Mapper
from plasm_transport_libp2p.reachability.message import Port
from plasm_transport_libp2p.reachability.prober import listened_ports, probe
from plasm_transport_libp2p.relay.circuit import Circuits, reserve
from plasm_transport_libp2p.relay.limits import RelayLimits
from plasm_transport_libp2p.relay.service import Relay

log = logging.getLogger(__name__)

RELAY_CLASS = "service/circuit-v2"
"""The class under which relays are found."""
RELAYS = 2
"""How many a node that nobody reaches has a place at."""
_ADDRESSES_PER_RELAY = 2
_RENEW_S = 45.0
_LOOK_S = 1.0
_SEARCH_S = 10.0
_AGAIN_S = (2.0, 60.0)
_CANDIDATES = 8
_MOST_EVIDENCE = 8


@attrs.frozen(kw_only=True)
class _Held:
    """A reservation."""

    addresses: tuple[str, ...]
    renew_at: float


def remember(before: AddressReach | None, now: AddressReach) -> AddressReach:
    """Return what is known of an address after another round, which may prove nothing: there are few strangers.

    What was proved before holds until something speaks against it.
    """
    if before is None or now.verdict is not Verdict.UNKNOWN or before.verdict is Verdict.UNKNOWN:
        return now
    evidence = tuple(dict.fromkeys([*before.evidence, *now.evidence]))[:_MOST_EVIDENCE]
    return attrs.evolve(now, verdict=before.verdict, evidence=evidence)


class Keeper:
    """One node's care for being reached. `limits`: relay for others, within these; None for not at all.

    `local`: tell private addresses too, as in a laboratory or on a network that is one's own. `map_ports`: have
    the router forward ports. `steady_s`: how often a verdict is looked at again.
    """

    def __init__(
        self,
        network: Libp2pNetwork,
        directory: KademliaDirectory,
        circuits: Circuits,
        *,
        limits: RelayLimits | None,
        local: bool,
        map_ports: bool,
        steady_s: float = 300.0,
    ) -> None:
        self._network = network
        self._directory = directory
        self._circuits = circuits
        self._local = local
        self._relay = Relay(network, limits) if limits is not None else None
        self._addresses: tuple[AddressReach, ...] = ()
        self._held: dict[PeerId, _Held] = {}
        self._listening = network.addresses
        self._announced: tuple[str, ...] = network.addresses
        self._news = trio.Event()
        self._steady_s = steady_s
        self._mapper = Mapper(self._ports_behind_router, self._look_again) if map_ports else None

    def _look_again(self) -> None:
        self._news.set()

    def _ports_behind_router(self) -> list[Port]:
        """Return the ports of addresses that a router could forward to."""
        return [
            port
            for port, address in listened_ports(self._network)
            if address is not None and address.is_private and not address.is_loopback and address.version == 4
        ]

    def reachability(self) -> Reachability:
        """Return what is known."""
        return Reachability(
            addresses=self._addresses,
            mappings=tuple(map(str, self._mapper.mappings)) if self._mapper else (),
            relays=tuple(str(peer) for peer in self._held),
        )

    async def run(self) -> None:
        """Take care until cancelled."""
        self._directory.reach = self.reachability
        DialBack(self._network).serve()
        self._circuits.serve()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keep_judging)
            nursery.start_soon(self._keep_relays)
            nursery.start_soon(self._watch)
            if self._mapper is not None:
                nursery.start_soon(self._mapper.run)

    async def _watch(self) -> None:
        """See when this machine's addresses change."""
        while True:
            await trio.sleep(_LOOK_S)
            listening = self._network.addresses
            if listening != self._listening:
                log.info("addresses changed addresses=%s", " ".join(listening))
                self._listening = listening
                self._addresses = ()
                self._announce()
                self._news.set()

    async def _keep_judging(self) -> None:
        shortest_s, longest_s = _AGAIN_S
        again_s = shortest_s
        while True:
            self._news = trio.Event()
            asked = await self._judge()
            if asked and self.reachability().verdict is not Verdict.UNKNOWN:
                again_s, pause_s = shortest_s, self._steady_s * random.uniform(0.8, 1.2)
            else:
                # Alone is soon told; who was asked is not asked again at once.
                again_s = min(2 * again_s, longest_s) if asked else shortest_s
                pause_s = again_s
            with trio.move_on_after(pause_s):
                await self._news.wait()

    async def _judge(self) -> bool:
        """Have this node dialled. Return whether anyone could be asked."""
        mapped = [
            (item.carrier, item.external_port) for item in (self._mapper.mappings if self._mapper else ())
        ]
        ports = mapped + [port for port, _ in listened_ports(self._network)]
        result = await probe(self._network, ports, mapped) if ports else None
        if result is None or not result.asked:
            return False
        known = {item.address: item for item in self._addresses}
        before = {address: item.verdict for address, item in known.items()}
        self._addresses = tuple(remember(known.get(item.address), item) for item in result.addresses)
        after = {item.address: item.verdict for item in self._addresses}
        if after != before:
            told = " ".join(f"{address}:{verdict.value}" for address, verdict in after.items())
            log.info("reachability verdict=%s addresses=%s", self.reachability().verdict.value, told)
        self._announce()
        if self._mapper is not None and mapped and self.reachability().verdict is not Verdict.PUBLIC:
            self._mapper.check()
        return True

    def _announce(self) -> None:
        """Tell the directory where this node is reached, if that has changed."""
        straight = [item.address for item in self._addresses if item.verdict is Verdict.PUBLIC]
        verdict = self.reachability().verdict
        if verdict is Verdict.UNKNOWN or self._local:
            straight += [str(parse(address)[0]) for address in self._network.addresses]
        through = [address for held in self._held.values() for address in held.addresses]
        own = self._network.peer_id
        addresses = tuple(f"{address}/p2p/{own}" for address in dict.fromkeys([*straight, *through]))
        if addresses != self._announced:
            self._announced = addresses
            self._directory.announce(addresses)
        if self._relay is not None:
            self._offer_relaying(self._relay, verdict)

    def _offer_relaying(self, relay: Relay, verdict: Verdict) -> None:
        if verdict is Verdict.PRIVATE:
            relay.cease()
            self._directory.offer(())
        else:
            relay.serve()
            self._directory.offer([RELAY_CLASS])

    async def _keep_relays(self) -> None:
        shortest_s, longest_s = _AGAIN_S
        search_at, again_s = 0.0, shortest_s
        while True:
            await trio.sleep(_LOOK_S)
            verdict = self.reachability().verdict
            # No verdict, but witnesses: a router lets in at least those who were spoken to.
            if verdict is Verdict.PUBLIC or not self._addresses:
                self._release()
                continue
            self._drop_lost()
            await self._renew()
            now = trio.current_time()
            if len(self._held) < RELAYS and now >= search_at:
                found = await self._search()
                again_s = shortest_s if found else min(2 * again_s, longest_s)
                search_at = trio.current_time() + again_s

    def _release(self) -> None:
        if self._held:
            self._held.clear()
            self._circuits.relays.clear()
            self._announce()

    def _drop_lost(self) -> None:
        for peer in [peer for peer in self._held if not self._network.is_connected_straight(peer)]:
            self._lose(peer, "the connection broke")

    def _lose(self, peer: PeerId, reason: str) -> None:
        log.info("relay lost peer=%s reason=%s", peer, reason)
        del self._held[peer]
        self._circuits.relays.discard(peer)
        self._announce()

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
        self._held[peer] = _Held(addresses=circuits, renew_at=trio.current_time() + _RENEW_S)
        self._circuits.relays.add(peer)
        log.info("relay reserved peer=%s", peer)
        self._announce()
        return True

    def _serves(self, address: str) -> bool:
        where, _ = parse(address)
        return where is not None and not is_relayed(where) and (self._local or is_public(where))
