"""The open transport: dials peers, reuses connections, and hands inbound streams to protocol handlers."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import trio
from libp2p.abc import INetStream, IRawConnection, ITransport
from libp2p.crypto.keys import KeyPair
from libp2p.custom_types import TProtocol
from libp2p.network.connection.swarm_connection import SwarmConn
from libp2p.tools.anyio_service import background_trio_service
from multiaddr import Multiaddr

from plasm_core.errors import PeerUnreachableError, StreamError
from plasm_core.plugins.interfaces import Network, Stream, StreamHandler
from plasm_core.records.peer import PeerId
from plasm_transport_libp2p.address_book import MAX_ADDRESSES, AddressBook
from plasm_transport_libp2p.addresses import AddressGroups, expand, ip_of, is_relayed, kind_of, parse
from plasm_transport_libp2p.circuit_relay.circuit import CircuitTransport
from plasm_transport_libp2p.dcutr.hole_punching import HolePuncher
from plasm_transport_libp2p.host import Libp2pHost
from plasm_transport_libp2p.host_resources import HostResources
from plasm_transport_libp2p.identity import from_libp2p, to_libp2p
from plasm_transport_libp2p.limits import ConnectionLimits
from plasm_transport_libp2p.negotiation import NegotiationError
from plasm_transport_libp2p.stream import Libp2pStream
from plasm_transport_libp2p.swarm import Libp2pSwarm, remote_of

log = logging.getLogger(__name__)

# Addresses are dialled one after the other with this head start (RFC 8305, "Happy Eyeballs", suggests 250 ms).
_STAGGER_S = 0.15
_CLOSE_S = 3.0
_MAX_DIALLED = 4096
_ORDER = {"tcp": 0, "quic": 1, "relay": 2}
_ROUTERS_REMEMBER_S = 900.0  # beyond the 2 and 5 minutes that NATs keep UDP mappings (RFC 4787, section 4.3)


class Libp2pNetwork(Network):
    """One libp2p host: its connections, the protocols it serves, and where it last dialled."""

    def __init__(self, host: Libp2pHost, swarm: Libp2pSwarm, limits: ConnectionLimits) -> None:
        self._host = host
        self._swarm = swarm
        self._limits = limits
        self._dial_locks: dict[str, trio.Lock] = {}
        self._spoken: dict[Any, set[str]] = {}
        self._dialled: OrderedDict[str, float] = OrderedDict()
        self.book = AddressBook()
        self._hole_puncher = HolePuncher(self)
        self.circuits = CircuitTransport(self, accept=self._accept, dialled=self._hole_puncher.serve)
        swarm.transport_manager.add_transport(self.circuits)

    @property
    def host(self) -> Libp2pHost:
        """py-libp2p's host, for tests and for protocols that need its streams."""
        return self._host

    @property
    def peer_id(self) -> PeerId:
        """The identity of this host."""
        return from_libp2p(self._swarm.self_id)

    @property
    def addresses(self) -> tuple[str, ...]:
        return tuple(f"{item}/p2p/{self.peer_id}" for item in self.listening())

    @property
    def connected(self) -> tuple[PeerId, ...]:
        """The peers with at least one connection."""
        return tuple(from_libp2p(peer) for peer, conns in self._swarm.connections.items() if conns)

    @property
    def metrics(self) -> Mapping[str, float]:
        connections = self._swarm.get_connections()
        return {
            "connections_open": len(connections),
            "streams_open": sum(len(conn.get_streams()) for conn in connections),
            **self._swarm.counters.series,
        }

    def listening(self) -> list[Multiaddr]:
        """Return the listening addresses; `0.0.0.0` and `::` as one address for each network interface."""
        listening = [address for item in self._swarm.listeners.values() for address in item.get_addrs()]
        return [item for address in listening for item in expand(address)]

    def remote_address(self, stream: Stream) -> Multiaddr | None:
        """Return the remote address of the connection that carries a stream, None if it is not known."""
        if isinstance(stream, Libp2pStream):
            return next(iter(stream.connection.get_transport_addresses()), None)
        conns = self._swarm.connections.get(to_libp2p(stream.remote_peer), []) if stream.remote_peer else []
        addresses = [address for conn in conns for address in conn.get_transport_addresses()]
        return addresses[0] if addresses else None

    def was_dialled_by_peer(self, stream: Stream) -> bool:
        """Return whether a stream is on an inbound connection."""
        return isinstance(stream, Libp2pStream) and not stream.connection.is_initiator

    def handle(self, protocol: str, handler: StreamHandler) -> None:
        """Serve a protocol from now on: `handler` is called with each inbound stream."""

        async def serve(stream: INetStream) -> None:
            await self._serve(stream, handler)

        self._host.set_stream_handler(TProtocol(protocol), serve)

    def unhandle(self, protocol: str) -> None:
        """Stop serving a protocol. Open streams continue."""
        self._host.remove_stream_handler(TProtocol(protocol))

    @property
    def protocols(self) -> tuple[str, ...]:
        """The ids of the protocols served now."""
        return tuple(str(name) for name in self._host.multiselect.handlers)

    async def _serve(self, stream: INetStream, handler: StreamHandler) -> None:
        served = self._wrap(stream)
        try:
            await handler(served)
        except (StreamError, trio.TooSlowError) as exc:
            log.debug("stream broken protocol=%s reason=%s", stream.get_protocol(), exc)
            await served.abort()
        except Exception:
            log.warning("a stream's handler failed protocol=%s", stream.get_protocol(), exc_info=True)
            await served.abort()
        finally:
            await served.aclose()

    def _wrap(self, stream: INetStream, *, proposing: str | None = None) -> Libp2pStream:
        peer = from_libp2p(stream.muxed_conn.peer_id)
        group = self._swarm.groups.of(remote_of(stream.muxed_conn))
        return Libp2pStream(stream, peer, group, proposing=proposing)

    def group_of(self, address: Multiaddr) -> str:
        """Return the keyed hash of an address' /24 or /48, under which quotas count it."""
        ip = ip_of(address)
        return self._swarm.groups.of((str(ip), 0) if ip is not None else None)

    async def dial(self, address: str, protocol: str) -> Libp2pStream:
        where, who = parse(address)
        if where is not None and kind_of(where) is None:
            raise PeerUnreachableError(f"cannot dial {address}: only TCP, QUIC and circuits are spoken here")
        known = self.book.addresses(who) if who is not None else ()
        return await self._dial(address, where, who, known, protocol)

    async def _dial(
        self,
        name: str,
        where: Multiaddr | None,
        who: PeerId | None,
        known: Sequence[Multiaddr],
        protocol: str,
    ) -> Libp2pStream:
        reused = self._connection(where, who)
        if reused is not None:
            try:
                return await self._open(reused, protocol)
            except PeerUnreachableError:
                if self._is_usable(reused):
                    raise
        lock = self._dial_locks.setdefault(name, trio.Lock())
        try:
            async with lock:
                conn = self._connection(where, who) or await self._connect(where, who, known)
        finally:
            if not lock.statistics().tasks_waiting and self._dial_locks.get(name) is lock:
                del self._dial_locks[name]
        return await self._open(conn, protocol)

    def _is_usable(self, conn: SwarmConn) -> bool:
        return not conn.is_closed and conn.muxed_conn.is_established

    async def dial_peer(self, peer: PeerId, addresses: Sequence[Multiaddr], protocol: str) -> Libp2pStream:
        """Open a stream to a peer that is said to be at some addresses. Raises: `PeerUnreachableError`."""
        # The lock is per set of addresses: a dial to false ones must not delay a caller that knows the true ones.
        name = " ".join([f"/p2p/{peer}", *map(str, addresses)])
        return await self._dial(name, None, peer, addresses, protocol)

    def connection_address(self, peer: PeerId) -> Multiaddr | None:
        """Return the remote address of a peer's latest connection, a direct one if there is any; None without one."""
        conns = self._swarm.connections.get(to_libp2p(peer), [])
        addresses = [address for conn in reversed(conns) for address in _at(conn)]
        return min(addresses, key=is_relayed, default=None)

    def is_connected_directly(self, peer: PeerId) -> bool:
        """Return whether there is a connection to a peer that goes through no relay."""
        conn = self._connection(None, peer)
        return conn is not None and not any(map(is_relayed, _at(conn)))

    async def dial_connected(self, peer: PeerId, protocol: str) -> Libp2pStream:
        """Open a stream on an open connection that goes through no relay. Raises: `PeerUnreachableError`."""
        conn = self._connection(None, peer)
        if conn is None or any(map(is_relayed, _at(conn))):
            raise PeerUnreachableError(f"there is no connection to {peer}")
        return await self._open(conn, protocol)

    async def _accept(self, raw: IRawConnection, address: Multiaddr) -> None:
        """Serve an inbound connection through a relay until it ends, and try hole punching meanwhile."""
        await self._swarm.accept(raw, address, self._hole_puncher.propose)

    async def open_on(self, conn: SwarmConn, protocol: str) -> Libp2pStream:
        """Open a stream on a connection. Raises: `PeerUnreachableError`."""
        return await self._open(conn, protocol)

    async def connect_directly(self, where: Multiaddr, who: PeerId) -> None:
        """Dial a peer directly, unless there is a direct connection. Raises: `PeerUnreachableError`."""
        if not self.is_connected_directly(who):
            await self._connect_to(where, who)

    def send_datagram(self, where: Multiaddr, data: bytes) -> None:
        """Send one datagram from the UDP socket that QUIC dials from, which opens a NAT mapping to that address."""
        transport: Any = self._swarm.transport_manager.transport_for_dialing(where)
        if transport is not None:
            self._note_dial(where)
            transport.send_datagram(where, data)

    def _connection(self, where: Multiaddr | None, who: PeerId | None) -> SwarmConn | None:
        """Return an open connection to a peer, or to an address if no peer is named; a direct one first."""
        if who is not None:
            candidates = self._swarm.connections.get(to_libp2p(who), [])
        else:
            candidates = [conn for conns in self._swarm.connections.values() for conn in conns]
        for conn in sorted(candidates, key=lambda item: any(map(is_relayed, _at(item)))):
            at = next(iter(_at(conn)), None)
            # A direct connection serves a caller that named a relayed address, too.
            fits = where is None or is_relayed(where) or (at is not None and kind_of(at) == kind_of(where))
            if who is None:
                fits = at == where
            if fits and isinstance(conn, SwarmConn) and self._is_usable(conn):
                return conn
        return None

    async def _connect(
        self, where: Multiaddr | None, who: PeerId | None, known: Sequence[Multiaddr]
    ) -> SwarmConn:
        if where is not None:
            return await self._connect_to(where, who)
        if who is None:
            raise PeerUnreachableError("the address names neither a host nor a peer")
        if not known:
            raise PeerUnreachableError(f"no address of {who} is known")
        ordered = sorted(known[:MAX_ADDRESSES], key=lambda item: _ORDER.get(kind_of(item) or "", 3))
        return await _first([partial(self._connect_to, item, who) for item in ordered], who)

    def contacted(self, carrier: str) -> set[str]:
        """Return the IP addresses to which this host has sent packets recently, so that its NAT may admit packets
        from them. Hosts with inbound connections over `carrier` that were never dialled are left out: no NAT
        mapping explains those connections.
        """
        known = {
            str(ip_of(item))
            for conns in self._swarm.connections.values()
            for conn in conns
            for item in _at(conn)
            if _is_ours(conn) or kind_of(item) != carrier or str(ip_of(item)) in self._dialled
        }
        return known | self.dialled()

    def dialled(self) -> set[str]:
        """Return the IP addresses dialled in the last 15 minutes."""
        since = trio.current_time() - _ROUTERS_REMEMBER_S
        return {ip for ip, at in self._dialled.items() if at > since}

    def forget_dialled(self, before: float) -> None:
        """Forget the dials before a moment of trio's clock: the NAT has a new address, and no mappings from before."""
        self._dialled = OrderedDict((ip, at) for ip, at in self._dialled.items() if at >= before)

    def _note_dial(self, where: Multiaddr) -> None:
        ip = ip_of(where)
        if ip is not None:
            self._dialled.pop(str(ip), None)
            self._dialled[str(ip)] = trio.current_time()
            while len(self._dialled) > _MAX_DIALLED:
                self._dialled.popitem(last=False)

    async def try_dial(self, where: Multiaddr, peer: PeerId, talk: Callable[[Any], Awaitable[None]]) -> None:
        """Dial a peer at an address from a fresh socket, call `talk` with the connection, and close it.

        Raises: `PeerUnreachableError`.
        """
        self._note_dial(where)
        await self._swarm.try_dial(where, to_libp2p(peer), talk)

    async def _connect_to(self, where: Multiaddr, who: PeerId | None) -> SwarmConn:
        self._note_dial(where)
        conn = await self._swarm.connect(where, to_libp2p(who) if who else None)
        self.book.learn(from_libp2p(conn.muxed_conn.peer_id), [where])
        return conn

    async def _open(self, conn: SwarmConn, protocol: str) -> Libp2pStream:
        spoken = self._spoken.setdefault(conn, set())
        for gone in [key for key in self._spoken if key.is_closed]:
            del self._spoken[gone]
        try:
            with trio.fail_after(self._limits.handshake_timeout_s):
                stream = self._wrap(await conn.new_stream(), proposing=protocol)
                if protocol in spoken:
                    return stream
                try:
                    await stream.confirm()
                except BaseException:
                    await stream.abort()
                    raise
        except NegotiationError as exc:
            raise PeerUnreachableError(str(exc)) from exc
        except trio.TooSlowError as exc:
            raise PeerUnreachableError("the peer does not answer") from exc
        except Exception as exc:
            raise PeerUnreachableError(f"cannot open a stream: {exc}") from exc
        spoken.add(protocol)
        return stream


def _at(conn: Any) -> list[Multiaddr]:
    """Return the remote addresses of a connection."""
    addresses: list[Multiaddr] = conn.get_transport_addresses()
    return addresses


def _is_ours(conn: Any) -> bool:
    """Return whether a connection is outbound."""
    return bool(conn.muxed_conn.is_initiator)


async def _first(attempts: Sequence[Callable[[], Awaitable[SwarmConn]]], who: PeerId) -> SwarmConn:
    """Start attempts one after the other, return the first success and cancel the rest. Raises: `PeerUnreachableError`."""
    won: list[SwarmConn] = []
    reasons: list[str] = []
    async with trio.open_nursery() as nursery:

        async def attempt(run: Callable[[], Awaitable[SwarmConn]], failed: trio.Event) -> None:
            try:
                won.append(await run())
                nursery.cancel_scope.cancel()
            except PeerUnreachableError as exc:
                reasons.append(str(exc))
                failed.set()

        for run in attempts:
            failed = trio.Event()
            nursery.start_soon(attempt, run, failed)
            with trio.move_on_after(_STAGGER_S):
                await failed.wait()
    if not won:
        raise PeerUnreachableError(f"cannot reach {who}: {'; '.join(reasons)}")
    return won[0]


@asynccontextmanager
async def open_network(
    keys: KeyPair,
    transports: list[ITransport],
    listen: Sequence[Multiaddr],
    limits: ConnectionLimits,
    groups: AddressGroups | None = None,
    shares: HostResources | None = None,
) -> AsyncIterator[Libp2pNetwork]:
    """Run a host while the context lasts. Raises: `TransportError` if it cannot listen on every address."""
    swarm = Libp2pSwarm(keys, transports, limits, shares)
    swarm.groups = groups or swarm.groups
    host = Libp2pHost(swarm, limits)
    network = Libp2pNetwork(host, swarm, limits)
    failure: BaseException | None = None
    async with background_trio_service(swarm):
        await swarm.event_background_nursery_created.wait()
        try:
            for address in listen:
                await swarm.listen_on(address)
            yield network
        except BaseException as exc:
            # Raised below: the service's nursery would wrap the caller's exception in a group.
            failure = exc
        finally:
            with trio.CancelScope(shield=True), trio.move_on_after(_CLOSE_S):
                await host.close()
    if failure is not None:
        raise failure
