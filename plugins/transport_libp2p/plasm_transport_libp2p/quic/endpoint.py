"""One UDP socket and the connections on it: one loop reads, handles, then sends, and one timer serves them all."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import trio
from aioquic.quic.packet import QuicErrorCode, QuicProtocolVersion
from libp2p.peer.id import ID

from plasm_transport_libp2p.quic.address import SocketAddress
from plasm_transport_libp2p.quic.admission import Accept, Admission, Answer, Slot
from plasm_transport_libp2p.quic.connection import QuicMuxedConnection
from plasm_transport_libp2p.quic.identity import Identity
from plasm_transport_libp2p.quic.limits import QuicLimits
from plasm_transport_libp2p.quic.link import Link
from plasm_transport_libp2p.quic.sansio import CONNECTION_ID_BYTES, SansIoConnection, parse_header
from plasm_transport_libp2p.quic.udp import UdpSocket
from plasm_transport_libp2p.shares import Share, Shares

log = logging.getLogger(__name__)

_DRAIN_S = 0.0015
"""How long one pass of the loop takes datagrams: one can hold 1,300 frames."""
_LONG_HEADER = 0x80
_VERSIONS: list[int] = [QuicProtocolVersion.VERSION_1]

ConnectionHandler = Callable[[QuicMuxedConnection], Awaitable[None]]


class Endpoint:
    """Connections both accepted and dialled over one socket, which it owns."""

    def __init__(
        self,
        sock: UdpSocket,
        *,
        identity: Identity,
        limits: QuicLimits,
        admission: Admission,
        shares: Shares | None = None,
    ) -> None:
        self._shares = shares or Shares()
        self.address = sock.address
        self.family = sock.family
        self.handler: ConnectionHandler | None = None
        self._socket = sock
        self._identity = identity
        self._limits = limits
        self._admission = admission
        self._connections: set[Link] = set()
        self._routes: dict[bytes, Link] = {}
        self._inbound: deque[tuple[QuicMuxedConnection, Slot]] = deque()
        self._deadline = float("inf")
        self._waiting = trio.CancelScope()
        self._scope = trio.CancelScope()
        self._closed = trio.Event()
        self._senders: set[Link] = set()
        self._senders_added = trio.lowlevel.ParkingLot()

    @property
    def is_open(self) -> bool:
        """Whether the socket is there for new connections."""
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
        share = Share(self._shares, (remote[0], remote[1]))
        protocol = SansIoConnection(
            configuration=self._identity.configuration(is_client=True), limits=self._limits, share=share
        )
        connection = self._add(protocol, expected_peer, share)
        connection.connect(remote, trio.current_time())
        return connection

    def _add(self, protocol: SansIoConnection, expected_peer: ID | None, share: Share) -> QuicMuxedConnection:
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

    def add_route(self, connection_id: bytes, connection: Link) -> None:
        """Lead packets for a connection id to its connection."""
        self._routes[connection_id] = connection
        connection.connection_ids.add(connection_id)

    def remove_route(self, connection_id: bytes, connection: Link) -> None:
        """Lead them there no more."""
        self._routes.pop(connection_id, None)
        connection.connection_ids.discard(connection_id)

    def remove(self, connection: Link) -> None:
        """Forget a connection that has ended."""
        self._connections.discard(connection)
        self._senders.discard(connection)
        for connection_id in list(connection.connection_ids):
            self.remove_route(connection_id, connection)
        connection.release()

    def arm(self, at: float) -> None:
        """See to it that the loop wakes no later than this."""
        if at < self._deadline:
            self._deadline = self._waiting.deadline = at

    async def _receive(self, nursery: trio.Nursery) -> None:
        while True:
            # One scope serves until the timer fires; making one for each batch cost a tenth of a request.
            self._waiting = trio.CancelScope(deadline=self._deadline)
            with self._waiting:
                while True:
                    await self._socket.wait_readable()
                    self._work(nursery)
            self._work(nursery)

    def _work(self, nursery: trio.Nursery) -> None:
        now = trio.current_time()
        started = time.perf_counter()
        touched = self._drain(now)
        if now >= self._deadline:
            self._fire_timers(now, touched)
        for connection in touched:
            self._guard(connection, connection.settle)
        while self._inbound:
            nursery.start_soon(self._serve, *self._inbound.popleft())
        self._shares.turns.charge(time.perf_counter() - started)

    def _drain(self, now: float) -> dict[Link, None]:
        touched: dict[Link, None] = {}
        until = time.perf_counter() + _DRAIN_S
        for datagram, remote in self._socket.receive_batch():
            connection = self._route(datagram, remote, now)
            if connection is not None:
                self._guard(connection, connection.receive, datagram, remote, now)
                touched[connection] = None
            if time.perf_counter() > until:
                break  # the socket stays readable: the rest is for the next pass
        return touched

    def _guard(self, connection: Link, function: Callable[..., None], *args: Any) -> None:
        """Let what a peer's packet breaks break that peer's connection alone."""
        try:
            function(*args)
        except Exception:
            log.exception("connection_failed")
            try:
                connection.abort(QuicErrorCode.INTERNAL_ERROR, "internal error")
            except Exception:
                log.exception("connection_abort_failed")
            self.remove(connection)

    def _route(self, datagram: bytes, remote: SocketAddress, now: float) -> Link | None:
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

    def _accept(self, datagram: bytes, remote: SocketAddress, now: float) -> Link | None:
        header = parse_header(datagram)
        if header is None:
            return None
        verdict = self._admission.judge(header, len(datagram), remote, _VERSIONS, now)
        if isinstance(verdict, Answer):
            self.send(verdict.datagram, remote)
        if not isinstance(verdict, Accept):
            return None
        share = Share(self._shares, (remote[0], remote[1]))
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

    async def _serve(self, connection: QuicMuxedConnection, slot: Slot) -> None:
        """See an inbound connection through to its end, which frees its slot."""
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
                # A swarm's handler waits for the end of the swarm, not of the connection.
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

    def _fire_timers(self, now: float, touched: dict[Link, None]) -> None:
        # The deadline is never later than the earliest timer; it is exact only after this.
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

    def flush_soon(self, connection: Link) -> None:
        """Let a connection send once those that run now have had their say, or the socket takes datagrams again.

        So a stream's bytes and its end, or an answer and the credit for its question, leave in one datagram.
        """
        self._senders.add(connection)
        self._senders_added.unpark_all()

    def flush(self, connection: Link) -> None:
        """Let a connection send now what it was to send soon."""
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
