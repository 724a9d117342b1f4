"""A QUIC connection for py-libp2p's swarm, which needs neither a security upgrade nor a muxer."""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import trio
from aioquic.quic import events
from aioquic.quic.packet import QuicErrorCode, QuicFrameType
from libp2p.abc import IMuxedConn
from libp2p.connection_types import ConnectionType
from libp2p.peer.id import ID
from libp2p.stream_muxer.exceptions import MuxedConnUnavailable
from multiaddr import Multiaddr
from trio.lowlevel import ParkingLot

from plasm_transport_libp2p.host_resources import FLOOR_BYTES, ConnectionResources
from plasm_transport_libp2p.quic import address
from plasm_transport_libp2p.quic.driver import ConnectionDriver, DatagramRouter
from plasm_transport_libp2p.quic.identity import SECURITY_PROTOCOL, PeerIdentityError, TlsIdentity
from plasm_transport_libp2p.quic.limits import QuicLimits
from plasm_transport_libp2p.quic.sansio import FLOOD, SansIoConnection
from plasm_transport_libp2p.quic.stream import QuicMuxedStream

_BAD_CERTIFICATE = QuicErrorCode.CRYPTO_ERROR + 42
"""TLS alert bad_certificate (RFC 8446, 6.2)."""

# Costs in seconds on the event loop, measured as in yamux.
_STREAM_S = 300e-6
_READ_S = 30e-6


class QuicMuxedConnection(ConnectionDriver, IMuxedConn):
    """One connection: verifies the peer's identity, and opens, accepts and serves streams."""

    negotiated_security_protocol = SECURITY_PROTOCOL
    negotiated_muxer_protocol = None

    def __init__(
        self,
        *,
        endpoint: DatagramRouter,
        protocol: SansIoConnection,
        identity: TlsIdentity,
        limits: QuicLimits,
        expected_peer: ID | None,
        share: ConnectionResources,
    ) -> None:
        self.share = share
        self._unsent = 0
        super().__init__(endpoint=endpoint, protocol=protocol, limits=limits)
        self.event_started = trio.Event()
        self.on_close: Callable[[], Awaitable[Any]] | None = None
        self._identity = identity
        self._expected_peer = expected_peer
        self._is_initiator = protocol.configuration.is_client
        self._streams: dict[int, QuicMuxedStream] = {}
        self._streams_accepted = 0
        self._accept_queue: deque[QuicMuxedStream] = deque()
        self._acceptors = ParkingLot()
        self._openers = ParkingLot()
        self._writers: set[QuicMuxedStream] = set()
        self._lingering = ParkingLot()
        self._to_stop: deque[tuple[float, int]] = deque()
        self._resource_scope: Any = None  # py-libp2p's resource manager gives it no type

    # The swarm's side.

    @property
    def is_initiator(self) -> bool:
        return self._is_initiator

    def set_resource_scope(self, scope: Any) -> None:
        """Keep the resource manager's scope, and close it with the connection."""
        self._resource_scope = scope

    async def start(self) -> None:
        """Wait until the connection has closed, then release the resource scope and call `on_close`."""
        self.event_started.set()
        await self._closed.wait()
        scope, self._resource_scope = self._resource_scope, None
        if scope is not None:
            released = scope.close() if hasattr(scope, "close") else scope.release()
            if inspect.isawaitable(released):
                await released
        if self.on_close is not None:
            await self.on_close()

    async def open_stream(self) -> QuicMuxedStream:
        """Open a stream. The peer learns of it with the first bytes sent.

        Raises: `MuxedConnUnavailable` if the connection is closed or the peer allows no more streams in time.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        if not self._may_open:
            with trio.move_on_after(self._limits.open_stream_timeout_s):
                while not self._closed.is_set() and not self._may_open:
                    await self._openers.park()
        if not self._may_open:
            raise MuxedConnUnavailable(self._close_reason or "the peer allows no more streams")
        stream_id = self._protocol.get_next_available_stream_id()
        self._protocol.send_stream_data(stream_id, b"")
        stream = self._streams[stream_id] = QuicMuxedStream(self, stream_id)
        return stream

    @property
    def _may_open(self) -> bool:
        next_id = self._protocol.get_next_available_stream_id()
        return self.is_established and next_id // 4 < self._protocol.peer_stream_limit

    async def accept_stream(self) -> QuicMuxedStream:
        """Return the next stream that the peer opened. Raises: `MuxedConnUnavailable` when closed."""
        if self._accept_queue:
            await self.share.turn(self, _STREAM_S)
        while not self._accept_queue:
            if self._closed.is_set():
                raise MuxedConnUnavailable(self._close_reason)
            await self._acceptors.park()
        return self._accept_queue.popleft()

    async def close(self) -> None:
        """Close the connection once ended streams are acknowledged, after `linger_s` at the latest."""
        try:
            with trio.move_on_after(self._limits.linger_s):
                while not self._closed.is_set() and self._protocol.has_undelivered_streams():
                    await self._lingering.park()
        finally:
            self.abort(QuicErrorCode.NO_ERROR, "closed")

    def get_transport_addresses(self) -> list[Multiaddr]:
        found = self.get_remote_address()
        return [] if found is None else [address.multiaddr(found)]

    def get_connection_type(self) -> ConnectionType:
        return ConnectionType.DIRECT

    # The streams' side.

    def send_room(self, stream: QuicMuxedStream) -> int:
        """Return how many bytes a stream may send now."""
        own = self._protocol.unacknowledged_bytes(stream.stream_id)
        self._count_unsent()
        room = min(self._limits.send_buffer_bytes - own, self.share.room_bytes)
        return max(room, min(FLOOR_BYTES, self._limits.send_buffer_bytes) - own)

    def _count_unsent(self) -> None:
        """Count unacknowledged bytes against the host's memory: a peer that does not read must not hold it."""
        unsent = 0 if self._closed.is_set() else self._protocol.unacknowledged_total()
        if unsent != self._unsent:
            self.share.take(unsent - self._unsent)
            self._unsent = unsent

    async def turn_to_read(self) -> None:
        """Wait for a turn on the event loop before received bytes are handed out."""
        await self.share.turn(self, _READ_S)

    def blame(self, cost: float) -> None:
        """Charge the peer for useless work, and close the connection if its bucket is empty."""
        if not self._closed.is_set():
            self._protocol.blame(cost)
            self._endpoint.flush_soon(self)

    def add_waiting_writer(self, stream: QuicMuxedStream) -> None:
        """Call the stream's `on_room` once it may send again."""
        self._writers.add(stream)

    def send(self, stream: QuicMuxedStream, data: bytes, *, end: bool = False) -> None:
        """Send bytes of a stream, and its FIN if `end`."""
        if not self._closed.is_set():
            self._protocol.send_stream_data(stream.stream_id, data, end)
            if data:
                self._protocol.earn(len(data))
            self._endpoint.flush_soon(self)

    def stopped_with(self, stream: QuicMuxedStream) -> int | None:
        """Return the error code with which the peer has stopped a stream, None if it has not."""
        return None if self._closed.is_set() else self._protocol.stopped_with(stream.stream_id)

    def flush(self) -> None:
        """Transmit the written bytes now, because the caller is about to wait for an answer."""
        self._endpoint.flush(self)

    def reset_sending(self, stream: QuicMuxedStream, error_code: int) -> None:
        """Send RESET_STREAM (RFC 9000, section 19.4)."""
        if not self._closed.is_set():
            self._protocol.reset_stream(stream.stream_id, error_code)
            self._endpoint.flush_soon(self)

    def stop_receiving(self, stream_id: int, error_code: int) -> None:
        """Send STOP_SENDING (RFC 9000, section 19.5), unless the peer has ended the stream."""
        if not self._closed.is_set() and self._protocol.is_receiving(stream_id):
            self._protocol.stop_stream(stream_id, error_code)
            self._endpoint.flush_soon(self)

    def stop_receiving_later(self, stream_id: int) -> None:
        """Send STOP_SENDING after `stop_after_s`, unless the peer has ended the stream by then."""
        self._to_stop.append((trio.current_time() + self._limits.stop_after_s, stream_id))
        self._endpoint.flush_soon(self)

    def on_stream_read(self, stream: QuicMuxedStream, count: int, consumed: int) -> None:
        """Grant credit for bytes that were read."""
        if not self._closed.is_set() and self._protocol.consume(stream.stream_id, count, consumed):
            self._endpoint.flush_soon(self)

    def on_bytes_dropped(self, count: int) -> None:
        """Return to the connection the credit of bytes that will not be read."""
        if count and not self._closed.is_set() and self._protocol.consume_connection(count):
            self._endpoint.flush_soon(self)

    def forget(self, stream: QuicMuxedStream) -> None:
        """Drop a stream of which nothing more is expected."""
        self._streams.pop(stream.stream_id, None)
        self._writers.discard(stream)

    # The protocol's side.

    @property
    def due_at(self) -> float:
        return self._to_stop[0][0] if self._to_stop else float("inf")

    def on_due(self, now: float) -> None:
        while self._to_stop and self._to_stop[0][0] <= now:
            self.stop_receiving(self._to_stop.popleft()[1], QuicErrorCode.NO_ERROR)

    def on_progress(self) -> None:
        self._protocol.extend_window()
        for stream in list(self._writers):
            own = self._protocol.unacknowledged_bytes(stream.stream_id)
            half = self._limits.send_buffer_bytes // 2
            if own <= FLOOR_BYTES // 2 or self.send_room(stream) >= half:
                self._writers.discard(stream)
                stream.on_room()
        if self._openers and self._may_open:
            self._openers.unpark_all()
        if self._lingering and not self._protocol.has_undelivered_streams():
            self._lingering.unpark_all()

    def on_closed(self, reason: str) -> None:
        self._count_unsent()
        if reason == FLOOD:
            self.share.note_flood()
        for stream in list(self._streams.values()):
            stream.on_connection_lost(reason)
        self._streams.clear()
        self._writers.clear()
        self._to_stop.clear()
        self._accept_queue.clear()
        for lot in (self._acceptors, self._openers, self._lingering):
            lot.unpark_all()

    def on_event(self, event: events.QuicEvent) -> None:
        if isinstance(event, events.StreamDataReceived):
            if event.data:
                self._protocol.earn(len(event.data))
            stream = self._stream(event.stream_id)
            if stream is not None:
                stream.on_data(event.data, event.end_stream)
            else:
                self.on_bytes_dropped(len(event.data))
        elif isinstance(event, events.StreamReset):
            self.on_bytes_dropped(self._protocol.missing_bytes(event.stream_id))
            stream = self._stream(event.stream_id)
            if stream is not None:
                stream.on_reset(event.error_code)
        elif isinstance(event, events.StopSendingReceived):
            stream = self._stream(event.stream_id)
            if stream is not None:
                stream.on_stop_sending(event.error_code)
        elif isinstance(event, events.ConnectionIdIssued):
            self._endpoint.add_route(event.connection_id, self)
        elif isinstance(event, events.ConnectionIdRetired):
            self._endpoint.remove_route(event.connection_id, self)
        elif isinstance(event, events.HandshakeCompleted):
            self._on_handshake_completed()

    def _on_handshake_completed(self) -> None:
        try:
            self.peer_id = self._identity.verify(self._protocol.peer_certificates(), self._expected_peer)
        except PeerIdentityError as exc:
            self.abort(_BAD_CERTIFICATE, str(exc), frame_type=QuicFrameType.CRYPTO)
            return
        self._keep_alive_at = trio.current_time() + self._limits.keep_alive_s
        self._handshake_over.set()

    def _stream(self, stream_id: int) -> QuicMuxedStream | None:
        """Return a stream, made if the peer just opened it, or None if it was forgotten."""
        if bool(stream_id & 1) is self._is_initiator:
            # A stream opens those of lower numbers with it (RFC 9000, 2.1).
            while self._streams_accepted <= stream_id // 4:
                new_id = self._streams_accepted * 4 + (stream_id & 1)
                stream = self._streams[new_id] = QuicMuxedStream(self, new_id)
                self._streams_accepted += 1
                if len(self._accept_queue) >= self._limits.streams:
                    self.abort(QuicErrorCode.STREAM_LIMIT_ERROR, "streams come faster than they are taken")
                    return None
                self._accept_queue.append(stream)
                self._acceptors.unpark()
        return self._streams.get(stream_id)
