"""Limits and timeouts of one QUIC transport."""

from __future__ import annotations

from typing import Any

import attrs
from attrs import validators

from plasm_transport_libp2p.limits import ConnectionLimits

_BEYOND_SLOTS = 64


def _positive(instance: object, attribute: attrs.Attribute[Any], value: float) -> None:
    if value <= 0:
        raise ValueError(f"{attribute.name} is {value}, not greater than 0")


@attrs.frozen(kw_only=True)
class QuicLimits:
    """Limits of a transport, all its sockets taken together.

    A peer that is not read from can make this side hold `connection_window_bytes`, and one that does not read
    `send_buffer_bytes` a stream.
    """

    connections: int = attrs.field(default=1024, validator=_positive)
    """Inbound connections, half-open ones among them."""
    connections_per_prefix: int = attrs.field(default=128, validator=_positive)
    """Inbound connections from one /24 of IPv4 or one /48 of IPv6. Addresses of this machine are not counted."""
    handshakes: int = attrs.field(default=128, validator=_positive)
    """Inbound handshakes at a time; more are not answered, and the client sends again."""
    retry_above: int = attrs.field(default=16, validator=validators.ge(0))
    """Inbound handshakes at a time above which a client must first prove its address (RFC 9000, 8.1.2)."""
    streams: int = attrs.field(default=256, validator=_positive)
    """Streams a peer may have open at a time on one connection."""

    stream_window_bytes: int = attrs.field(default=1 << 20, validator=validators.ge(1 << 14))
    connection_window_bytes: int = attrs.field(default=4 << 20, validator=validators.ge(1 << 14))
    first_window_bytes: int = attrs.field(default=256 << 10, validator=validators.ge(1 << 14))
    """Of the connection's window, what every peer is granted at once. More depends on the memory that is free."""
    send_buffer_bytes: int = attrs.field(default=1 << 20, validator=validators.ge(1 << 14))
    """Bytes of one stream that may wait for the peer's acknowledgement before a writer waits."""

    datagram_bytes: int = attrs.field(default=1350, validator=[validators.ge(1200), validators.le(1452)])
    """Payload of the datagrams sent.

    aioquic does not discover a path's MTU, and a size that the path drops ends every connection on it. 1350 passes
    PPPoE and WireGuard (1420 less 48 of headers); 1452, the most that fits Ethernet with IPv6, is a fifth faster.
    """

    idle_timeout_s: float = attrs.field(default=30.0, validator=_positive)
    """Silence after which a peer is taken for gone."""
    keep_alive_s: float = attrs.field(default=10.0, validator=_positive)
    """Silence after which a PING asks whether the peer is there."""
    dial_timeout_s: float = attrs.field(default=5.0, validator=_positive)
    handshake_timeout_s: float = attrs.field(default=5.0, validator=_positive)
    open_stream_timeout_s: float = attrs.field(default=10.0, validator=_positive)
    """How long opening a stream waits for the peer to allow one more."""
    stop_after_s: float = attrs.field(default=5.0, validator=validators.ge(0))
    """How long a stream that was closed here waits for the peer to end it too, before it says STOP_SENDING.

    At once would fail what the peer has on its way, such as credit that crossed the last bytes.
    """
    linger_s: float = attrs.field(default=1.0, validator=validators.ge(0))
    """How long closing a connection waits for ended streams to be acknowledged."""

    @classmethod
    def within(cls, limits: ConnectionLimits) -> QuicLimits:
        """Return the limits of a host as QUIC counts them."""
        return cls(
            # More than the host's slots: the host shares its slots among networks, not first come, first served.
            connections=limits.max_connections + _BEYOND_SLOTS,
            connections_per_prefix=limits.max_connections_per_group,
            streams=limits.max_streams,
            stream_window_bytes=limits.max_window_bytes,
            connection_window_bytes=4 * limits.max_window_bytes,
            idle_timeout_s=2.5 * limits.heartbeat_s,
            keep_alive_s=limits.heartbeat_s,
            dial_timeout_s=limits.dial_timeout_s,
            handshake_timeout_s=limits.handshake_timeout_s,
            open_stream_timeout_s=limits.handshake_timeout_s,
        )

    def __attrs_post_init__(self) -> None:
        if self.connection_window_bytes < self.stream_window_bytes:
            raise ValueError("connection_window_bytes is less than stream_window_bytes")
        if self.first_window_bytes > self.connection_window_bytes:
            # A limit that was high enough before stays high enough.
            object.__setattr__(self, "first_window_bytes", self.connection_window_bytes)
        if self.keep_alive_s >= self.idle_timeout_s:
            raise ValueError("keep_alive_s is not less than idle_timeout_s")
