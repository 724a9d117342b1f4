"""One Kademlia node: client and, where it serves, server."""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable, Iterable

import trio
from multiaddr import Multiaddr

from plasm_core.address_classes import PUBLIC, Private, class_of_ip
from plasm_core.errors import PeerUnreachableError, PlasmError, StreamError
from plasm_core.plugins.interfaces import Stream
from plasm_core.records.peer import PeerId
from plasm_core.token_bucket import TokenBuckets
from plasm_transport_libp2p import framing
from plasm_transport_libp2p.addresses import (
    ip_of,
    is_dialled_on_hearsay,
    is_public,
    is_relayed,
    prefix_of,
    wide_prefix_of,
)
from plasm_transport_libp2p.identify import identify
from plasm_transport_libp2p.interfaces import PeerNetwork
from plasm_transport_libp2p.kad import message as messages
from plasm_transport_libp2p.kad.contact import Contact, kad_id
from plasm_transport_libp2p.kad.lookup import Lookup, Query
from plasm_transport_libp2p.kad.message import KademliaMessage
from plasm_transport_libp2p.kad.providers import ProviderStore
from plasm_transport_libp2p.kad.table import BUCKET, RoutingTable

log = logging.getLogger(__name__)

QUERY_S = 5.0
REPLICAS = 10
"""Servers that get a provider record, 10 instead of the specification's 20: it is sent again within minutes."""
_IDLE_S = 60.0
_MAX_REQUESTS = 256  # on one stream
BURST, PER_S = 256, 10.0
"""Requests of one peer. A peer that lists itself under eight classes in a small network sends each neighbour 64
requests, 128 if it learns of new servers meanwhile, and again after ten minutes."""
GROUP_BURST, GROUP_PER_S = 4 * BURST, 4 * PER_S
"""Requests from one /24 or /48, since fresh keys are free. Loopback addresses are not counted."""
_MAX_STRANGERS = 64
_LOOK_AGAIN_S = 30.0
_CONCURRENT_TELLING = 8
_MAX_LOST = 64


class KademliaNode:
    """A Kademlia node: its routing table, its provider records, and the requests in both directions."""

    def __init__(self, network: PeerNetwork, protocol: str, *, allow_private: Private) -> None:
        self._network = network
        self._protocol = protocol
        self._allow_private = allow_private
        self.table = RoutingTable(network.peer_id, trio.current_time)
        self.providers = ProviderStore(trio.current_time)
        self.peer_rates = TokenBuckets(capacity=BURST, per_s=PER_S, clock=trio.current_time)
        self.group_rates = TokenBuckets(capacity=GROUP_BURST, per_s=GROUP_PER_S, clock=trio.current_time)
        self.counters: Counter[str] = Counter()
        """Counts of messages by kind, and of peers found, refused and lost."""
        self.lost = trio.Event()
        """Set, and replaced by a new event, when a neighbour is dropped."""
        self.lately_lost: deque[Contact] = deque(maxlen=_MAX_LOST)
        """The neighbours dropped last. They may still be there, if it is this node that has moved."""
        self.provided: frozenset[bytes] = frozenset()
        """The keys that this node provides itself, at `own_addresses`."""
        self.own_addresses: tuple[Multiaddr, ...] = ()
        self._strangers, self._to_look_at = trio.open_memory_channel[PeerId](_MAX_STRANGERS)
        self._seen_strangers: set[PeerId] = set()
        self._moved: dict[PeerId, float] = {}

    def permit(self, ranges: frozenset[str]) -> None:
        """Allow addresses in these private ranges to be dialled when strangers report them."""
        if self._allow_private is not True:
            self._allow_private = (self._allow_private or frozenset()) | ranges

    def usable(self, addresses: Iterable[Multiaddr]) -> tuple[Multiaddr, ...]:
        """Return the addresses that may be dialled on a stranger's report: public, or in an allowed private range."""
        return tuple(item for item in addresses if is_dialled_on_hearsay(item, self._allow_private))

    def group_of(self, addresses: Iterable[Multiaddr]) -> str | None:
        """Return the /24 or /48 of the first public address, None without one."""
        for address in addresses:
            ip = ip_of(address)
            if ip is not None and is_public(address):
                return prefix_of(ip)
        return None

    def groups_of(self, contact: Contact) -> frozenset[str]:
        """Return the prefixes of a contact's connection, or without one of all its reported addresses.

        They are its /24 or /48 and its /16 or /32: the owner of one /24 commonly has its neighbours, too.
        """
        seen = self._network.connection_address(contact.peer)
        addresses = contact.addresses if seen is None or is_relayed(seen) else (seen,)
        ips = [ip for item in addresses if is_public(item) and (ip := ip_of(item)) is not None]
        return frozenset([*map(prefix_of, ips), *map(wide_prefix_of, ips)])

    async def ask(self, contact: Contact, request: KademliaMessage) -> KademliaMessage:
        """Send a request to one peer and update the routing table. Raises: `PeerUnreachableError`, `StreamError`.

        A neighbour is dialled at its known addresses first: a false report must not get it dropped.
        """
        neighbour = self.table.get(contact.peer)
        if neighbour is not None:
            both = dict.fromkeys([*neighbour.addresses, *contact.addresses])
            contact = Contact(contact.peer, tuple(both))
        self.counters[f"sent_{request.kind}"] += 1
        started = trio.current_time()
        try:
            with trio.fail_after(QUERY_S):
                stream = await self._network.dial_peer(contact.peer, contact.addresses, self._protocol)
                try:
                    await stream.send_all(framing.encode(request.encode()))
                    if request.kind == messages.ADD_PROVIDER:  # the peer gets no answer
                        await stream.aclose()
                        return request
                    answer = await KademliaMessage.decode(await framing.read_one(stream, messages.MAX_BYTES))
                finally:
                    await stream.aclose()
        except (PlasmError, trio.TooSlowError) as exc:
            why = _reason(exc)
            self.counters[f"failed_{why}"] += 1
            if self.table.remove(contact.peer):
                if neighbour is not None:
                    self.lately_lost.append(neighbour)
                self.lost.set()
                self.lost = trio.Event()
                self.counters["lost"] += 1
                self.counters[f"lost_{why}"] += 1
                took_s = trio.current_time() - started
                reason = str(exc) or why
                log.info(
                    "directory peer lost peer=%s reason=%s duration_s=%.3f", contact.peer, reason, took_s
                )
            if isinstance(exc, trio.TooSlowError):
                raise PeerUnreachableError("the peer does not answer") from exc
            raise
        self._answered(contact.peer, trio.current_time() - started)
        return answer

    def _answered(self, peer: PeerId, took_s: float) -> None:
        """Add a peer that has answered to the table, at the address dialled; else ask it for its addresses later."""
        addresses = self.usable(self._network.book.addresses(peer))
        if not addresses:
            self._notice(peer)
            return
        known = peer in self.table
        if self.table.add(Contact(peer, addresses), self.group_of(addresses)) and not known:
            self.counters["found"] += 1
            log.info("directory peer found peer=%s duration_s=%.3f", peer, took_s)

    async def closest(self, key: bytes) -> list[Contact]:
        """Return the 20 servers closest to a key; the closest three have answered."""

        async def query(contact: Contact) -> list[Contact]:
            answer = await self.ask(contact, KademliaMessage(kind=messages.FIND_NODE, key=key))
            return self._usable_contacts(answer.closer)

        return await self._look_up(kad_id(key), query)

    async def _look_up(self, place: int, query: Query) -> list[Contact]:
        lookup = Lookup(place, self._network.peer_id, query, groups=self.groups_of)
        return await lookup.run(self.table.closest(place))

    async def towards(self, place: int) -> None:
        """Look up a position of the key space, to fill the routing table."""

        async def query(contact: Contact) -> list[Contact]:
            # No key can be made whose SHA-256 is a given position, so each server is asked for its own neighbourhood.
            answer = await self.ask(
                contact, KademliaMessage(kind=messages.FIND_NODE, key=contact.peer.multihash)
            )
            return self._usable_contacts(answer.closer)

        await self._look_up(place, query)

    async def find_providers(self, key: bytes, found: Callable[[Contact], None]) -> None:
        """Look up a key with GET_PROVIDERS; call `found` with each provider, and with the peer that reported it."""

        async def query(contact: Contact) -> list[Contact]:
            answer = await self.ask(contact, KademliaMessage(kind=messages.GET_PROVIDERS, key=key))
            reported_by = self.group_of(contact.addresses) or str(contact.peer)
            for provider in answer.providers[: messages.MAX_PEERS]:
                found(Contact(provider.peer, self.usable(provider.addresses), reported_by=reported_by))
            return self._usable_contacts(answer.closer)

        for provider in self.providers.get(key):
            found(provider)
        await self._look_up(kad_id(key), query)

    async def provide(self, key: bytes, addresses: tuple[Multiaddr, ...]) -> int:
        """Send ADD_PROVIDER to the servers closest to a key; return how many took it."""
        own = Contact(self._network.peer_id, addresses)
        told = asking = 0
        waiting = iter(await self.closest(key))

        async def tell() -> None:
            """Send to one server after the other. The next closest replace those that do not answer."""
            nonlocal told, asking
            while told + asking < REPLICAS and (contact := next(waiting, None)) is not None:
                asking += 1
                try:
                    await self.ask(
                        contact, KademliaMessage(kind=messages.ADD_PROVIDER, key=key, providers=(own,))
                    )
                    told += 1
                except PlasmError as exc:
                    log.debug("provider record not taken peer=%s reason=%s", contact.peer, exc)
                finally:
                    asking -= 1

        async with trio.open_nursery() as nursery:
            for _ in range(_CONCURRENT_TELLING):
                nursery.start_soon(tell)
        return told

    def _usable_contacts(self, contacts: Iterable[Contact]) -> list[Contact]:
        known = [Contact(contact.peer, self.usable(contact.addresses)) for contact in contacts]
        return [contact for contact in known[:BUCKET] if contact.addresses]

    async def serve(self, stream: Stream) -> None:
        """Answer up to 256 requests of one stream."""
        peer = stream.remote_peer
        assert peer is not None  # libp2p proves every identity
        reader = framing.MessageReader(stream, messages.MAX_BYTES)
        for _ in range(_MAX_REQUESTS):
            with trio.fail_after(_IDLE_S):
                data = await reader.next()
                if data is None:
                    return
                self._charge(peer, stream)
                answer = self._answer(peer, KademliaMessage.decode_request(data, peer))
                if answer is not None:
                    await stream.send_all(framing.encode(answer.encode()))
            self._notice(peer)
        raise StreamError(f"more than {_MAX_REQUESTS} requests on one stream")

    def _charge(self, peer: PeerId, stream: Stream) -> None:
        """Count a request for its peer and its network. Raises: `StreamError` if a rate is exceeded."""
        allowed = self.peer_rates.spend(str(peer))
        address = self._network.remote_address(stream)
        ip = ip_of(address) if address is not None else None
        if ip is None or not ip.is_loopback:
            allowed = self.group_rates.spend(stream.remote_group) and allowed
        if allowed:
            return
        self.counters["throttled"] += 1
        if self.peer_rates.refused(str(peer)) == 1:
            log.info("directory requests refused peer=%s reason=rate", peer)
        raise StreamError("the peer sends requests too often")

    def _answer(self, peer: PeerId, request: KademliaMessage) -> KademliaMessage | None:
        kind = request.kind if request.kind in messages.KINDS else "other"  # a stranger may name any key
        self.counters[f"answered_{kind}"] += 1
        if request.kind == messages.PING:
            return KademliaMessage(kind=messages.PING)
        if not request.key:
            raise StreamError("a request without a key")
        if request.kind == messages.ADD_PROVIDER:
            for provider in request.providers:
                addresses = self.usable(provider.addresses)
                if addresses:
                    self._take_provider(request.key, Contact(peer, addresses))
            return None
        if request.kind not in (messages.FIND_NODE, messages.GET_PROVIDERS, messages.GET_VALUE):
            raise StreamError(f"a request of kind {request.kind}, which is not served")
        closest = [contact for contact in self.table.closest(kad_id(request.key)) if contact.peer != peer]
        found = self._providers_of(request.key) if request.kind == messages.GET_PROVIDERS else []
        return KademliaMessage(
            kind=request.kind, key=request.key, closer=tuple(closest), providers=tuple(found)
        )

    def _providers_of(self, key: bytes) -> list[Contact]:
        """Return the providers of a key, this node included: in a network of one no other server has its record."""
        own = [Contact(self._network.peer_id, self.own_addresses)] if key in self.provided else []
        return own + self.providers.get(key)

    def _take_provider(self, key: bytes, contact: Contact) -> None:
        if not self.providers.add(key, contact, self._seen_group(contact), self._seen_networks(contact)):
            self.counters["refused"] += 1
            log.info("provider record refused reason=limit")

    def _seen_group(self, contact: Contact) -> str | None:
        """Return the address group of a peer's connection: its reported addresses may be false, or a relay's."""
        seen = self._network.connection_address(contact.peer)
        if seen is None or is_relayed(seen) or not is_public(seen):
            return self.group_of(contact.addresses)
        return self._network.group_of(seen)

    def _seen_networks(self, contact: Contact) -> list[str]:
        """Return the /16 or /32 and the /24 or /48 of a peer's connection; of a private address the host alone."""
        seen = self._network.connection_address(contact.peer)
        ip = ip_of(seen) if seen is not None else None
        if ip is None or ip.is_loopback:
            return []
        return [wide_prefix_of(ip), prefix_of(ip)] if class_of_ip(ip) == PUBLIC else [str(ip)]

    def _notice(self, peer: PeerId) -> None:
        """Queue a peer for identify: it may be a server, or have moved."""
        if (peer in self.table and not self._has_moved(peer)) or peer in self._seen_strangers:
            return
        try:
            self._strangers.send_nowait(peer)
            self._seen_strangers.add(peer)
        except trio.WouldBlock:
            self.counters["overlooked"] += 1

    def _has_moved(self, peer: PeerId) -> bool:
        """Return whether a neighbour's connection comes from another network than its known addresses."""
        seen, known = self._network.connection_address(peer), self.table.get(peer)
        if known is None or seen is None or is_relayed(seen) or not is_public(seen):
            return False
        ip = ip_of(seen)
        said = {other for address in known.addresses if (other := ip_of(address)) is not None}
        prefixes = {prefix_of(other) for other in said if ip is not None and other.version == ip.version}
        if ip is None or not prefixes or prefix_of(ip) in prefixes:
            return False
        if self._moved.get(peer, -_LOOK_AGAIN_S) > trio.current_time() - _LOOK_AGAIN_S:
            return False  # a multihomed peer is queried at most every 30 seconds
        if len(self._moved) >= _MAX_STRANGERS:
            self._moved.clear()
        self._moved[peer] = trio.current_time()
        return True

    async def look_at_strangers(self) -> None:
        """Identify queued peers; add those that serve the protocol and answer a request."""
        async for peer in self._to_look_at:
            try:
                await self._look_at(peer)
            except PlasmError as exc:
                log.debug("directory peer not kept peer=%s reason=%s", peer, exc)
            finally:
                self._seen_strangers.discard(peer)

    async def _look_at(self, peer: PeerId) -> None:
        conn = self._network.connection_address(peer)
        if conn is None:
            return
        told = await identify.ask(self._network, peer)
        if self._protocol not in told.protocols:
            return
        addresses = self._believable(told.addresses, conn)
        if addresses:
            self._network.book.learn(peer, addresses)
            await self.ask(
                Contact(peer, addresses), KademliaMessage(kind=messages.FIND_NODE, key=peer.multihash)
            )

    def _believable(self, addresses: Iterable[Multiaddr], observed: Multiaddr) -> tuple[Multiaddr, ...]:
        """Return the claimed addresses in the network that the peer is seen in: a peer must not have third parties dialled."""
        usable = self.usable(addresses)
        seen = ip_of(observed)
        if seen is None or not is_public(observed):
            return tuple(address for address in usable if not is_public(address))
        return tuple(
            address
            for address in usable
            if (ip := ip_of(address)) is not None and prefix_of(ip) == prefix_of(seen)
        )


def _reason(exc: Exception) -> str:
    """Return the reason for the metrics: timeout, unreachable or broken."""
    if isinstance(exc, trio.TooSlowError):
        return "timeout"
    return "unreachable" if isinstance(exc, PeerUnreachableError) else "broken"
