"""Keeps a node reachable: checks whether peers reach it, maps ports at the router, and reserves at relays."""

from __future__ import annotations

import logging
from collections.abc import Iterable

import attrs
import trio

from plasm_core.address_classes import IPAddress
from plasm_core.randomness import RANDOM
from plasm_core.records.peer import PeerId
from plasm_core.records.reachability import AddressReach, Reachability, ReachabilityVerdict
from plasm_transport_libp2p.addresses import Port, ip_of, is_public, parse
from plasm_transport_libp2p.autonat.dial_back import DialBackService
from plasm_transport_libp2p.autonat.dial_policy import DialBackPolicy
from plasm_transport_libp2p.autonat.inbound_proof import DialBackReceiver
from plasm_transport_libp2p.autonat.observed_addresses import AddressObservers, ObservedAddresses
from plasm_transport_libp2p.autonat.prober import listened_ports, probe
from plasm_transport_libp2p.circuit_relay.circuit import CircuitTransport
from plasm_transport_libp2p.circuit_relay.limits import RelayLimits
from plasm_transport_libp2p.circuit_relay.reservation_store import RELAY_CLASS, ReservationStore
from plasm_transport_libp2p.circuit_relay.service import RelayService
from plasm_transport_libp2p.kad.directory import KademliaDirectory
from plasm_transport_libp2p.nat.port_mapping import PortMapper
from plasm_transport_libp2p.network import Libp2pNetwork
from plasm_transport_libp2p.reachability.history import ReachabilityHistory

log = logging.getLogger(__name__)

OBSERVE_S = 30.0
"""How often observers are asked for this node's address. They are asked at once when a connection to one breaks."""
_LOOK_S = 1.0
_AGAIN_S = (2.0, 60.0)
_ALONE_AGAIN_S = (1.0, 10.0)
_MOST_EVIDENCE = 8
_SWITCHED_OFF = ("switched off by discovery.kademlia.map_ports",)


def keep_verdict(before: AddressReach | None, now: AddressReach) -> AddressReach:
    """Return the verdict on an address after another round, which may be unknown for lack of fresh hosts.

    An earlier verdict holds until a new round decides otherwise.
    """
    if (
        before is None
        or now.verdict is not ReachabilityVerdict.UNKNOWN
        or before.verdict is ReachabilityVerdict.UNKNOWN
    ):
        return now
    evidence = tuple(dict.fromkeys([*before.evidence, *now.evidence]))[:_MOST_EVIDENCE]
    return attrs.evolve(now, verdict=before.verdict, evidence=evidence)


class ReachabilityService:
    """The reachability of one node. `limits`: of the relay service that it offers; None for no service.

    `local`: announce private addresses, too. `map_ports`: ask the router for port mappings. `steady_s`: seconds
    between checks while the verdict is known.
    """

    def __init__(
        self,
        network: Libp2pNetwork,
        directory: KademliaDirectory,
        circuits: CircuitTransport,
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
        self._relay = RelayService(network, limits) if limits is not None else None
        self._history = ReachabilityHistory()
        self._dial_back_receiver = DialBackReceiver(network)
        self._dial_policy = DialBackPolicy(network.peer_id, trio.current_time)
        self._places = ReservationStore(
            network, directory, circuits, local=local, changed=self._announce, note=self._history.note
        )
        self._observers = AddressObservers(network, self._candidates)
        self._addresses: tuple[AddressReach, ...] = ()
        self._seen_at: dict[int, IPAddress] = {}
        self._alone_since: float | None = None
        self._witnessed = False
        self._confirmed_at = 0.0
        self._told: ReachabilityVerdict | None = None
        self._listening = network.addresses
        self._announced: tuple[str, ...] = network.addresses
        self._news = trio.Event()
        self._steady_s = steady_s
        self._mapper = PortMapper(self._ports_behind_router, self._mappings_changed) if map_ports else None

    def _candidates(self) -> list[PeerId]:
        """Return the peers that can observe this node's address: its relays, which are connected anyway, then neighbours."""
        neighbours = self._directory.neighbours
        return [*self._places.relays, *RANDOM.sample(neighbours, len(neighbours))]

    def _mappings_changed(self) -> None:
        mappings = "; ".join(map(str, self._mapper.mappings)) if self._mapper else ""
        self._history.note(f"the router forwards {mappings or 'no port any more'}")
        self._news.set()

    def _ports_behind_router(self) -> list[Port]:
        """Return the ports of private IPv4 addresses, to which a router can map ports."""
        return [
            port
            for port, address in listened_ports(self._network)
            if address is not None and address.is_private and not address.is_loopback and address.version == 4
        ]

    def reachability(self) -> Reachability:
        """Return the verdicts, port mappings, relays and latest changes."""
        return Reachability(
            addresses=self._addresses,
            mappings=self._mapper.mappings if self._mapper else (),
            unmapped=self._mapper.failures if self._mapper else _SWITCHED_OFF,
            relays=tuple(map(str, self._places.relays)),
            changes=self._history.changes,
        )

    async def run(self) -> None:
        """Check, map and reserve until cancelled."""
        self._directory.reach = self.reachability
        DialBackService(self._network, self._may_dial).serve()
        self._dial_back_receiver.serve()
        self._circuits.serve()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keep_judging)
            nursery.start_soon(self._keep_places)
            nursery.start_soon(self._watch)
            nursery.start_soon(self._keep_being_seen)
            if self._mapper is not None:
                nursery.start_soon(self._mapper.run)

    def _may_dial(self, peer: PeerId) -> bool:
        """Return whether to dial a peer back. Refused while our own reachability is unknown behind a NAT: the dial would
        open our NAT to the peer."""
        behind_router = not any(map(is_public, self._network.listening()))
        judged = self.reachability().verdict is not ReachabilityVerdict.UNKNOWN
        return not behind_router or judged or self._dial_policy.allows(peer)

    async def _watch(self) -> None:
        """Notice when this machine's addresses change."""
        while True:
            await trio.sleep(_LOOK_S)
            listening = self._network.addresses
            if listening != self._listening:
                before, after = _ips(self._listening), _ips(listening)
                if before != after:
                    self._history.note(f"this machine's address changed from {before} to {after}")
                self._listening = listening
                self._addresses = ()
                if self._mapper is not None:
                    self._mapper.renew()
                self._announce()
                self._directory.look_again()
                self._news.set()

    async def _keep_being_seen(self) -> None:
        """Notice when the observed address changes, and when no observer answers any more."""
        shortest_s, longest_s = _ALONE_AGAIN_S
        again_s, look_at, asked = shortest_s, 0.0, 0
        while True:
            await trio.sleep(_LOOK_S)
            has_new = not asked and bool(self._candidates())
            if trio.current_time() < look_at and not self._observers.is_one_lost() and not has_new:
                continue
            sighting = await self._observers.look()
            asked = sighting.asked
            self._take(sighting)
            again_s = shortest_s if sighting.answered else min(2 * again_s, longest_s)
            look_at = trio.current_time() + (OBSERVE_S if sighting.answered else again_s)

    def _take(self, sighting: ObservedAddresses) -> None:
        if not sighting.answered:
            if self._alone_since is None and self._witnessed:
                self._alone_since = trio.current_time()
                self._history.note("no neighbour answers any more")
                self._directory.look_again()
            return
        if self._alone_since is not None:
            seconds = trio.current_time() - self._alone_since
            self._alone_since = None
            self._history.note(f"neighbours answer again, after {seconds:.0f} s")
            self._look_again()  # a router that restarted may have lost its mappings
        self._witnessed = True
        confirmed_at, self._confirmed_at = self._confirmed_at, trio.current_time()
        for version, ip in sighting.addresses.items():
            before = self._seen_at.get(version)
            self._seen_at[version] = ip
            if before is not None and before != ip:
                self._history.note(f"address changed from {before} to {ip}, as others see it")
                self._network.forget_dialled(before=confirmed_at)
                self._dial_policy.begin()
                self._addresses = tuple(
                    item for item in self._addresses if _ip_of(item.address) != str(before)
                )
                self._announce()
                self._look_again()

    def _look_again(self) -> None:
        """Check reachability, port mappings and relays at once."""
        self._places.search_soon()
        self._directory.look_again()
        if self._mapper is not None:
            self._mapper.check()
        self._news.set()

    async def _keep_judging(self) -> None:
        shortest_s, longest_s = _AGAIN_S
        again_s = shortest_s
        while True:
            self._news = trio.Event()
            asked = await self._judge()
            if asked and self.reachability().verdict is not ReachabilityVerdict.UNKNOWN:
                again_s, pause_s = shortest_s, self._steady_s * RANDOM.uniform(0.8, 1.2)
            else:
                # Without peers to ask a round costs nothing; peers that were asked get the longer pause.
                again_s = min(2 * again_s, longest_s) if asked else shortest_s
                pause_s = again_s
            with trio.move_on_after(pause_s):
                await self._news.wait()

    async def _judge(self) -> bool:
        """Run one round of dial-backs. Return whether any peer answered."""
        mapped = [
            (item.carrier, item.external_port) for item in (self._mapper.mappings if self._mapper else ())
        ]
        ports = mapped + [port for port, _ in listened_ports(self._network)]
        result = await probe(self._network, self._dial_back_receiver, ports, mapped) if ports else None
        if result is None or not result.asked:
            return False
        known = {item.address: item for item in self._addresses}
        before = {address: item.verdict for address, item in known.items()}
        self._addresses = tuple(keep_verdict(known.get(item.address), item) for item in result.addresses)
        after = {item.address: item.verdict for item in self._addresses}
        verdict = self.reachability().verdict
        if after != before:
            told = " ".join(f"{address}:{verdict.value}" for address, verdict in after.items())
            log.info("reachability verdict=%s addresses=%s", verdict.value, told)
        if verdict is not self._told:
            was = "not known" if self._told is None else self._told.value
            self._history.note(f"reachability changed from {was} to {verdict.value}")
            self._told = verdict
        self._announce()
        if (
            self._mapper is not None
            and mapped
            and self.reachability().verdict is not ReachabilityVerdict.PUBLIC
        ):
            self._mapper.check()
        return True

    def _announce(self) -> None:
        """Announce this node's addresses to the directory if they have changed."""
        straight = [item.address for item in self._addresses if item.verdict is ReachabilityVerdict.PUBLIC]
        verdict = self.reachability().verdict
        if verdict is ReachabilityVerdict.UNKNOWN or self._local:
            straight += [str(parse(address)[0]) for address in self._network.addresses]
        own = self._network.peer_id
        addresses = tuple(
            f"{address}/p2p/{own}" for address in dict.fromkeys([*straight, *self._places.addresses])
        )
        if addresses != self._announced:
            self._announced = addresses
            self._directory.announce(addresses)
        if self._relay is not None:
            self._offer_relaying(self._relay, verdict)

    def _offer_relaying(self, relay: RelayService, verdict: ReachabilityVerdict) -> None:
        if verdict is ReachabilityVerdict.PRIVATE:
            relay.cease()
            self._directory.offer(())
        else:
            relay.serve()
            self._directory.offer([RELAY_CLASS])

    async def _keep_places(self) -> None:
        while True:
            await trio.sleep(_LOOK_S)
            if self.reachability().verdict is ReachabilityVerdict.PUBLIC:
                self._places.release()
            else:
                # Search only once dial-backs gave evidence: until then the node may turn out to be public.
                await self._places.look_after(search=bool(self._addresses))


def _ip_of(address: str) -> str:
    where, _ = parse(address)
    return str(ip_of(where)) if where is not None else ""


def _ips(addresses: Iterable[str]) -> str:
    return " ".join(dict.fromkeys(map(_ip_of, addresses))) or "none"
