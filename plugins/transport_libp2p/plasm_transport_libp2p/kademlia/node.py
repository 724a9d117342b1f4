"""One node of the directory: it asks others, and as a server answers them."""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable, Iterable

import trio
from multiaddr import Multiaddr

from plasm_core.abc import Stream
from plasm_core.errors import PeerUnreachableError, PlasmError, StreamError
from plasm_core.records.peer import PeerId
from plasm_transport_libp2p import framing, identify
from plasm_transport_libp2p.address_classes import PUBLIC, Private, class_of_ip
from plasm_transport_libp2p.addresses import (
    ip_of,
    is_dialled_on_hearsay,
    is_public,
    is_relayed,
    prefix_of,
    wide_prefix_of,
)
from plasm_transport_libp2p.kademlia import message as messages
from plasm_transport_libp2p.kademlia.contact import Contact, place_of
from plasm_transport_libp2p.kademlia.lookup import Lookup, Query
from plasm_transport_libp2p.kademlia.message import Message
from plasm_transport_libp2p.kademlia.providers import Providers
from plasm_transport_libp2p.kademlia.rates import Rates
from plasm_transport_libp2p.kademlia.table import BUCKET, RoutingTable
from plasm_transport_libp2p.network import Libp2pNetwork

log = logging.getLogger(__name__)

QUERY_S = 5.0
REPLICAS = 10
"""How many servers are told of a provider. Should all of them go, it says so again within minutes."""
_IDLE_S = 60.0
_MAX_REQUESTS = 256  # on one stream
BURST, PER_S = 256, 10.0
"""Requests of one peer. One that lists itself under eight classes in a small network asks and tells each of its
neighbours 64 times, twice if it learns of others meanwhile, and again after ten minutes."""
GROUP_BURST, GROUP_PER_S = 4 * BURST, 4 * PER_S
"""Requests from one /24 or /48, since fresh keys are free. Addresses of this machine are not counted."""
_MAX_STRANGERS = 64
_LOOK_AGAIN_S = 30.0
_CONCURRENT_TELLING = 8
_MAX_LOST = 64


class Node:
    """What this node knows, and how it asks and answers."""

    def __init__(self, network: Libp2pNetwork, protocol: str, *, allow_private: Private) -> None:
        self._network = network
        self._protocol = protocol
        self._allow_private = allow_private
        self.table = RoutingTable(network.peer_id, trio.current_time)
        self.providers = Providers(trio.current_time)
        self.peer_rates = Rates(trio.current_time, burst=BURST, per_s=PER_S)
        self.group_rates = Rates(trio.current_time, burst=GROUP_BURST, per_s=GROUP_PER_S)
        self.counters: Counter[str] = Counter()
        """Messages sent by kind, and peers found, refused and lost."""
        self.lost = trio.Event()
        """Set, and replaced, when a neighbour is dropped."""
        self.lately_lost: deque[Contact] = deque(maxlen=_MAX_LOST)
        """The neighbours that were dropped last: they may be where they were, and this node be the one that has moved."""
        self.provided: frozenset[bytes] = frozenset()
        """The keys that this node itself provides, at `own_addresses`."""
        self.own_addresses: tuple[Multiaddr, ...] = ()
        self._strangers, self._to_look_at = trio.open_memory_channel[PeerId](_MAX_STRANGERS)
        self._seen_strangers: set[PeerId] = set()
        self._moved: dict[PeerId, float] = {}

    def permit(self, ranges: frozenset[str]) -> None:
        """Dial addresses in these private ranges, too, though strangers name them."""
        if self._allow_private is not True:
            self._allow_private = (self._allow_private or frozenset()) | ranges

    def usable(self, addresses: Iterable[Multiaddr]) -> tuple[Multiaddr, ...]:
        """Return those that may be dialled on hearsay: public ones, and those of private ranges that are allowed."""
        return tuple(item for item in addresses if is_dialled_on_hearsay(item, self._allow_private))

    def group_of(self, addresses: Iterable[Multiaddr]) -> str | None:
        """Return the prefix that a peer is counted in, None if its addresses are not public."""
        for address in addresses:
            ip = ip_of(address)
            if ip is not None and is_public(address):
                return prefix_of(ip)
        return None

    def groups_of(self, contact: Contact) -> frozenset[str]:
        """Return the prefixes that a contact is counted in: where it is seen, else of every address claimed for it.

        They are its /24 or /48 and, since whoever has one of these commonly has others beside it, its /16 or /32.
        """
        seen = self._network.connection_address(contact.peer)
        addresses = contact.addresses if seen is None or is_relayed(seen) else (seen,)
        ips = [ip for item in addresses if is_public(item) and (ip := ip_of(item)) is not None]
        return frozenset([*map(prefix_of, ips), *map(wide_prefix_of, ips)])

    async def ask(self, contact: Contact, request: Message) -> Message:
        """Ask one peer and take note of whether it answers. Raises: `PeerUnreachableError`, `StreamError`.

        A neighbour is dialled at its own address first, so that it is not dropped for an address that another told.
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
                    if request.kind == messages.ADD_PROVIDER:  # it is not answered
                        await stream.aclose()
                        return request
                    answer = Message.decode(await framing.read_one(stream, messages.MAX_BYTES))
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
        """Keep a peer that has answered: at an address that it was dialled at, else once it has named one."""
        addresses = self.usable(self._network.book.addresses(peer))
        if not addresses:
            self._notice(peer)
            return
        known = peer in self.table
        if self.table.add(Contact(peer, addresses), self.group_of(addresses)) and not known:
            self.counters["found"] += 1
            log.info("directory peer found peer=%s duration_s=%.3f", peer, took_s)

    async def closest(self, key: bytes) -> list[Contact]:
        """Return the servers closest to a key, the closest of which have answered."""

        async def query(contact: Contact) -> list[Contact]:
            answer = await self.ask(contact, Message(kind=messages.FIND_NODE, key=key))
            return self._usable_contacts(answer.closer)

        return await self._look_up(place_of(key), query)

    async def _look_up(self, place: int, query: Query) -> list[Contact]:
        lookup = Lookup(place, self._network.peer_id, query, groups=self.groups_of)
        return await lookup.run(self.table.closest(place))

    async def towards(self, place: int) -> None:
        """Look for servers near a place, to get to know them."""

        async def query(contact: Contact) -> list[Contact]:
            # A key that lies at a given place cannot be made, so each is asked for what lies near itself.
            answer = await self.ask(contact, Message(kind=messages.FIND_NODE, key=contact.peer.multihash))
            return self._usable_contacts(answer.closer)

        await self._look_up(place, query)

    async def find_providers(self, key: bytes, found: Callable[[Contact], None]) -> None:
        """Ask for the providers of a key, nearer and nearer to it, telling each that is found, and who told it."""

        async def query(contact: Contact) -> list[Contact]:
            answer = await self.ask(contact, Message(kind=messages.GET_PROVIDERS, key=key))
            teller = self.group_of(contact.addresses) or str(contact.peer)
            for provider in answer.providers[: messages.MAX_PEERS]:
                found(Contact(provider.peer, self.usable(provider.addresses), teller=teller))
            return self._usable_contacts(answer.closer)

        for provider in self.providers.get(key):
            found(provider)
        await self._look_up(place_of(key), query)

    async def provide(self, key: bytes, addresses: tuple[Multiaddr, ...]) -> int:
        """Tell the servers closest to a key that this node provides it; return how many were told."""
        own = Contact(self._network.peer_id, addresses)
        told = asking = 0
        waiting = iter(await self.closest(key))

        async def tell() -> None:
            """Tell one server after the other. Those that do not answer are made up for by others."""
            nonlocal told, asking
            while told + asking < REPLICAS and (contact := next(waiting, None)) is not None:
                asking += 1
                try:
                    await self.ask(contact, Message(kind=messages.ADD_PROVIDER, key=key, providers=(own,)))
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
        """Answer the requests of one stream."""
        peer = stream.remote_peer
        assert peer is not None  # libp2p proves every identity
        reader = framing.Reader(stream, messages.MAX_BYTES)
        for _ in range(_MAX_REQUESTS):
            with trio.fail_after(_IDLE_S):
                data = await reader.next()
                if data is None:
                    return
                self._charge(peer, stream)
                answer = self._answer(peer, Message.decode(data))
                if answer is not None:
                    await stream.send_all(framing.encode(answer.encode()))
            self._notice(peer)
        raise StreamError(f"more than {_MAX_REQUESTS} requests on one stream")

    def _charge(self, peer: PeerId, stream: Stream) -> None:
        """Count a request for its peer and for where it comes from. Raises: `StreamError` if it is one too many."""
        allowed = self.peer_rates.take(str(peer))
        address = self._network.remote_address(stream)
        ip = ip_of(address) if address is not None else None
        if ip is None or not ip.is_loopback:
            allowed = self.group_rates.take(stream.remote_group) and allowed
        if allowed:
            return
        self.counters["throttled"] += 1
        if self.peer_rates.refused(str(peer)) == 1:
            log.info("directory requests refused peer=%s reason=rate", peer)
        raise StreamError("requests come too often")

    def _answer(self, peer: PeerId, request: Message) -> Message | None:
        kind = request.kind if request.kind in messages.KINDS else "other"  # strangers name what they like
        self.counters[f"answered_{kind}"] += 1
        if request.kind == messages.PING:
            return Message(kind=messages.PING)
        if not request.key:
            raise StreamError("a request without a key")
        if request.kind == messages.ADD_PROVIDER:
            for provider in request.providers:
                addresses = self.usable(provider.addresses)
                if provider.peer == peer and addresses:
                    self._take_provider(request.key, Contact(peer, addresses))
            return None
        if request.kind not in (messages.FIND_NODE, messages.GET_PROVIDERS, messages.GET_VALUE):
            raise StreamError(f"a request of kind {request.kind}, which is not served")
        closest = [contact for contact in self.table.closest(place_of(request.key)) if contact.peer != peer]
        found = self._providers_of(request.key) if request.kind == messages.GET_PROVIDERS else []
        return Message(kind=request.kind, key=request.key, closer=tuple(closest), providers=tuple(found))

    def _providers_of(self, key: bytes) -> list[Contact]:
        """Return who provides a key, this node among them: in a network of one nobody else could say so."""
        own = [Contact(self._network.peer_id, self.own_addresses)] if key in self.provided else []
        return own + self.providers.get(key)

    def _take_provider(self, key: bytes, contact: Contact) -> None:
        if not self.providers.add(key, contact, self._seen_group(contact), self._seen_networks(contact)):
            self.counters["refused"] += 1
            log.info("provider record refused reason=limit")

    def _seen_group(self, contact: Contact) -> str | None:
        """Return the group of where a peer comes from: what it says of its address is free, and may be a relay's."""
        seen = self._network.connection_address(contact.peer)
        if seen is None or is_relayed(seen) or not is_public(seen):
            return self.group_of(contact.addresses)
        return self._network.group_of(seen)

    def _seen_networks(self, contact: Contact) -> list[str]:
        """Return the /16 or /32 and the /24 or /48 where a peer is seen. In a private range it is the host alone."""
        seen = self._network.connection_address(contact.peer)
        ip = ip_of(seen) if seen is not None else None
        if ip is None or ip.is_loopback:
            return []
        return [wide_prefix_of(ip), prefix_of(ip)] if class_of_ip(ip) == PUBLIC else [str(ip)]

    def _notice(self, peer: PeerId) -> None:
        """Look later at a peer that may be a server, or at one that has moved."""
        if (peer in self.table and not self._has_moved(peer)) or peer in self._seen_strangers:
            return
        try:
            self._strangers.send_nowait(peer)
            self._seen_strangers.add(peer)
        except trio.WouldBlock:
            self.counters["overlooked"] += 1

    def _has_moved(self, peer: PeerId) -> bool:
        """Return whether a peer that is in the table is seen in another network than it is said to be in."""
        seen, known = self._network.connection_address(peer), self.table.get(peer)
        if known is None or seen is None or is_relayed(seen) or not is_public(seen):
            return False
        ip = ip_of(seen)
        said = {other for address in known.addresses if (other := ip_of(address)) is not None}
        prefixes = {prefix_of(other) for other in said if ip is not None and other.version == ip.version}
        if ip is None or not prefixes or prefix_of(ip) in prefixes:
            return False
        if self._moved.get(peer, -_LOOK_AGAIN_S) > trio.current_time() - _LOOK_AGAIN_S:
            return False  # one that has two ways out is looked at now and then only
        if len(self._moved) >= _MAX_STRANGERS:
            self._moved.clear()
        self._moved[peer] = trio.current_time()
        return True

    async def look_at_strangers(self) -> None:
        """Ask those who asked this node whether they are servers; keep those that are and answer."""
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
            await self.ask(Contact(peer, addresses), Message(kind=messages.FIND_NODE, key=peer.multihash))

    def _believable(self, addresses: Iterable[Multiaddr], observed: Multiaddr) -> tuple[Multiaddr, ...]:
        """Return those of a peer's claims that could be true: nobody may send others to a stranger's door."""
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
    """Return in a word why a peer did not answer."""
    if isinstance(exc, trio.TooSlowError):
        return "timeout"
    return "unreachable" if isinstance(exc, PeerUnreachableError) else "broken"
