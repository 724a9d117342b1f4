"""Limits of the relay service."""

from __future__ import annotations

import attrs


@attrs.frozen(kw_only=True)
class RelayLimits:
    """Limits on reservations and circuits. A circuit's bytes are counted over both directions."""

    reservations: int = 128
    reservations_per_group: int = 8
    """For peers of one /24 of IPv4 or /48 of IPv6."""
    reservation_s: int = 3600
    circuits: int = 64
    circuits_per_peer: int = 16
    """From one peer, and likewise to one peer."""
    circuit_bytes: int = 256 << 20
    circuit_s: int = 3600
