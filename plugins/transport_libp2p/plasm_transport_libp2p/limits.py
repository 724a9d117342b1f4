"""Limits on the connections and streams of peers, and the slots that inbound connections take."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from plasm_core.fair_shares import Holder, Loan, Places


@attrs.frozen(kw_only=True)
class ConnectionLimits:
    """Limits for one peer, for the addresses of one /24 or /48, and for all peers together."""

    max_connections: int = 512
    max_connections_per_peer: int = 4
    max_connections_per_group: int = 64
    """Inbound connections from one /24 of IPv4 or /48 of IPv6. Loopback addresses are not counted."""
    max_streams: int = 64
    """Streams that the peer of one connection may have open on it."""
    max_window_bytes: int = 1 << 20
    """Received bytes of one stream that wait to be read."""
    heartbeat_s: float = 10.0
    """Silence after which a peer is pinged. The connection is closed after 2.5 times that."""
    idle_s: float = 120.0
    """Time without a stream after which a connection is closed."""
    dial_timeout_s: float = 5.0
    handshake_timeout_s: float = 10.0
    """For the handshake of a connection, and for the protocol negotiation of a stream."""


class InboundSlots:
    """Inbound connections, counted in total and by group. A slot is held from accept to close.

    When all slots are held, the group with the most loses its newest connection to a group with fewer.
    """

    def __init__(self, limits: ConnectionLimits) -> None:
        self._places = Places(limits.max_connections, per_name=limits.max_connections_per_group)

    @property
    def held(self) -> int:
        """The number of slots in use."""
        return len(self._places)

    def acquire(self, group: str | None, end: Callable[[], None]) -> Loan | None:
        """Take a slot, or return None. `group` is None for addresses that are not counted together.

        `end` is called to close the connection when another group gets its slot.
        """
        return self._places.take(Holder(names=(group,) if group else (), is_bounded=False), end)
