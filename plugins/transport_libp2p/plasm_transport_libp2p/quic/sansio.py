"""aioquic's QUIC state machine, and every use of its private names.

Flow control differs from aioquic's, which extends windows when bytes arrive: here a window is extended when the
application has read (RFC 9000, section 4.2).
"""

from __future__ import annotations

from functools import partial
from importlib.metadata import version as installed_version
from typing import Any, cast

from aioquic._buffer import Buffer
from aioquic.quic.configuration import SMALLEST_MAX_DATAGRAM_SIZE, QuicConfiguration
from aioquic.quic.connection import (
    CONNECTION_LIMIT_FRAME_CAPACITY,
    MAX_STREAM_DATA_FRAME_CAPACITY,
    TRANSPORT_CLOSE_FRAME_CAPACITY,
    QuicConnection,
    QuicConnectionError,
    QuicConnectionState,
)
from aioquic.quic.crypto import CryptoPair
from aioquic.quic.events import ConnectionTerminated
from aioquic.quic.packet import QuicErrorCode, QuicFrameType, QuicHeader, QuicPacketType, pull_quic_header
from aioquic.quic.packet_builder import QuicPacketBuilder
from aioquic.quic.recovery import QuicPacketSpace
from aioquic.quic.stream import QuicStream
from cryptography import x509

from plasm_core.errors import TransportError
from plasm_core.token_bucket import TokenBucket
from plasm_transport_libp2p.host_resources import ConnectionResources
from plasm_transport_libp2p.quic.limits import QuicLimits

SUPPORTED_VERSION = (1, 7)
"""Of aioquic. tests/quic/test_sansio.py holds the digests of the code that is overridden or relied on."""

CONNECTION_ID_BYTES = 8

# Frames and datagrams that bring no bytes of a stream cost their sender nothing: a bucket of 4,000, refilled with 400
# a second. An honest peer's acknowledgements and credit answer bytes that this side sends, which refill it by more.
_USELESS_FRAMES = 4000.0
_USELESS_FRAMES_PER_S = 400.0
_EARNING_BYTES = 512
_RESET_COSTS = 5.0  # CVE-2023-44487
_STREAM_FRAMES = range(0x08, 0x10)
_RESET_FRAME = 0x04
_FREE_FRAMES = (0x00, 0x1C, 0x1D)  # padding is read at once, and CONNECTION_CLOSE ends the connection


FLOOD = "too many frames that mean nothing"
"""The reason phrase of CONNECTION_CLOSE for a flood."""


def check_version() -> None:
    """Raise `TransportError` unless the installed aioquic is the version that this module was written against."""
    installed = installed_version("aioquic")
    if tuple(int(part) for part in installed.split(".")[:2]) != SUPPORTED_VERSION:
        wanted = ".".join(map(str, SUPPORTED_VERSION))
        raise TransportError(
            f"quic needs aioquic {wanted}, which needs Python 3.11, and {installed} is installed"
        )


class SansIoConnection(QuicConnection):
    """One connection's protocol state. It reads no socket and no clock."""

    def __init__(
        self,
        *,
        configuration: QuicConfiguration,
        limits: QuicLimits,
        share: ConnectionResources,
        original_destination_connection_id: bytes | None = None,
        retry_source_connection_id: bytes | None = None,
    ) -> None:
        super().__init__(
            configuration=configuration,
            original_destination_connection_id=original_destination_connection_id,
            retry_source_connection_id=retry_source_connection_id,
        )
        self._share = share
        self._stream_window = limits.stream_window_bytes
        self._connection_window = limits.connection_window_bytes
        self._ahead = self._first_window = limits.first_window_bytes
        self._consumed = 0
        self._consumed_at_step = 0
        self._counted = 0
        self._useless = TokenBucket(capacity=_USELESS_FRAMES, per_s=_USELESS_FRAMES_PER_S)
        self._brought_bytes = False
        handlers = self._frame_handlers
        for kind, (handler, epochs) in list(handlers.items()):
            if kind not in _FREE_FRAMES:
                handlers[kind] = (partial(self._counting, handler), epochs)
        self._local_max_streams_bidi.value = self._local_max_streams_bidi.sent = limits.streams
        # libp2p has no unidirectional streams.
        self._local_max_streams_uni.value = self._local_max_streams_uni.sent = 0

    def _initialize(self, peer_cid: bytes) -> None:
        super()._initialize(peer_cid)
        # The ServerHello, with the request for a client certificate, is made while the first datagram is handled.
        self.tls._request_client_certificate = not self._is_client

    @property
    def has_path(self) -> bool:
        """Whether the peer's address is known: aioquic may have dropped a client's first datagram."""
        return bool(self._network_paths)

    @property
    def is_unborn(self) -> bool:
        """Whether a server's connection has received no valid packet yet."""
        return not self._is_client and self._state is QuicConnectionState.FIRSTFLIGHT

    @property
    def close_event(self) -> ConnectionTerminated | None:
        """Why the connection is closing; None while it is open."""
        return self._close_event

    @property
    def peer_stream_limit(self) -> int:
        """How many bidirectional streams the peer has allowed this side to open in all."""
        return self._remote_max_streams_bidi

    def peer_certificates(self) -> list[x509.Certificate]:
        """Return the peer's certificate chain, its own first; an empty list if it sent none."""
        own = self.tls._peer_certificate
        return [] if own is None else [own, *self.tls._peer_certificate_chain]

    def is_receiving(self, stream_id: int) -> bool:
        """Return whether the peer has neither ended nor reset a stream."""
        stream = self._streams.get(stream_id)
        return stream is not None and not stream.receiver.is_finished

    def stopped_with(self, stream_id: int) -> int | None:
        """Return the error code with which sending on an open stream was stopped by the peer, None if it was not."""
        stream = self._streams.get(stream_id)
        if stream is None:  # its reset is acknowledged already
            return QuicErrorCode.NO_ERROR
        code: int | None = stream.sender._reset_error_code
        return code

    def unacknowledged_bytes(self, stream_id: int) -> int:
        """Return the bytes written to a stream that the peer has not acknowledged."""
        stream = self._streams.get(stream_id)
        return 0 if stream is None else stream.sender._buffer_stop - stream.sender._buffer_start

    def has_undelivered_streams(self) -> bool:
        """Return whether the peer has not acknowledged the FIN of some stream."""
        return any(
            stream.sender._buffer_fin is not None
            and stream.sender._reset_error_code is None
            and not stream.sender.is_finished
            for stream in self._streams.values()
        )

    def missing_bytes(self, stream_id: int) -> int:
        """Return the bytes of a reset stream that used window and were not delivered (RFC 9000, section 4.5)."""
        stream = self._streams.get(stream_id)
        return 0 if stream is None else stream.receiver.highest_offset - stream.receiver.starting_offset()

    @property
    def _frame_handlers(self) -> dict[int, Any]:
        found: dict[int, Any] = self._QuicConnection__frame_handlers  # type: ignore[attr-defined]
        return found

    def _counting(self, handler: Any, context: Any, kind: int, buffer: Buffer) -> None:
        """Charge the peer for a frame, then handle it."""
        if kind in _STREAM_FRAMES:
            self._brought_bytes = True
        self._spend(_RESET_COSTS if kind == _RESET_FRAME else 1.0)
        handler(context, kind, buffer)

    def _spend(self, cost: float) -> None:
        if not self._useless.spend(cost):
            raise QuicConnectionError(
                error_code=QuicErrorCode.PROTOCOL_VIOLATION,
                frame_type=QuicFrameType.PADDING,
                reason_phrase=FLOOD,
            )

    def receive_datagram(self, data: bytes, addr: Any, now: float) -> None:
        """Handle a datagram, and charge the peer for one without bytes of a stream."""
        self._brought_bytes = False
        super().receive_datagram(data, addr, now)
        if not self._brought_bytes:
            self.blame(1.0)

    def blame(self, cost: float) -> None:
        """Charge the peer for useless work, and close the connection if its bucket is empty."""
        if not self._useless.spend(cost):
            self.close(
                error_code=QuicErrorCode.PROTOCOL_VIOLATION,
                frame_type=QuicFrameType.PADDING,
                reason_phrase=FLOOD,
            )

    def earn(self, count: int) -> None:
        """Refill the bucket for `count` bytes of streams sent or received."""
        self._useless.earn(1 + count / _EARNING_BYTES)

    def unacknowledged_total(self) -> int:
        """Return the bytes written to all streams that the peer has not acknowledged."""
        return sum(
            stream.sender._buffer_stop - stream.sender._buffer_start for stream in self._streams.values()
        )

    def consume(self, stream_id: int, count: int, consumed: int) -> bool:
        """Extend the windows after the application read `count` bytes of a stream, `consumed` of it in all.

        Returns whether a MAX_STREAM_DATA or MAX_DATA frame is worth sending.
        """
        due = self.consume_connection(count)
        stream = self._streams.get(stream_id)
        if stream is None or stream.receiver.is_finished:
            return due
        limit = consumed + self._stream_window
        left = stream.max_stream_data_local - stream.receiver.highest_offset
        if _worth_sending(limit - stream.max_stream_data_local, left, self._stream_window):
            stream.max_stream_data_local = limit
            due = True
        return due

    def consume_connection(self, count: int) -> bool:
        """Extend the connection's window after `count` bytes were read or dropped. Returns as `consume`."""
        self._consumed += count
        if self._consumed - self._consumed_at_step >= self._ahead:
            # A reader that keeps up gets more credit than has arrived, if memory allows it.
            self._consumed_at_step = self._consumed
            if self._share.has_room:
                self._ahead = min(2 * self._ahead, self._connection_window)
        return self.extend_window()

    def extend_window(self) -> bool:
        """Extend the connection's window as far as memory allows. Returns whether MAX_DATA is worth sending.

        A granted window cannot be taken back (RFC 9000, section 4.1). So a peer gets `first_window_bytes` ahead of
        what it has sent, and more only as far as this host has memory to hold all that is granted.
        """
        limit = self._local_max_data
        if self._share.has_room:
            value = min(limit.used + self._ahead, self._consumed + self._connection_window)
        else:
            value = self._consumed + self._first_window
        due = _worth_sending(value - limit.value, limit.value - limit.used, self._ahead)
        if due:
            limit.value = value
        self._count_granted()
        return due

    def _count_granted(self) -> None:
        granted = max(self._local_max_data.value - self._consumed - self._first_window, 0)
        if granted != self._counted:
            self._share.take(granted - self._counted)
            self._counted = granted

    def _write_connection_limits(self, builder: QuicPacketBuilder, space: QuicPacketSpace) -> None:
        data, streams = self._local_max_data, self._local_max_streams_bidi
        for limit in (data, streams):
            if limit.value == limit.sent:
                continue
            # As aioquic does: one frame for several streams, unless the peer is about to run out.
            if limit is streams and limit.sent - limit.used >= limit.value - limit.sent:
                continue
            buffer = builder.start_frame(
                limit.frame_type,
                capacity=CONNECTION_LIMIT_FRAME_CAPACITY,
                handler=self._on_connection_limit_delivery,
                handler_args=(limit,),
            )
            buffer.push_uint_var(limit.value)
            limit.sent = limit.value

    def _write_stream_limits(
        self, builder: QuicPacketBuilder, space: QuicPacketSpace, stream: QuicStream
    ) -> None:
        if stream.max_stream_data_local_sent == stream.max_stream_data_local or stream.receiver.is_finished:
            return
        buffer = builder.start_frame(
            QuicFrameType.MAX_STREAM_DATA,
            capacity=MAX_STREAM_DATA_FRAME_CAPACITY,
            handler=self._on_max_stream_data_delivery,
            handler_args=(stream,),
        )
        buffer.push_uint_var(cast(int, stream.stream_id))
        buffer.push_uint_var(stream.max_stream_data_local)
        stream.max_stream_data_local_sent = stream.max_stream_data_local

    def release(self) -> None:
        """Break the reference cycles of a closed connection, which hold about 100 KB until a garbage collection."""
        self._share.take(-self._counted)
        self._counted = 0
        self._frame_handlers.clear()
        self._streams.clear()
        self._streams_queue.clear()
        self._crypto_buffers.clear()
        self._crypto_streams.clear()
        self._cryptos.clear()
        self._cryptos_initial.clear()
        self._spaces.clear()
        self._loss.spaces = []
        self._loss._send_probe = _nothing
        self.__dict__.pop("tls", None)


def _nothing() -> None:
    pass


def _worth_sending(gain: int, left: int, window: int) -> bool:
    """Return whether to announce `gain` more bytes now to a peer with `left` bytes of its window left."""
    step = window // 4
    return gain > 0 and (gain >= step or left < step)


def parse_header(datagram: bytes) -> QuicHeader | None:
    """Return the header of the first packet of a datagram, None if it is not a QUIC packet."""
    try:
        return pull_quic_header(Buffer(data=datagram), host_cid_length=CONNECTION_ID_BYTES)
    except ValueError:
        return None


def encode_refusal(
    *, version: int, source_cid: bytes, destination_cid: bytes, error_code: QuicErrorCode
) -> bytes:
    """Return the Initial packet with CONNECTION_CLOSE by which a server refuses a client without keeping state.

    `source_cid`: the destination connection id of the client's packet, from which the keys derive (RFC 9001, section 5.2).
    """
    crypto = CryptoPair()
    crypto.setup_initial(cid=source_cid, is_client=False, version=version)
    builder = QuicPacketBuilder(
        host_cid=source_cid,
        is_client=False,
        max_datagram_size=SMALLEST_MAX_DATAGRAM_SIZE,
        peer_cid=destination_cid,
        version=version,
    )
    builder.start_packet(QuicPacketType.INITIAL, crypto)
    frame = builder.start_frame(QuicFrameType.TRANSPORT_CLOSE, capacity=TRANSPORT_CLOSE_FRAME_CAPACITY)
    frame.push_uint_var(error_code)
    frame.push_uint_var(QuicFrameType.PADDING)
    frame.push_uint_var(0)
    datagrams, _packets = builder.flush()
    return bytes(datagrams[0])
