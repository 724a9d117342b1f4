"""What peers may take of a node: connections, streams, memory, patience."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import attrs

from plasm_core.shares import Holder, Loan, Places

if TYPE_CHECKING:
    from plasm_transport_libp2p.quic.limits import QuicLimits


_MORE_OF_QUIC = 64


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
            # Beyond those that may be held, so that the slots are shared out, not given to who came first.
            connections=self.max_connections + _MORE_OF_QUIC,
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
    """Counts inbound connections, in total and by group. A slot is held from accepting to closing.

    When all are held, the group with the most loses its newest connection to one that has fewer.
    """

    def __init__(self, limits: Limits) -> None:
        self._places = Places(limits.max_connections, per_name=limits.max_connections_per_group)

    @property
    def held(self) -> int:
        """How many are held now."""
        return len(self._places)

    def acquire(self, group: str | None, end: Callable[[], None]) -> Loan | None:
        """Take a slot if there is one. `group` is None for addresses that are not counted together.

        `end` ends the connection, when another group is to have its slot.
        """
        return self._places.take(Holder(names=(group,) if group else (), is_bounded=False), end)
