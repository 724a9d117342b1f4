"""py-libp2p as we use it: its swarm and its host, without their defects.

Each of these was seen in the version below. The tests in tests/test_workarounds.py say for each whether it is
still so; when the library moves, this module is to be read again.

- An accepted connection holds a slot and a task for ever: `Swarm._handle_inbound_connection`.
- An exception in a stream's handler ends the whole host: `Host._swarm_stream_handler`.
- Every dial waits 250 ms, tries again with growing pauses, and remembers failures for a minute: `Swarm.connect`.
- Lengths announced before any handshake are believed: negotiation.py.
- The muxer's windows, ends, heartbeats and cancellation: yamux.
- Ports are shared with strangers, peers on IPv6 have no address, messages in many pieces are lost: tcp.py.
- Each connection is asked to identify itself, and what it says of addresses is kept: `Host._schedule_identify`,
  identify.py.
- Closing ends one connection after the other, a tenth of a second each: `Swarm.close`.
- The connection manager dials peers of its own accord and keeps a record of each that left: `Swarm.run`.
- A connection that has ended is kept by what it is tied to, until a full collection of garbage: `_untie`.
- Plaintext, secio and mplex are spoken unless each was left out: `Upgrader` knows one of each.
"""

from __future__ import annotations

import importlib.metadata
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import trio
from libp2p.abc import IMuxedConn, INetConn, INetStream, IRawConnection, ISecureConn, ITransport
from libp2p.connection_types import ConnectionType
from libp2p.crypto.keys import KeyPair
from libp2p.crypto.x25519 import create_new_key_pair as create_noise_key_pair
from libp2p.custom_types import TProtocol
from libp2p.host.basic_host import BasicHost
from libp2p.io.abc import ReadWriteCloser
from libp2p.network import swarm as library
from libp2p.network.config import ConnectionConfig
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.network.connection.swarm_connection import SwarmConn
from libp2p.network.exceptions import SwarmException
from libp2p.peer.id import ID
from libp2p.peer.peerstore import PeerStore
from libp2p.security.noise.transport import Transport as Noise
from libp2p.transport.upgrader import TransportUpgrader
from multiaddr import Multiaddr

from plasm_core.errors import PeerUnreachableError, TransportError
from plasm_transport_libp2p import negotiation
from plasm_transport_libp2p.addresses import ip_of, is_relayed
from plasm_transport_libp2p.identity import from_libp2p
from plasm_transport_libp2p.limits import Limits, Slots
from plasm_transport_libp2p.shares import Share, Shares
from plasm_transport_libp2p.yamux.connection import PROTOCOL as YAMUX
from plasm_transport_libp2p.yamux.connection import Yamux

log = logging.getLogger(__name__)

LIBRARY_VERSION = "0.8.1"
NOISE = "/noise"

_HANDSHAKE_S = 1e-3
"""What a message of a Noise handshake costs the loop: two exchanges of keys and a signature in pure Python and C."""
_JUNK_COSTS = 4.0
"""A stream on which no protocol was agreed, in useless frames."""


def check_version() -> None:
    """Raise `TransportError` unless the library is the version that this module was written against."""
    found = importlib.metadata.version("libp2p")
    if found != LIBRARY_VERSION:
        raise TransportError(
            f"libp2p {found} is installed, but this needs {LIBRARY_VERSION}",
            hint="install it with: pip install 'phase-plasm[libp2p]'",
        )


class Upgrader(TransportUpgrader):
    """Secures raw connections with Noise and divides them with yamux, and knows nothing else."""

    def __init__(self, keys: KeyPair, limits: Limits, shares: Shares | None = None) -> None:
        super().__init__({}, {})
        self._shares = shares or Shares()
        self._noise = Noise(keys, noise_privkey=create_noise_key_pair().private_key)
        self._limits = limits

    async def upgrade_security(
        self, raw_conn: IRawConnection, is_initiator: bool, peer_id: ID | None = None
    ) -> ISecureConn:
        """Prove both identities. With a peer given, it must be that one.

        Raises: `SwarmException`, also if the peer's key is not Ed25519 or is one that proves nothing.
        """
        raw_conn = _Paced(raw_conn, self._shares)
        try:
            return await self._secured(raw_conn, is_initiator, peer_id)
        finally:
            raw_conn.is_shaking_hands = False

    async def _secured(
        self, raw_conn: IRawConnection, is_initiator: bool, peer_id: ID | None = None
    ) -> ISecureConn:
        if not is_initiator:
            await negotiation.answer(raw_conn, (NOISE,))
            return _with_identity(await self._noise.secure_inbound(raw_conn))
        await raw_conn.write(negotiation.proposal(NOISE))
        await negotiation.confirm(raw_conn, NOISE)
        # Without a peer, the handshake tells who is there.
        secured = _with_identity(await self._noise.secure_outbound(raw_conn, peer_id))  # type: ignore[arg-type]
        if peer_id is not None and secured.get_remote_peer() != peer_id:
            raise SwarmException(f"the peer is {secured.get_remote_peer()}, not {peer_id}")
        return secured

    async def upgrade_connection(self, conn: ISecureConn, peer_id: ID) -> IMuxedConn:
        """Agree on yamux."""
        if conn.is_initiator:
            await conn.write(negotiation.proposal(YAMUX))
            await negotiation.confirm(conn, YAMUX)
        else:
            await negotiation.answer(conn, (YAMUX,))
        return Yamux(conn, peer_id, self._limits, self._shares)


class _Paced(IRawConnection):
    """A connection whose handshake takes turns with what else peers ask of the loop."""

    def __init__(self, raw: IRawConnection, shares: Shares) -> None:
        self._raw = raw
        self._share = Share(shares, raw.get_remote_address())
        self.is_initiator = raw.is_initiator
        self.is_shaking_hands = True

    async def read(self, n: int | None = None) -> bytes:
        data = await self._raw.read(n)
        # A message of Noise is read in two: its length, and then what has to be worked off.
        if self.is_shaking_hands and len(data) > 2:
            await self._share.turn(self, _HANDSHAKE_S)
        return data

    async def write(self, data: bytes) -> None:
        await self._raw.write(data)

    async def close(self) -> None:
        await self._raw.close()

    def get_remote_address(self) -> tuple[str, int] | None:
        return self._raw.get_remote_address()

    def get_transport_addresses(self) -> list[Multiaddr]:
        return self._raw.get_transport_addresses()

    def get_connection_type(self) -> ConnectionType:
        return self._raw.get_connection_type()


def _with_identity(secured: ISecureConn) -> ISecureConn:
    """Return the connection if its peer has an identity. Raises: `SwarmException`.

    Under a key of small order a handshake's signature says nothing: anyone could have made it.
    """
    try:
        from_libp2p(secured.get_remote_peer())
    except ValueError as exc:
        raise SwarmException(f"the peer has no identity: {exc}") from exc
    return secured


class Swarm(library.Swarm):
    """All connections of a host."""

    def __init__(
        self, keys: KeyPair, transports: list[ITransport], limits: Limits, shares: Shares | None = None
    ) -> None:
        peer_id = ID.from_pubkey(keys.public_key)
        peers = PeerStore()
        peers.add_key_pair(peer_id, keys)
        # Its connection manager is not run; the numbers only have to be in order.
        config = ConnectionConfig(
            max_connections=limits.max_connections,
            high_watermark=limits.max_connections,
            low_watermark=0,
            min_connections=0,
            max_connections_per_peer=limits.max_connections_per_peer,
        )
        self.shares = shares or Shares()
        upgrader = Upgrader(keys, limits, self.shares)
        super().__init__(peer_id, peers, upgrader, transports, connection_config=config)
        self.notifees = []
        self.groups = self.shares.groups
        self.slots = Slots(limits)
        self.counters = self.shares.counters
        self._used: dict[INetConn, float] = {}
        self._opened: dict[INetConn, tuple[float, str]] = {}
        self._limits = limits

    async def run(self) -> None:
        """Keep the connections' tasks until the service is stopped, then end them all."""
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
        """Close connections that nobody has used for a while: the directory opens more than it needs."""
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
        """Take note that the stream's connection is in use."""
        self._note_use(stream)

    async def notify_closed_stream(self, stream: INetStream) -> None:
        """Take note that the stream's connection was in use."""
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
        """Serve a connection from its handshake to its end, if there is a slot for it."""
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
                log.info("connection ended reason=another_group_found_no_place")
                self.counters.add("connections_refused_total", reason="gave_way")
        except Exception as exc:  # a stranger's handshake fails in as many ways as there are strangers
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
        """Serve a connection that came otherwise than to a listener, to its end.

        `established` runs beside it, once the peer has proved its identity.
        """
        await self._handle_inbound_connection(raw, address, established)

    async def _muxed(self, accepted: ReadWriteCloser) -> IMuxedConn:
        if isinstance(accepted, IMuxedConn):
            return accepted
        raw = accepted if isinstance(accepted, IRawConnection) else RawConnection(accepted, False)
        secured = await self.upgrader.upgrade_security(raw, False)
        return await self.upgrader.upgrade_connection(secured, secured.get_remote_peer())

    async def connect(self, address: Multiaddr, peer: ID | None) -> SwarmConn:
        """Dial once, at one address. Raises: `PeerUnreachableError`."""
        transport = self.transport_manager.transport_for_dialing(address)
        if transport is None:
            raise PeerUnreachableError(f"there is no transport for {address}")
        if len(self.get_connections()) >= 2 * self._limits.max_connections:
            raise PeerUnreachableError("there are too many connections already")
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
        """Connect to a peer at an address from a fresh socket, talk on the connection, and hang up.

        The swarm keeps no account of it. Raises: `PeerUnreachableError`, also if talking fails.
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
        from_libp2p(muxed_conn.peer_id)  # a key that is not Ed25519 has no place here
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
                raise SwarmException("the connection ended as it began")
        except BaseException:
            with trio.CancelScope(shield=True):
                await conn.close()
            raise
        self._opened[conn] = trio.current_time(), direction
        self.counters.add("connections_total", direction=direction)
        await self.notify_connected(conn)
        return conn

    async def _guard(self, task: Callable[[], Awaitable[None]]) -> None:
        """Run a connection's task; its failure is not the swarm's."""
        try:
            await task()
        except Exception:
            log.warning("a connection's task failed", exc_info=True)

    async def close(self) -> None:
        """Stop listening, and end all connections at once: each takes its time to say goodbye."""
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
        """Tell whoever asked to be told."""
        self._used.pop(conn, None)
        opened = self._opened.pop(conn, None)
        if opened is not None:
            since, direction = opened
            self.counters.add("connections_closed_total", direction=direction)
            self.counters.add("connection_seconds_total", trio.current_time() - since, direction=direction)
        await self._notify("disconnected", conn)
        _untie(conn)

    async def dial_peer(self, peer_id: ID) -> list[INetConn]:
        """Return the connections that there are. Raises: `SwarmException` if there are none."""
        found = [conn for conn in self.get_connections(peer_id) if not conn.is_closed]
        if not found:
            raise SwarmException(f"there is no connection to {peer_id}")
        return found


class Host(BasicHost):
    """Negotiates protocols on the swarm's streams. It asks nobody to identify himself."""

    def __init__(self, swarm: Swarm, limits: Limits) -> None:
        super().__init__(swarm, disable_identify_address_discovery=True)
        self.multiselect.handlers.clear()
        swarm.notifees.clear()
        self._limits = limits

    def _schedule_identify(self, peer_id: ID, *, reason: str) -> None:
        pass

    async def _swarm_stream_handler(self, net_stream: INetStream) -> None:
        """Find out what an inbound stream is for and serve it. Whatever fails breaks this stream alone."""
        try:
            with trio.fail_after(self._limits.handshake_timeout_s):
                spoken = [str(name) for name in self.multiselect.handlers]
                protocol = TProtocol(await negotiation.answer(net_stream, spoken))
            handler = self.multiselect.handlers.get(protocol)
            if handler is None:  # withdrawn meanwhile
                await net_stream.reset()
                return
            net_stream.set_protocol(protocol)
            await handler(net_stream)
        except Exception as exc:
            log.debug("stream broken protocol=%s reason=%r", net_stream.get_protocol(), exc)
            await net_stream.reset()
            if net_stream.get_protocol() is None:
                _blame(net_stream)


def _blame(stream: INetStream) -> None:
    """Count a stream on which nothing was agreed against its connection."""
    conn: Any = stream.muxed_conn
    if hasattr(conn, "blame"):
        conn.blame(_JUNK_COSTS)


def remote_of(connection: Any) -> tuple[str, int] | None:
    """Return the host and port at the other end of a connection, or of the relay if it is a circuit.

    None if they are not known. Those that a relay brings are counted with the relay's network: what they are
    allowed must depend on neither other relays' clients nor how many keys somebody makes up behind one.
    """
    try:
        found = connection.get_remote_address()
    except Exception:  # not every muxed connection has the method
        found = None
    if isinstance(found, tuple):
        return found
    try:
        addresses = connection.get_transport_addresses()
    except Exception:  # nor this one
        return None
    ip = next((ip_of(address) for address in addresses if is_relayed(address)), None)
    return (str(ip), 0) if ip is not None else None


async def _close(connection: Any) -> None:
    try:
        await connection.close()
    except Exception as exc:
        log.debug("connection not closed cleanly reason=%r", exc)


def _untie(conn: INetConn) -> None:
    """Part a connection that has ended from what carried it: each knows the other."""
    muxed: Any = conn.muxed_conn
    muxed.on_close = None
    muxed.remove_stream = None  # as the library names it, which never calls it


async def _while_running(muxed: IMuxedConn, talk: Callable[[IMuxedConn], Awaitable[None]]) -> None:
    """Run a connection for as long as it is talked on. Raises: what talking raises."""
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
    """Return what went wrong at the bottom of a chain of the library's errors."""
    while exc.__cause__ is not None:
        exc = exc.__cause__
    return str(exc) or type(exc).__name__
