"""py-libp2p's swarm with its defects worked around. Its host is in host.py, its upgrader in connection_upgrader.py.

Each defect was reproduced in `LIBRARY_VERSION`. tests/test_libp2p_swarm.py has a test for each that fails when
the library's code changes; review this module then.

- An accepted connection never releases its slot and task: `Libp2pSwarm._handle_inbound_connection`.
- An exception in a stream's handler ends the whole host: `host.Libp2pHost._swarm_stream_handler`.
- Every dial waits 250 ms, tries again with growing pauses, and remembers failures for a minute:
  `Libp2pSwarm.connect`.
- Memory is allocated for lengths announced before any handshake: negotiation.py.
- The muxer's windows, ends, heartbeats and cancellation: yamux.
- Ports are shared with strangers, peers on IPv6 have no address, messages in many pieces are lost: tcp.py.
- Each connection is asked to identify itself, and the addresses that it reports are kept:
  `host.Libp2pHost._schedule_identify`, identify.py.
- Closing ends the connections one after the other, a tenth of a second each: `Libp2pSwarm.close`.
- The connection manager dials peers without being asked, and keeps a record of each peer that left:
  `Libp2pSwarm.run`.
- An ended connection is kept alive by reference cycles until a full garbage collection: `_untie`.
- Plaintext, secio and mplex are offered unless each is disabled: `connection_upgrader` knows one of each.
"""

from __future__ import annotations

import importlib.metadata
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import trio
from libp2p.abc import IMuxedConn, INetConn, INetStream, IRawConnection, ITransport
from libp2p.crypto.keys import KeyPair
from libp2p.io.abc import ReadWriteCloser
from libp2p.network import swarm as library
from libp2p.network.config import ConnectionConfig
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.network.connection.swarm_connection import SwarmConn
from libp2p.network.exceptions import SwarmException
from libp2p.peer.id import ID
from libp2p.peer.peerstore import PeerStore
from multiaddr import Multiaddr

from plasm_core.errors import PeerUnreachableError, TransportError
from plasm_transport_libp2p.addresses import ip_of, is_relayed
from plasm_transport_libp2p.connection_upgrader import ConnectionUpgrader
from plasm_transport_libp2p.host_resources import HostResources
from plasm_transport_libp2p.identity import from_libp2p
from plasm_transport_libp2p.limits import ConnectionLimits, InboundSlots

log = logging.getLogger(__name__)

LIBRARY_VERSION = "0.8.1"


def check_version() -> None:
    """Raise `TransportError` unless the library is the version that this module was written against."""
    found = importlib.metadata.version("libp2p")
    if found != LIBRARY_VERSION:
        raise TransportError(
            f"libp2p {found} is installed, but this needs {LIBRARY_VERSION}",
            hint="install it with: pip install 'phase-plasm[libp2p]'",
        )


class Libp2pSwarm(library.Swarm):
    """The connections of a host, and the transports that make them."""

    def __init__(
        self,
        keys: KeyPair,
        transports: list[ITransport],
        limits: ConnectionLimits,
        shares: HostResources | None = None,
    ) -> None:
        peer_id = ID.from_pubkey(keys.public_key)
        peers = PeerStore()
        peers.add_key_pair(peer_id, keys)
        # `run` starts no connection manager; the constructor only checks that the numbers are consistent.
        config = ConnectionConfig(
            max_connections=limits.max_connections,
            high_watermark=limits.max_connections,
            low_watermark=0,
            min_connections=0,
            max_connections_per_peer=limits.max_connections_per_peer,
        )
        self.shares = shares or HostResources()
        upgrader = ConnectionUpgrader(keys, limits, self.shares)
        super().__init__(peer_id, peers, upgrader, transports, connection_config=config)
        self.notifees = []
        self.groups = self.shares.groups
        self.slots = InboundSlots(limits)
        self.counters = self.shares.counters
        self._used: dict[INetConn, float] = {}
        self._opened: dict[INetConn, tuple[float, str]] = {}
        self._limits = limits

    async def run(self) -> None:
        """Own the tasks of all connections until the service is stopped, then cancel them."""
        async with trio.open_nursery() as nursery:
            self.background_nursery = nursery
            self.transport_manager.set_background_nursery(nursery)
            self.transport_manager.set_swarm(self)
            self.event_background_nursery_created.set()
            nursery.start_soon(self.shares.turns.run)
            nursery.start_soon(self._close_idle)
            await self.manager.wait_finished()
            nursery.cancel_scope.cancel()

    async def _close_idle(self) -> None:
        """Close connections without streams for `idle_s`: a DHT lookup opens many that are used once."""
        idle_s = self._limits.idle_s
        while True:
            await trio.sleep(idle_s / 4)
            now = trio.current_time()
            self._used = {conn: self._used.get(conn, now) for conn in self.get_connections()}
            for conn, used_at in list(self._used.items()):
                if not conn.get_streams() and now - used_at > idle_s:
                    log.debug("connection closed reason=idle peer=%s", conn.muxed_conn.peer_id)
                    await _close(conn)

    async def notify_opened_stream(self, stream: INetStream) -> None:
        """Restart the idle time of the stream's connection."""
        self._note_use(stream)

    async def notify_closed_stream(self, stream: INetStream) -> None:
        """Restart the idle time of the stream's connection."""
        self._note_use(stream)

    def _note_use(self, stream: INetStream) -> None:
        conn = getattr(stream, "swarm_conn", None)
        if conn is not None and not conn.is_closed:
            self._used[conn] = trio.current_time()

    async def listen_on(self, address: Multiaddr) -> None:
        """Listen on one address. Raises: `TransportError`."""
        transport = self.transport_manager.transport_for_listening(address)
        if transport is None:
            raise TransportError(f"cannot listen on {address}: there is no transport for it")

        async def handler(accepted: ReadWriteCloser) -> None:
            await self._handle_inbound_connection(accepted, address)

        listener: Any = transport.create_listener(handler)
        listener.background_nursery = self.background_nursery
        try:
            await listener.listen(address)
        except Exception as exc:
            raise TransportError(f"cannot listen on {address}: {exc}") from exc
        for bound in listener.get_addrs():  # the port asked for may have been 0
            self.listeners[str(bound)] = listener

    async def _handle_inbound_connection(
        self,
        read_write_closer: ReadWriteCloser,
        maddr: Multiaddr,
        established: Callable[[SwarmConn], Awaitable[None]] | None = None,
    ) -> None:
        """Serve an inbound connection from its handshake until it closes, if there is a slot for it."""
        group = self.groups.counted(remote_of(read_write_closer))
        scope = trio.CancelScope()
        slot = self.slots.acquire(group, scope.cancel)
        if slot is None:
            log.info("connection refused reason=limit")
            self.counters.add("connections_refused_total", reason="limit")
            await _close(read_write_closer)
            return
        started = trio.current_time()
        try:
            with scope:
                with trio.fail_after(self._limits.handshake_timeout_s):
                    muxed = await self._muxed(read_write_closer)
                    conn = await self.add_conn(muxed, direction="inbound")
                if established is not None and self.background_nursery is not None:
                    self.background_nursery.start_soon(self._guard, partial(established, conn))
                await conn.event_closed.wait()
            if scope.cancelled_caught:
                log.info("connection ended reason=slot_given_to_another_group")
                self.counters.add("connections_refused_total", reason="gave_way")
        except Exception as exc:  # the errors of handshakes have no common class
            log.debug("connection refused reason=%r duration_s=%.3f", exc, trio.current_time() - started)
            reason = "timeout" if isinstance(exc, trio.TooSlowError) else "handshake"
            self.counters.add("connections_refused_total", reason=reason)
        finally:
            slot.give_back()
            with trio.CancelScope(shield=True), trio.move_on_after(1):
                await _close(read_write_closer)

    async def accept(
        self, raw: IRawConnection, address: Multiaddr, established: Callable[[SwarmConn], Awaitable[None]]
    ) -> None:
        """Serve an inbound connection that no listener accepted, such as a circuit, until it closes.

        `established` is run as a task once the peer has proved its identity.
        """
        await self._handle_inbound_connection(raw, address, established)

    async def _muxed(self, accepted: ReadWriteCloser) -> IMuxedConn:
        if isinstance(accepted, IMuxedConn):
            return accepted
        raw = accepted if isinstance(accepted, IRawConnection) else RawConnection(accepted, False)
        secured = await self.upgrader.upgrade_security(raw, False)
        return await self.upgrader.upgrade_connection(secured, secured.get_remote_peer())

    async def connect(self, address: Multiaddr, peer: ID | None) -> SwarmConn:
        """Dial one address once, without retries. `peer`: the identity that the peer must prove.

        Raises: `PeerUnreachableError`.
        """
        transport = self.transport_manager.transport_for_dialing(address)
        if transport is None:
            raise PeerUnreachableError(f"there is no transport for {address}")
        if len(self.get_connections()) >= 2 * self._limits.max_connections:
            raise PeerUnreachableError("too many connections are open")
        where = Multiaddr(f"{address}/p2p/{peer}") if peer else address
        made: Any = None
        started, result = trio.current_time(), "failed"
        try:
            with trio.fail_after(self._limits.dial_timeout_s):
                made = await transport.dial(where)
                if not isinstance(made, IMuxedConn):
                    secured = await self.upgrader.upgrade_security(made, True, peer)
                    muxed = await self.upgrader.upgrade_connection(secured, secured.get_remote_peer())
                else:
                    muxed = made
                if peer is not None and muxed.peer_id != peer:
                    raise PeerUnreachableError(f"the peer at {address} is {muxed.peer_id}, not {peer}")
                conn = await self.add_conn(muxed, direction="outbound")
                result = "connected"
                return conn
        except BaseException as exc:
            if made is not None:
                with trio.CancelScope(shield=True), trio.move_on_after(1):
                    await _close(made)
            if isinstance(exc, trio.TooSlowError):
                result = "timeout"
                raise PeerUnreachableError(f"no answer from {address}") from exc
            if isinstance(exc, Exception) and not isinstance(exc, PeerUnreachableError):
                raise PeerUnreachableError(f"cannot dial {address}: {_reason(exc)}") from exc
            raise
        finally:
            self.counters.add("dials_total", result=result)
            self.counters.add("dial_seconds_total", trio.current_time() - started, result=result)

    async def try_dial(
        self, address: Multiaddr, peer: ID, talk: Callable[[IMuxedConn], Awaitable[None]]
    ) -> None:
        """Dial a peer at an address from a fresh socket, call `talk` with the connection, and close it.

        The connection is not registered. Raises: `PeerUnreachableError`, also if `talk` raises.
        """
        transport: Any = self.transport_manager.transport_for_dialing(address)
        if transport is None:
            raise PeerUnreachableError(f"there is no transport for {address}")
        where = Multiaddr(f"{address}/p2p/{peer}")
        made: Any = None
        try:
            if hasattr(transport, "try_dial"):
                await transport.try_dial(where, talk)
                return
            made = await transport.dial(where)
            secured = await self.upgrader.upgrade_security(made, True, peer)
            muxed = await self.upgrader.upgrade_connection(secured, peer)
            await _while_running(muxed, talk)
        except Exception as exc:
            raise PeerUnreachableError(_reason(exc)) from exc
        finally:
            if made is not None:
                with trio.CancelScope(shield=True), trio.move_on_after(1):
                    await _close(made)

    async def add_conn(self, muxed_conn: IMuxedConn, direction: str = "unknown") -> SwarmConn:
        """Register a connection whose peer has proved its identity, and run it. Raises: `SwarmException`."""
        from_libp2p(muxed_conn.peer_id)  # raises for a key that is not Ed25519
        conn = SwarmConn(muxed_conn, self, direction=direction)
        connected = self.connections.setdefault(muxed_conn.peer_id, [])
        if len(connected) >= self._limits.max_connections_per_peer or self.background_nursery is None:
            raise SwarmException("the peer has too many connections")
        conn.set_transport_info(muxed_conn.get_transport_addresses(), muxed_conn.get_connection_type())
        connected.append(conn)
        try:
            self.background_nursery.start_soon(self._guard, muxed_conn.start)
            await muxed_conn.event_started.wait()
            self.background_nursery.start_soon(self._guard, conn.start)
            await conn.event_started.wait()
            if not muxed_conn.is_established:
                raise SwarmException("the connection closed during its start")
        except BaseException:
            with trio.CancelScope(shield=True):
                await conn.close()
            raise
        self._opened[conn] = trio.current_time(), direction
        self.counters.add("connections_total", direction=direction)
        await self.notify_connected(conn)
        return conn

    async def _guard(self, task: Callable[[], Awaitable[None]]) -> None:
        """Run a task of one connection. Its exceptions are logged: they must not end the swarm."""
        try:
            await task()
        except Exception:
            log.warning("a connection's task failed", exc_info=True)

    async def close(self) -> None:
        """Stop listening, and close all connections concurrently: each waits up to a second to flush."""
        if self._closing:
            return
        self._closing = True
        for listener in list(self.listeners.values()):
            await _close(listener)
        self.listeners.clear()
        async with trio.open_nursery() as nursery:
            for conn in self.get_connections():
                nursery.start_soon(_close, conn)
        await self.transport_manager.close_all()
        await self.manager.stop()

    async def notify_disconnected(self, conn: INetConn) -> None:
        """Count a closed connection, and notify py-libp2p's notifees."""
        self._used.pop(conn, None)
        opened = self._opened.pop(conn, None)
        if opened is not None:
            since, direction = opened
            self.counters.add("connections_closed_total", direction=direction)
            self.counters.add("connection_seconds_total", trio.current_time() - since, direction=direction)
        await self._notify("disconnected", conn)
        _untie(conn)

    async def dial_peer(self, peer_id: ID) -> list[INetConn]:
        """Return the open connections to a peer; never dial. Raises: `SwarmException` if there are none."""
        found = [conn for conn in self.get_connections(peer_id) if not conn.is_closed]
        if not found:
            raise SwarmException(f"there is no connection to {peer_id}")
        return found


def remote_of(connection: Any) -> tuple[str, int] | None:
    """Return the host and port of the peer, or of the relay with port 0 if it is a circuit; None if not known.

    So quotas count peers behind a relay in the relay's network: keys are free, and one relay's clients must not use
    up the share of another's.
    """
    try:
        found = connection.get_remote_address()
    except Exception:  # not every muxed connection has the method
        found = None
    if isinstance(found, tuple):
        return found
    try:
        addresses = connection.get_transport_addresses()
    except Exception:  # not every connection has this method either
        return None
    ip = next((ip_of(address) for address in addresses if is_relayed(address)), None)
    return (str(ip), 0) if ip is not None else None


async def _close(connection: Any) -> None:
    try:
        await connection.close()
    except Exception as exc:
        log.debug("connection not closed cleanly reason=%r", exc)


def _untie(conn: INetConn) -> None:
    """Break the reference cycle between a closed connection and its muxed connection, so that memory is freed at once."""
    muxed: Any = conn.muxed_conn
    muxed.on_close = None
    muxed.remove_stream = None  # as the library names it, which never calls it


async def _while_running(muxed: IMuxedConn, talk: Callable[[IMuxedConn], Awaitable[None]]) -> None:
    """Run a connection while `talk` does. Raises: what `talk` raises."""
    failure: Exception | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(muxed.start)
        await muxed.event_started.wait()
        try:
            await talk(muxed)
        except Exception as exc:  # raised below: the nursery would wrap it in a group
            failure = exc
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure


def _reason(exc: BaseException) -> str:
    """Return the message of the first cause of a chain of exceptions."""
    while exc.__cause__ is not None:
        exc = exc.__cause__
    return str(exc) or type(exc).__name__
