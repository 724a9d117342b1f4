"""What peers may take of a node: connections, streams, memory, patience."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from plasm_transport_libp2p.quic.limits import QuicLimits


@attrs.frozen(kw_only=True)
class Limits:
    """Bounds on what one peer, one prefix of addresses and all together may hold."""

    max_connections: int = 512
    max_connections_per_peer: int = 4
    max_connections_per_group: int = 64
    """Inbound, from addresses of one /24 or /48. Addresses of this machine are not counted."""
    max_streams: int = 64
    """That one peer may have open on one connection."""
    max_window_bytes: int = 1 << 20
    """What one stream holds of what was not read yet."""
    heartbeat_s: float = 10.0
    """How often a silent peer is asked whether it is there. It is given up after 2.5 times that."""
    idle_s: float = 120.0
    """A connection without streams is closed after so long."""
    dial_timeout_s: float = 5.0
    handshake_timeout_s: float = 10.0
    """For proving an identity, and for naming the protocol of a stream."""

    def of_quic(self) -> QuicLimits:
        """Return the same limits as the QUIC transport takes them."""
        from plasm_transport_libp2p.quic.limits import QuicLimits

        return QuicLimits(
            connections=self.max_connections,
            connections_per_prefix=self.max_connections_per_group,
            streams=self.max_streams,
            stream_window_bytes=self.max_window_bytes,
            connection_window_bytes=4 * self.max_window_bytes,
            idle_timeout_s=2.5 * self.heartbeat_s,
            keep_alive_s=self.heartbeat_s,
            dial_timeout_s=self.dial_timeout_s,
            handshake_timeout_s=self.handshake_timeout_s,
            open_stream_timeout_s=self.handshake_timeout_s,
        )


class Slots:
    """Counts inbound connections, in total and by group. A slot is held from accepting to closing."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._held = 0
        self._by_group: Counter[str] = Counter()

    @property
    def held(self) -> int:
        """How many are held now."""
        return self._held

    def acquire(self, group: str | None) -> bool:
        """Take a slot if there is one. `group` is None for addresses that are not counted together."""
        if self._held >= self._limits.max_connections:
            return False
        if group is not None:
            if self._by_group[group] >= self._limits.max_connections_per_group:
                return False
            self._by_group[group] += 1
        self._held += 1
        return True

    def release(self, group: str | None) -> None:
        """Give a slot back."""
        self._held -= 1
        if group is not None:
            self._by_group[group] -= 1
            if not self._by_group[group]:
                del self._by_group[group]
