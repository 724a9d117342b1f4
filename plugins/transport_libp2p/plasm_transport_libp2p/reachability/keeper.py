"""Keeping a node within reach: finds out whether others reach it, and has relays bring them where they do not."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterable

import attrs
import trio

from plasm_core.records.peer import PeerId
from plasm_core.records.reachability import AddressReach, Reachability, Verdict
from plasm_transport_libp2p.address_classes import IPAddress
from plasm_transport_libp2p.addresses import ip_of, is_public, parse
from plasm_transport_libp2p.kademlia.directory import KademliaDirectory
from plasm_transport_libp2p.network import Libp2pNetwork
from plasm_transport_libp2p.reachability.callers import Callers
from plasm_transport_libp2p.reachability.dialback import DialBack
from plasm_transport_libp2p.reachability.history import History
from plasm_transport_libp2p.reachability.mapping import Mapper
from plasm_transport_libp2p.reachability.message import Port
from plasm_transport_libp2p.reachability.prober import listened_ports, probe
from plasm_transport_libp2p.reachability.restraint import Restraint
from plasm_transport_libp2p.reachability.witnesses import Sighting, Witnesses
from plasm_transport_libp2p.relay.circuit import Circuits
from plasm_transport_libp2p.relay.limits import RelayLimits
from plasm_transport_libp2p.relay.places import RELAY_CLASS, Places
from plasm_transport_libp2p.relay.service import Relay

log = logging.getLogger(__name__)

OBSERVE_S = 30.0
"""How often others are asked where they see this node. They are asked at once when a connection to one breaks."""
_LOOK_S = 1.0
_AGAIN_S = (2.0, 60.0)
_ALONE_AGAIN_S = (1.0, 10.0)
_MOST_EVIDENCE = 8
_SWITCHED_OFF = ("switched off by discovery.kademlia.map_ports",)


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
        self._history = History()
        self._callers = Callers(network)
        self._restraint = Restraint(network.peer_id, trio.current_time)
        self._places = Places(
            network, directory, circuits, local=local, changed=self._announce, note=self._history.note
        )
        self._witnesses = Witnesses(network, self._candidates)
        self._addresses: tuple[AddressReach, ...] = ()
        self._seen_at: dict[int, IPAddress] = {}
        self._alone_since: float | None = None
        self._witnessed = False
        self._confirmed_at = 0.0
        self._told: Verdict | None = None
        self._listening = network.addresses
        self._announced: tuple[str, ...] = network.addresses
        self._news = trio.Event()
        self._steady_s = steady_s
        self._mapper = Mapper(self._ports_behind_router, self._mappings_changed) if map_ports else None

    def _candidates(self) -> list[PeerId]:
        """Return who could tell where this node is seen: its relays, to whom it is connected anyway, then others."""
        neighbours = self._directory.neighbours
        return [*self._places.relays, *random.sample(neighbours, len(neighbours))]

    def _mappings_changed(self) -> None:
        mappings = "; ".join(map(str, self._mapper.mappings)) if self._mapper else ""
        self._history.note(f"the router forwards {mappings or 'no port any more'}")
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
            mappings=self._mapper.mappings if self._mapper else (),
            unmapped=self._mapper.failures if self._mapper else _SWITCHED_OFF,
            relays=tuple(map(str, self._places.relays)),
            changes=self._history.changes,
        )

    async def run(self) -> None:
        """Take care until cancelled."""
        self._directory.reach = self.reachability
        DialBack(self._network, self._may_dial).serve()
        self._callers.serve()
        self._circuits.serve()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keep_judging)
            nursery.start_soon(self._keep_places)
            nursery.start_soon(self._watch)
            nursery.start_soon(self._keep_being_seen)
            if self._mapper is not None:
                nursery.start_soon(self._mapper.run)

    def _may_dial(self, peer: PeerId) -> bool:
        """Return whether to dial a peer at another's request: hardly while such as he are to prove that they get in."""
        behind_router = not any(map(is_public, self._network.listening()))
        judged = self.reachability().verdict is not Verdict.UNKNOWN
        return not behind_router or judged or self._restraint.allows(peer)

    async def _watch(self) -> None:
        """See when this machine's addresses change."""
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
        """See when the address changes at which others see this node, and when nobody answers any more."""
        shortest_s, longest_s = _ALONE_AGAIN_S
        again_s, look_at, asked = shortest_s, 0.0, 0
        while True:
            await trio.sleep(_LOOK_S)
            has_new = not asked and bool(self._candidates())
            if trio.current_time() < look_at and not self._witnesses.is_one_lost() and not has_new:
                continue
            sighting = await self._witnesses.look()
            asked = sighting.asked
            self._take(sighting)
            again_s = shortest_s if sighting.answered else min(2 * again_s, longest_s)
            look_at = trio.current_time() + (OBSERVE_S if sighting.answered else again_s)

    def _take(self, sighting: Sighting) -> None:
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
            self._look_again()  # a router that was switched off may have forgotten what it forwarded
        self._witnessed = True
        confirmed_at, self._confirmed_at = self._confirmed_at, trio.current_time()
        for version, ip in sighting.addresses.items():
            before = self._seen_at.get(version)
            self._seen_at[version] = ip
            if before is not None and before != ip:
                self._history.note(f"address changed from {before} to {ip}, as others see it")
                self._network.forget_dialled(before=confirmed_at)
                self._restraint.begin()
                self._addresses = tuple(
                    item for item in self._addresses if _ip_of(item.address) != str(before)
                )
                self._announce()
                self._look_again()

    def _look_again(self) -> None:
        """Judge anew, and have done anew what a router or relays do."""
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
        result = await probe(self._network, self._callers, ports, mapped) if ports else None
        if result is None or not result.asked:
            return False
        known = {item.address: item for item in self._addresses}
        before = {address: item.verdict for address, item in known.items()}
        self._addresses = tuple(remember(known.get(item.address), item) for item in result.addresses)
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
        if self._mapper is not None and mapped and self.reachability().verdict is not Verdict.PUBLIC:
            self._mapper.check()
        return True

    def _announce(self) -> None:
        """Tell the directory where this node is reached, if that has changed."""
        straight = [item.address for item in self._addresses if item.verdict is Verdict.PUBLIC]
        verdict = self.reachability().verdict
        if verdict is Verdict.UNKNOWN or self._local:
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

    def _offer_relaying(self, relay: Relay, verdict: Verdict) -> None:
        if verdict is Verdict.PRIVATE:
            relay.cease()
            self._directory.offer(())
        else:
            relay.serve()
            self._directory.offer([RELAY_CLASS])

    async def _keep_places(self) -> None:
        while True:
            await trio.sleep(_LOOK_S)
            if self.reachability().verdict is Verdict.PUBLIC:
                self._places.release()
            else:
                # No verdict, but witnesses: a router lets in at least those who were spoken to.
                await self._places.look_after(search=bool(self._addresses))


def _ip_of(address: str) -> str:
    where, _ = parse(address)
    return str(ip_of(where)) if where is not None else ""


def _ips(addresses: Iterable[str]) -> str:
    return " ".join(dict.fromkeys(map(_ip_of, addresses))) or "none"
