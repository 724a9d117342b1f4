"""A directory of many nodes in one process: the product's own nodes, tables, lookups and searches, and no wire.

A message is a function call that takes its time on trio's clock. A node is reached at its own address alone, and
each has one, so that what liars say of others costs what it would cost. `python -m benchmarks.directory_attacks`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from types import SimpleNamespace
from typing import Any

import attrs
import trio
from multiaddr import Multiaddr

from plasm_core.errors import PeerUnreachableError
from plasm_core.records.peer import PeerId
from plasm_transport_libp2p.kad import message as messages
from plasm_transport_libp2p.kad.contact import SHARDS, Contact, capability_key, kad_id
from plasm_transport_libp2p.kad.message import KademliaMessage
from plasm_transport_libp2p.kad.node import QUERY_S, REPLICAS, KademliaNode
from plasm_transport_libp2p.kad.search import ProviderSearch

CLASS = "engine/simulated"
SHARDS_PROVIDED = 4
LIMIT = 64
_LATENCY_S = (0.02, 0.2)

Lie = Callable[["Simulation", "Server", KademliaMessage], KademliaMessage]
"""What a lying server answers."""


@attrs.define(eq=False)
class Server:
    """A node of the simulation, at the one address where it is."""

    contact: Contact
    node: KademliaNode
    lie: Lie | None = None
    is_up: bool = True

    @property
    def address(self) -> Multiaddr:
        return self.contact.addresses[0]


class Simulation:
    """The nodes, who asks whom, and how many messages that takes."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.servers: dict[PeerId, Server] = {}
        self.messages = 0

    def address(self, first: int = 20) -> Multiaddr:
        """Return a public address in a /24 of its own, or hardly shared."""
        octets = (
            self.random.randrange(first, first + 10),
            self.random.randrange(256),
            self.random.randrange(256),
        )
        return Multiaddr("/ip4/{}.{}.{}.1/tcp/4001".format(*octets))

    def make(self, address: Multiaddr | None = None, peer: PeerId | None = None) -> Server:
        """Make a node that is in nobody's table."""
        contact = Contact(peer or PeerId(self.random.randbytes(32)), (address or self.address(),))
        network: Any = SimpleNamespace(
            peer_id=contact.peer,
            book=SimpleNamespace(addresses=lambda _peer: ()),
            group_of=str,
            connection_address=lambda _peer: None,
        )
        node = KademliaNode(network, "/phase/kad/1.0.0", allow_private=False)
        server = Server(contact, node)

        async def ask(contact: Contact, request: KademliaMessage) -> KademliaMessage:
            return await self._ask(server, contact, request)

        node.ask = ask  # type: ignore[method-assign]
        return server

    async def _ask(self, asking: Server, other: Contact, request: KademliaMessage) -> KademliaMessage:
        self.messages += 1
        table = asking.node.table
        known = table.get(other.peer)
        addresses = (*(known.addresses if known is not None else ()), *other.addresses)
        asked = self.servers.get(other.peer)
        if asked is None or not asked.is_up or asked.address not in addresses:
            await trio.sleep(QUERY_S)
            table.remove(other.peer)
            raise PeerUnreachableError("nobody is there")
        await trio.sleep(self.random.uniform(*_LATENCY_S))
        table.add(asked.contact, asking.node.group_of(asked.contact.addresses))
        if asking.contact.peer in self.servers:
            asked.node.table.add(asking.contact, asking.node.group_of(asking.contact.addresses))
        if asked.lie is not None:
            return asked.lie(self, asked, request)
        return asked.node._answer(asking.contact.peer, request) or request

    async def join(self, server: Server) -> None:
        """Have a node enter by one that is there, and get to know others."""
        if self.servers:
            entry = self.random.choice(list(self.servers.values()))
            server.node.table.add(entry.contact, server.node.group_of(entry.contact.addresses))
        self.servers[server.contact.peer] = server
        for key in (server.contact.peer.multihash, *(self.random.randbytes(32) for _ in range(4))):
            await server.node.closest(key)

    def meet(self, server: Server, others: Iterable[Server]) -> None:
        """Let a node know others without asking."""
        for other in others:
            server.node.table.add(other.contact, server.node.group_of(other.contact.addresses))

    async def provide(self, server: Server) -> int:
        """Have a node list itself, and return how many messages that took."""
        before = self.messages
        for shard in self.random.sample(range(SHARDS), SHARDS_PROVIDED):
            await server.node.provide(capability_key(CLASS, shard), server.contact.addresses)
        return self.messages - before

    async def find(self, client: Server, wanted: Contact) -> tuple[bool, int, float]:
        """Search as a client, until a node is told where it is. Return whether, the messages and the seconds."""
        search = ProviderSearch(client.contact.peer, client.node, LIMIT)
        before, started, found = self.messages, trio.current_time(), False
        async with trio.open_nursery() as nursery:
            nursery.start_soon(search.run, CLASS)
            async for peer, addresses in search:
                if peer == wanted.peer and f"{wanted.addresses[0]}/p2p/{peer}" in addresses:
                    found = True
                    break
            nursery.cancel_scope.cancel()
        return found, self.messages - before, trio.current_time() - started

    async def measure(self, trials: int, known: int = 60) -> Measured:
        """Have nodes list themselves, and clients look for each of them; all know some honest and lying servers."""
        result = Measured()
        for _ in range(trials):
            everybody = list(self.servers.values())
            provider, client = self.make(self.address(31)), self.make(self.address(61))
            for server in (provider, client):
                self.meet(server, self.random.sample(everybody, min(known, len(everybody))))
            result.told.append(await self.provide(provider))
            found, sent, seconds = await self.find(client, provider.contact)
            result.found += found
            result.searched.append(sent)
            result.seconds.append(seconds)
        return result

    def near(self, key: bytes, server: Server, count: int = 20) -> Sequence[Contact]:
        """Return those servers closest to a key that lie as one does."""
        kin = [other.contact for other in self.servers.values() if other.lie is server.lie]
        return sorted(kin, key=lambda contact: contact.distance(kad_id(key)))[:count]

    def ground(self, key: bytes, count: int, nearer_than: int) -> list[PeerId]:
        """Return identities that lie nearer to a key than a distance: keys are free."""
        found: list[PeerId] = []
        while len(found) < count:
            peer = PeerId(self.random.randbytes(32))
            if Contact(peer).distance(kad_id(key)) < nearer_than:
                found.append(peer)
        return found


@attrs.define
class Measured:
    """How many were found, and for each of them the messages sent and the seconds taken."""

    found: int = 0
    told: list[int] = attrs.field(factory=list)
    searched: list[int] = attrs.field(factory=list)
    seconds: list[float] = attrs.field(factory=list)


def kin(simulation: Simulation, server: Server, request: KademliaMessage) -> KademliaMessage:
    """Name one's own kind, and no provider."""
    if request.kind == messages.ADD_PROVIDER:
        return request
    return KademliaMessage(
        kind=request.kind, key=request.key, closer=tuple(simulation.near(request.key, server))
    )


def nobody(simulation: Simulation, server: Server, request: KademliaMessage) -> KademliaMessage:
    """Name servers and providers that are not there, of as many networks."""
    if request.kind == messages.ADD_PROVIDER:
        return request
    place = kad_id(request.key)
    drawn = [Contact(PeerId(simulation.random.randbytes(32)), (simulation.address(41),)) for _ in range(200)]
    closer = sorted(drawn, key=lambda contact: contact.distance(place))[:20]
    return KademliaMessage(
        kind=request.kind, key=request.key, closer=tuple(closer), providers=tuple(drawn[:64])
    )


def elsewhere(simulation: Simulation, server: Server, request: KademliaMessage) -> KademliaMessage:
    """Name the honest servers and providers, and eight false addresses for each."""
    if request.kind == messages.ADD_PROVIDER:
        server.node.providers.add(request.key, request.providers[0], None)
        return request
    honest = sorted(
        (other.contact for other in simulation.servers.values() if other.lie is None),
        key=lambda contact: contact.distance(kad_id(request.key)),
    )[:20]
    known = {
        contact.peer: contact
        for other in simulation.servers.values()
        for contact in other.node.providers.get(request.key)
    }

    def moved(contact: Contact) -> Contact:
        return Contact(contact.peer, tuple(simulation.address(41) for _ in range(8)))

    return KademliaMessage(
        kind=request.kind,
        key=request.key,
        closer=tuple(map(moved, honest)),
        providers=tuple(moved(contact) for contact in list(known.values())[:64]),
    )


async def honest(seed: int, size: int) -> Simulation:
    """Return a network of honest servers that have joined one after the other."""
    simulation = Simulation(seed)
    for _ in range(size):
        await simulation.join(simulation.make())
    return simulation


def acquainted(simulation: Simulation) -> None:
    """Fill every table, in an order of its own."""
    everybody = list(simulation.servers.values())
    for server in everybody:
        simulation.meet(server, simulation.random.sample(everybody, len(everybody)))


def with_liars(seed: int, size: int, lie: Lie, share: float) -> Simulation:
    """Return a network of which a share of the servers lies; everybody knows everybody, as far as tables have room."""
    simulation = Simulation(seed)
    for number in range(size):
        server = simulation.make()
        server.lie = lie if number < share * size else None
        simulation.servers[server.contact.peer] = server
    acquainted(simulation)
    return simulation


def with_sybils(
    seed: int, size: int, identities: int, prefixes: int = 1, *, hidden: bool = False
) -> Simulation:
    """Return a network with identities near the keys of the class, all in a few /24s.

    `hidden`: they name one another at an address of another network first.
    """
    simulation = Simulation(seed)
    for _ in range(size):
        server = simulation.make()
        simulation.servers[server.contact.peer] = server
    lie = hiding if hidden else kin
    keys = [capability_key(CLASS, shard) for shard in range(SHARDS)]
    honest_places = [server.contact for server in simulation.servers.values()]
    made = 0
    for key in keys:
        nearest = min(contact.distance(kad_id(key)) for contact in honest_places)
        for peer in simulation.ground(key, identities // SHARDS, nearest):
            made += 1
            address = Multiaddr(f"/ip4/198.41.{made % prefixes}.{made % 254 + 1}/tcp/{4001 + made}")
            server = simulation.make(address, peer)
            server.lie = lie
            simulation.servers[peer] = server
    acquainted(simulation)
    return simulation


def hiding(simulation: Simulation, server: Server, request: KademliaMessage) -> KademliaMessage:
    """Name one's own kind, at an address of a fresh network and then where it is."""
    if request.kind == messages.ADD_PROVIDER:
        return request
    several = simulation.near(request.key, server)
    closer = tuple(Contact(item.peer, (simulation.address(41), *item.addresses)) for item in several)
    return KademliaMessage(kind=request.kind, key=request.key, closer=closer)


__all__ = [
    "REPLICAS",
    "Measured",
    "Simulation",
    "elsewhere",
    "hiding",
    "honest",
    "kin",
    "nobody",
    "with_liars",
    "with_sybils",
]
