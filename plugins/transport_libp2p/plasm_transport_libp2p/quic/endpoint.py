"""One UDP socket and its connections: one loop reads a batch, handles it, then sends; one timer serves all.

Batching is what makes it fast: datagrams sent one by one between other work cost aioquic spurious losses.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import trio
from aioquic.quic.packet import QuicErrorCode, QuicProtocolVersion
from libp2p.peer.id import ID

from plasm_transport_libp2p.host_resources import ConnectionResources, HostResources
from plasm_transport_libp2p.quic.address import SocketAddress
from plasm_transport_libp2p.quic.admission import (
    AcceptInitial,
    HandshakeAdmission,
    InboundSlot,
    StatelessReply,
)
from plasm_transport_libp2p.quic.connection import QuicMuxedConnection
from plasm_transport_libp2p.quic.driver import ConnectionDriver
from plasm_transport_libp2p.quic.identity import TlsIdentity
from plasm_transport_libp2p.quic.limits import QuicLimits
from plasm_transport_libp2p.quic.sansio import CONNECTION_ID_BYTES, SansIoConnection, parse_header
from plasm_transport_libp2p.quic.udp import UdpSocket

log = logging.getLogger(__name__)

_DRAIN_S = 0.0015
"""Time limit for reading datagrams in one pass of the loop: one datagram can hold 1,300 frames."""
_MAX_UNSETTLED_PASSES = 3
"""Passes that reach the time limit before their datagrams are answered together: each answer has an ACK."""
_LONG_HEADER = 0x80
_VERSIONS: list[int] = [QuicProtocolVersion.VERSION_1]

ConnectionHandler = Callable[[QuicMuxedConnection], Awaitable[None]]


class Endpoint:
    """Owns a socket, and the connections dialled and accepted on it."""

    def __init__(
        self,
        sock: UdpSocket,
        *,
        identity: TlsIdentity,
        limits: QuicLimits,
        admission: HandshakeAdmission,
        shares: HostResources | None = None,
    ) -> None:
        self._shares = shares or HostResources()
        self.address = sock.address
        self.family = sock.family
        self.handler: ConnectionHandler | None = None
        self._socket = sock
        self._identity = identity
        self._limits = limits
        self._admission = admission
        self._connections: set[ConnectionDriver] = set()
        self._routes: dict[bytes, ConnectionDriver] = {}
        self._inbound: deque[tuple[QuicMuxedConnection, InboundSlot]] = deque()
        self._deadline = float("inf")
        self._waiting = trio.CancelScope()
        self._scope = trio.CancelScope()
        self._closed = trio.Event()
        self._senders: set[ConnectionDriver] = set()
        self._touched: dict[ConnectionDriver, None] = {}
        self._unsettled_passes = 0
        self._senders_added = trio.lowlevel.ParkingLot()

    @property
    def is_open(self) -> bool:
        """Whether new connections can be dialled and accepted."""
        return not self._closed.is_set() and not self._scope.cancel_called

    @property
    def connections(self) -> int:
        """How many connections are open or closing."""
        return len(self._connections)

    async def run(self) -> None:
        """Serve the socket until `close`, or until cancelled, which closes every connection."""
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._flush)
                    await self._receive(nursery)
        finally:
            self._shut_down()

    async def close(self) -> None:
        """Close every connection and the socket."""
        self._scope.cancel()
        await self._closed.wait()

    def _shut_down(self) -> None:
        for connection in list(self._connections):
            connection.abort(QuicErrorCode.NO_ERROR, "the endpoint is closing")
            connection.release()
        self._connections.clear()
        self._routes.clear()
        self._senders.clear()
        for _connection, slot in self._inbound:
            slot.release()
        self._socket.close()
        self._closed.set()

    def dial(self, remote: SocketAddress, expected_peer: ID) -> QuicMuxedConnection:
        """Begin a connection to an address."""
        share = ConnectionResources(self._shares, (remote[0], remote[1]))
        protocol = SansIoConnection(
            configuration=self._identity.configuration(is_client=True), limits=self._limits, share=share
        )
        connection = self._add(protocol, expected_peer, share)
        connection.connect(remote, trio.current_time())
        return connection

    def _add(
        self, protocol: SansIoConnection, expected_peer: ID | None, share: ConnectionResources
    ) -> QuicMuxedConnection:
        connection = QuicMuxedConnection(
            endpoint=self,
            protocol=protocol,
            identity=self._identity,
            limits=self._limits,
            expected_peer=expected_peer,
            share=share,
        )
        self._connections.add(connection)
        self.add_route(protocol.host_cid, connection)
        return connection

    def add_route(self, connection_id: bytes, connection: ConnectionDriver) -> None:
        """Hand packets with this destination connection id to a connection."""
        self._routes[connection_id] = connection
        connection.connection_ids.add(connection_id)

    def remove_route(self, connection_id: bytes, connection: ConnectionDriver) -> None:
        """Stop handing packets with this connection id to a connection."""
        self._routes.pop(connection_id, None)
        connection.connection_ids.discard(connection_id)

    def remove(self, connection: ConnectionDriver) -> None:
        """Drop a connection that has ended, and its routes."""
        self._connections.discard(connection)
        self._senders.discard(connection)
        for connection_id in list(connection.connection_ids):
            self.remove_route(connection_id, connection)
        connection.release()

    def arm(self, at: float) -> None:
        """Wake the loop no later than at this time of trio's clock."""
        if at < self._deadline:
            self._deadline = self._waiting.deadline = at

    async def _receive(self, nursery: trio.Nursery) -> None:
        while True:
            # One scope serves until the timer fires: one for each batch took a tenth of a request's time (measured).
            self._waiting = trio.CancelScope(deadline=self._deadline)
            with self._waiting:
                while True:
                    # the socket may be empty by now, and the received datagrams must be answered
                    if self._touched:
                        await trio.lowlevel.checkpoint()
                    else:
                        await self._socket.wait_readable()
                    self._work(nursery)
            self._work(nursery)

    def _work(self, nursery: trio.Nursery) -> None:
        now = trio.current_time()
        started = time.perf_counter()
        is_empty = self._drain(now)
        if now >= self._deadline:
            self._fire_timers(now, self._touched)
        if is_empty or self._unsettled_passes >= _MAX_UNSETTLED_PASSES:
            touched, self._touched, self._unsettled_passes = self._touched, {}, 0
            for connection in touched:
                self._guard(connection, connection.settle)
        else:
            self._unsettled_passes += 1
        while self._inbound:
            nursery.start_soon(self._serve, *self._inbound.popleft())
        self._shares.turns.charge(time.perf_counter() - started)

    def _drain(self, now: float) -> bool:
        """Take datagrams. Returns False if time ran out before there were none."""
        until = time.perf_counter() + _DRAIN_S
        for datagram, remote in self._socket.receive_batch():
            connection = self._route(datagram, remote, now)
            if connection is not None:
                self._guard(connection, connection.receive, datagram, remote, now)
                self._touched[connection] = None
            if time.perf_counter() > until:
                return False
        return True

    def _guard(self, connection: ConnectionDriver, function: Callable[..., None], *args: Any) -> None:
        """Call a function of a connection. If it raises, close that connection alone."""
        try:
            function(*args)
        except Exception:
            log.exception("connection_failed")
            try:
                connection.abort(QuicErrorCode.INTERNAL_ERROR, "internal error")
            except Exception:
                log.exception("connection_abort_failed")
            self.remove(connection)

    def _route(self, datagram: bytes, remote: SocketAddress, now: float) -> ConnectionDriver | None:
        if not datagram:
            return None
        if datagram[0] & _LONG_HEADER:
            connection_id = datagram[6 : 6 + datagram[5]] if len(datagram) > 6 else b""
        else:
            connection_id = datagram[1 : 1 + CONNECTION_ID_BYTES]
        connection = self._routes.get(connection_id)
        if connection is None and datagram[0] & _LONG_HEADER and self.handler is not None:
            return self._accept(datagram, remote, now)
        return connection

    def _accept(self, datagram: bytes, remote: SocketAddress, now: float) -> ConnectionDriver | None:
        header = parse_header(datagram)
        if header is None:
            return None
        verdict = self._admission.judge(header, len(datagram), remote, _VERSIONS, now)
        if isinstance(verdict, StatelessReply):
            self.send(verdict.datagram, remote)
        if not isinstance(verdict, AcceptInitial):
            return None
        share = ConnectionResources(self._shares, (remote[0], remote[1]))
        protocol = SansIoConnection(
            configuration=self._identity.configuration(is_client=False),
            limits=self._limits,
            share=share,
            original_destination_connection_id=verdict.original_destination_cid,
            retry_source_connection_id=verdict.retry_source_cid,
        )
        connection = self._add(protocol, None, share)
        self.add_route(header.destination_cid, connection)
        self._inbound.append((connection, self._admission.admit(remote)))
        return connection

    async def _serve(self, connection: QuicMuxedConnection, slot: InboundSlot) -> None:
        """Hand an inbound connection to the handler after its handshake, and free its slot when it has closed."""
        try:
            with trio.move_on_after(self._limits.handshake_timeout_s):
                await connection.wait_handshake()
            slot.end_handshake()
            if not connection.is_established:
                connection.abort(QuicErrorCode.CONNECTION_REFUSED, "the handshake took too long")
                return
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._hand_over, connection)
                await connection.wait_closed()
                # The swarm's handler may outlast the connection: it is cancelled here.
                nursery.cancel_scope.cancel()
        finally:
            slot.release()

    async def _hand_over(self, connection: QuicMuxedConnection) -> None:
        assert self.handler is not None
        try:
            await self.handler(connection)
        except Exception:
            if connection.is_closed:
                log.debug("connection_handler_ended", exc_info=True)
                return
            log.exception("connection_handler_failed")
            connection.abort(QuicErrorCode.INTERNAL_ERROR, "internal error")

    def _fire_timers(self, now: float, touched: dict[ConnectionDriver, None]) -> None:
        # `_deadline` may be earlier than the earliest timer, never later; it is recomputed here.
        deadline = float("inf")
        for connection in list(self._connections):
            if connection.timer <= now:
                self._guard(connection, connection.fire_timer, now)
                touched[connection] = None
            elif connection.timer < deadline:
                deadline = connection.timer
        self._deadline = self._waiting.deadline = deadline

    @property
    def is_blocked(self) -> bool:
        """Whether the socket takes no datagrams for now."""
        return self._socket.is_blocked

    def send(self, datagram: bytes, remote: SocketAddress) -> None:
        """Send a datagram, now or when the socket takes it."""
        self._socket.send(datagram, remote)

    def flush_soon(self, connection: ConnectionDriver) -> None:
        """Call a connection's `transmit` after the tasks that are running now, or once the socket takes datagrams.

        So a stream's bytes and its FIN, or an answer and the credit for its request, share a datagram.
        """
        self._senders.add(connection)
        self._senders_added.unpark_all()

    def flush(self, connection: ConnectionDriver) -> None:
        """Call `transmit` now for a connection that `flush_soon` was called for."""
        if connection in self._senders and not self.is_blocked:
            self._senders.discard(connection)
            self._guard(connection, connection.transmit)

    async def _flush(self) -> None:
        while True:
            while not self._senders:
                await self._senders_added.park()
            self._transmit_all()
            await self._socket.send_kept()

    def _transmit_all(self) -> None:
        senders, self._senders = self._senders, set()
        for connection in senders:
            self._guard(connection, connection.transmit)
