"""The open directory: keeps the routing table filled, republishes provider records, and searches."""

from __future__ import annotations

import logging
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager

import attrs
import trio
from multiaddr import Multiaddr

from plasm_core.errors import PlasmError
from plasm_core.plugins.interfaces import Directory
from plasm_core.randomness import RANDOM
from plasm_core.records.peer import PeerId
from plasm_core.records.reachability import Reachability
from plasm_transport_libp2p.addresses import is_relayed, parse, private_ranges
from plasm_transport_libp2p.interfaces import PeerNetwork
from plasm_transport_libp2p.kad import message as messages
from plasm_transport_libp2p.kad import metrics
from plasm_transport_libp2p.kad.contact import SHARDS, Contact, capability_key, merge_addresses
from plasm_transport_libp2p.kad.message import KademliaMessage
from plasm_transport_libp2p.kad.node import KademliaNode
from plasm_transport_libp2p.kad.peer_cache import PeerCache, utc_now
from plasm_transport_libp2p.kad.search import ProviderSearch
from plasm_transport_libp2p.kad.self_listing import self_listed_addresses
from plasm_transport_libp2p.mdns import neighbourhood

log = logging.getLogger(__name__)

SHARDS_PROVIDED = 4
"""Shards of 16 in which a provider lists itself: enough to be found soon, few enough to spread the load."""
_FEW_NEIGHBOURS = 5
_REFRESH_S = 600.0
_BETWEEN_REFRESHES_S = (5.0, 15.0)  # spreads the load where many nodes start together
_RETRY_S = (1.0, 60.0)
_LONGEST_ALONE_S = 5.0
_REMEMBERED_AT_ONCE = 16
_CONCURRENT_DIALS = 8
_STRANGERS_AT_ONCE = 4
_CONCURRENT_KEYS = 4
_MOST_ADDRESSES = 16  # of one peer: reports may be false
_AFTER_CHANGE_S = (30.0, 60.0)
MAX_CLASSES = 32
MAX_CLASS_LENGTH = 128


@attrs.frozen(kw_only=True)
class KademliaSettings:
    """The configuration of a directory. `advertise_s`: range of seconds between two advertisements."""

    protocol: str
    bootstrap: tuple[str, ...]
    server: bool
    allow_private: bool
    advertise_s: tuple[float, float] = (600.0, 1200.0)
    mdns: bool = False
    mdns_interfaces: tuple[str, ...] | None = None


class KademliaDirectory(Directory):
    """The directory plugin's `Directory` over one Kademlia node."""

    def __init__(self, network: PeerNetwork, settings: KademliaSettings, cache: PeerCache) -> None:
        self._network = network
        self._settings = settings
        self._cache = cache
        private = settings.allow_private or private_ranges(settings.bootstrap)
        self.node = KademliaNode(network, settings.protocol, allow_private=private)
        self._remembered: list[Contact] = []
        self._network_changed = trio.Event()
        self._announced: tuple[Multiaddr, ...] = ()
        self._classes: tuple[str, ...] = ()
        self._served: frozenset[str] = frozenset()
        self._services: frozenset[str] = frozenset()
        self._reached: dict[str, bool] = {}
        self.reach: Callable[[], Reachability] | None = None
        """Returns this node's reachability; None where nothing checks it."""
        self._shards: dict[str, list[int]] = {}
        self._bootstrapped = trio.Event()
        self._neighbours_told = 0
        self._told: tuple[Multiaddr, ...] = ()
        self._news = trio.Event()
        self._serving = False

    @property
    def neighbours(self) -> tuple[PeerId, ...]:
        return tuple(contact.peer for contact in self.node.table)

    @property
    def reachability(self) -> Reachability:
        known = self.reach() if self.reach is not None else Reachability()
        told = tuple(f"{address}/p2p/{self._network.peer_id}" for address in self._announced)
        return attrs.evolve(known, advertised=told, bootstrap=tuple(self._reached.items()))

    @property
    def counters(self) -> Counter[str]:
        """Counts of messages by kind, and of peers found, refused and lost."""
        return self.node.counters

    @property
    def metrics(self) -> Mapping[str, float]:
        return {"directory_neighbours": len(self.node.table), **metrics.of(self.node.counters)}

    async def run(self) -> None:
        """Keep neighbours and advertise until cancelled."""
        self._remembered = self._cache.load(utc_now())
        try:
            async with trio.open_nursery() as nursery:
                for _ in range(_STRANGERS_AT_ONCE):
                    nursery.start_soon(self.node.look_at_strangers)
                nursery.start_soon(self._keep_neighbours)
                nursery.start_soon(self._keep_advertised)
                if self._settings.mdns:
                    nursery.start_soon(self._greet_neighbourhood)
        finally:
            self.save()
            self.announce(())

    def save(self) -> None:
        """Write the routing table to the cache."""
        self._cache.save(self.node.table, utc_now())

    def permit(self, addresses: Sequence[str]) -> None:
        self.node.permit(private_ranges(addresses))

    def announce(self, addresses: Sequence[str]) -> None:
        parsed = [where for where, _ in map(parse, addresses) if where is not None]
        self._announced = self.node.usable(parsed)
        self._provide_itself()
        serve = self._settings.server and not all(map(is_relayed, parsed))
        if serve and not self._serving:
            self._network.handle(self._settings.protocol, self.node.serve)
        elif self._serving and not serve:
            self._network.unhandle(self._settings.protocol)
        self._serving = serve
        self._news.set()

    def advertise(self, classes: Collection[str]) -> None:
        if len(classes) > MAX_CLASSES or any(len(name) > MAX_CLASS_LENGTH for name in classes):
            raise ValueError(f"at most {MAX_CLASSES} classes of {MAX_CLASS_LENGTH} characters")
        own = {class_of(self._network.peer_id)} if classes else set()
        self._served = frozenset({*classes, *own})
        self._list()

    def offer(self, services: Collection[str]) -> None:
        """Advertise these network services, such as the relay's, in addition to the node classes."""
        self._services = frozenset(services)
        self._list()

    def _list(self) -> None:
        self._classes = tuple(sorted(self._served | self._services))
        for name in self._classes:
            self._shards.setdefault(name, RANDOM.sample(range(SHARDS), SHARDS_PROVIDED))
        self._provide_itself()
        self._news.set()

    def _keys(self) -> list[bytes]:
        """Return the DHT keys of this node's provider records."""
        return [capability_key(name, shard) for name in self._classes for shard in self._shards[name]]

    def _provide_itself(self) -> None:
        """Answer with this node for its own keys: a bootstrap node may know no other server to tell."""
        self.node.provided = frozenset(self._keys()) if self._announced else frozenset()
        self.node.own_addresses = self._announced

    @property
    def bootstrap_nodes(self) -> Sequence[tuple[PeerId, tuple[str, ...]]]:
        named = map(parse, self._settings.bootstrap)
        return [(peer, Contact(peer, (where,)).named) for where, peer in named if where and peer]

    async def bootstrap(self) -> int:
        limiter = trio.CapacityLimiter(_CONCURRENT_DIALS)
        lost = [item for item in self.node.lately_lost if item.peer not in self.node.table]
        remembered = lost[-_REMEMBERED_AT_ONCE:]
        others = [item for item in self._remembered if item not in remembered]
        remembered += RANDOM.sample(others, min(len(others), _REMEMBERED_AT_ONCE - len(remembered)))
        async with trio.open_nursery() as nursery:
            for address in self._settings.bootstrap:
                nursery.start_soon(self._greet_address, address, limiter)
            for contact in remembered:
                nursery.start_soon(self._greet, contact, limiter)
        if len(self.node.table):
            await self.node.closest(self._network.peer_id.multihash)
        return len(self.node.table)

    async def _greet_address(self, address: str, limiter: trio.CapacityLimiter) -> None:
        async with limiter:
            try:
                where, _ = parse(address)
                stream = await self._network.dial(address, self._settings.protocol)
                await stream.aclose()
            except PlasmError as exc:
                self._reached[address] = False
                log.warning("bootstrap not reached address=%s reason=%s", address, exc)
                return
            self._reached[address] = True
        if where is not None:
            self._network.book.learn(stream.remote_peer, [where])
            await self._greet(Contact(stream.remote_peer, (where,)), limiter, configured=True)

    async def _greet(
        self, contact: Contact, limiter: trio.CapacityLimiter, *, configured: bool = False
    ) -> None:
        addresses = contact.addresses if configured else self.node.usable(contact.addresses)
        if not addresses or contact.peer in self.node.table or contact.peer == self._network.peer_id:
            return
        async with limiter:
            try:
                request = KademliaMessage(kind=messages.FIND_NODE, key=self._network.peer_id.multihash)
                await self.node.ask(Contact(contact.peer, addresses), request)
            except PlasmError as exc:
                log.debug("directory peer not reached peer=%s reason=%s", contact.peer, exc)
                return
            if configured:
                self.node.table.add(Contact(contact.peer, addresses), self.node.group_of(addresses))

    async def _greet_neighbourhood(self) -> None:
        """Add the servers that mDNS finds; their private addresses may be dialled."""
        addresses = self._network.addresses if self._serving else ()
        limiter = trio.CapacityLimiter(_CONCURRENT_DIALS)
        async with neighbourhood(addresses, interfaces=self._settings.mdns_interfaces) as heard:
            async for local in heard:
                await self._greet(Contact(local.peer, local.addresses), limiter, configured=True)

    async def _keep_neighbours(self) -> None:
        retry_s, longest_s = _RETRY_S
        reported: int | None = None
        while True:
            count = await self.bootstrap()
            self._bootstrapped.set()
            if count and count >= 2 * self._neighbours_told:
                self._news.set()  # servers closer to our keys may have appeared
            if count >= _FEW_NEIGHBOURS:
                self.save()
                retry_s, reported = _RETRY_S[0], None
                await self._refresh_and_rest(_REFRESH_S * RANDOM.uniform(0.8, 1.2))
            else:
                # A small network stays so for ever: its nodes report each number once.
                log.log(
                    logging.DEBUG if count == reported else logging.INFO,
                    "directory has few neighbours count=%d",
                    count,
                )
                reported = count
                if await self._is_disturbed(retry_s * RANDOM.uniform(0.8, 1.2)):
                    retry_s = _RETRY_S[0]
                else:
                    retry_s = min(2 * retry_s, longest_s if count else _LONGEST_ALONE_S)

    def look_again(self) -> None:
        """Ask the bootstrap nodes and cached servers at once: this node's network has changed."""
        self._network_changed.set()

    async def _is_disturbed(self, seconds: float) -> bool:
        """Wait, or until a neighbour is lost or the network changes. Return whether that has happened."""
        with trio.move_on_after(seconds):
            await self._disturbance()
            return True
        return False

    async def _disturbance(self) -> None:
        """Wait until a neighbour is lost, or the network changes."""
        async with trio.open_nursery() as nursery:

            async def wait(event: trio.Event) -> None:
                await event.wait()
                nursery.cancel_scope.cancel()

            nursery.start_soon(wait, self.node.lost)
            nursery.start_soon(wait, self._network_changed)
        if self._network_changed.is_set():
            self._network_changed = trio.Event()

    async def _refresh_and_rest(self, seconds: float) -> None:
        """Refresh the routing table and wait; return early with too few neighbours, or when the network changes."""
        async with trio.open_nursery() as nursery:

            async def watch() -> None:
                while len(self.node.table) >= _FEW_NEIGHBOURS:
                    changed = self._network_changed
                    await self._disturbance()
                    if changed.is_set():
                        break
                nursery.cancel_scope.cancel()

            nursery.start_soon(watch)
            await self._refresh()
            await trio.sleep(seconds)
            nursery.cancel_scope.cancel()

    async def _refresh(self) -> None:
        """Look up a random key in each bucket, and drop servers that do not answer (libp2p specification, "kad-dht")."""
        for place in self.node.table.places_to_refresh(secrets.randbits):
            await trio.sleep(RANDOM.uniform(*_BETWEEN_REFRESHES_S))
            await self.node.towards(place)
        for contact in self.node.table.unseen_since(trio.current_time() - _REFRESH_S):
            try:
                await self.node.ask(
                    contact, KademliaMessage(kind=messages.FIND_NODE, key=contact.peer.multihash)
                )
            except PlasmError as exc:
                log.debug("directory peer dropped peer=%s reason=%s", contact.peer, exc)

    async def _keep_advertised(self) -> None:
        await self._bootstrapped.wait()
        retry_s, longest_s = _RETRY_S
        while True:
            self._news = trio.Event()
            neighbours = len(self.node.table)
            told = await self._advertise_all()
            self._neighbours_told = neighbours if told else 0
            if told or not (self._classes and self._announced):
                # Advertise new addresses again soon: servers that missed them still report the old ones.
                told_anew, self._told = self._announced != self._told, self._announced
                pause_s = RANDOM.uniform(*(_AFTER_CHANGE_S if told_anew else self._settings.advertise_s))
                retry_s = _RETRY_S[0]
            else:
                pause_s, retry_s = retry_s, min(2 * retry_s, longest_s)
            with trio.move_on_after(pause_s):
                await self._news.wait()

    async def _advertise_all(self) -> int:
        """Send ADD_PROVIDER for each key to the closest servers; return how many took it."""
        told = 0
        if not self._announced:
            return 0
        limiter = trio.CapacityLimiter(_CONCURRENT_KEYS)

        async def provide(key: bytes) -> None:
            nonlocal told
            async with limiter:
                count = await self.node.provide(key, self._announced)
            told += count

        async with trio.open_nursery() as nursery:
            for key in self._keys():
                nursery.start_soon(provide, key)
        log.info("advertised classes=%d servers=%d", len(self._classes), told)
        return told

    async def locate(self, peer: PeerId) -> tuple[str, ...]:
        await self._bootstrapped.wait()
        found: list[Multiaddr] = []
        for contact in await self.node.closest(peer.multihash):
            if contact.peer == peer:
                found += self.node.usable(contact.addresses)
        # the peer has answered at one of these addresses
        if found and self._network.is_connected_directly(peer):
            return Contact(peer, tuple(dict.fromkeys(found))).named
        # A node behind a NAT serves no directory and is in no routing table: it lists itself under its own class. A
        # node that has moved is listed there before routing tables have its new address.
        current = await self_listed_addresses(self.node, peer, class_of(peer))
        return Contact(peer, merge_addresses([current, found], _MOST_ADDRESSES)).named

    @asynccontextmanager
    async def find(
        self, node_class: str, limit: int
    ) -> AsyncIterator[AsyncIterator[tuple[PeerId, tuple[str, ...]]]]:
        search = ProviderSearch(self._network.peer_id, self.node, limit)
        failure: BaseException | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._search, search, node_class)
            try:
                yield search
            except BaseException as exc:  # raised below: the nursery would wrap it in a group
                failure = exc
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure

    async def _search(self, search: ProviderSearch, node_class: str) -> None:
        await self._bootstrapped.wait()
        await search.run(node_class)


def class_of(peer: PeerId) -> str:
    """Return the class under which a node lists itself, so that clients that know its peer id find its addresses."""
    return f"peer/{peer}"


@asynccontextmanager
async def running(
    directory: KademliaDirectory, *others: Callable[[], Awaitable[None]]
) -> AsyncIterator[None]:
    """Run a directory, and the tasks that belong to it, while the context lasts."""
    failure: BaseException | None = None
    async with trio.open_nursery() as nursery:
        for task in (directory.run, *others):
            nursery.start_soon(task)
        try:
            yield
        except BaseException as exc:  # raised below: the nursery would wrap it in a group
            failure = exc
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure
