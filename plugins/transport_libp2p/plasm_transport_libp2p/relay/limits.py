"""What a relay gives to others."""

from __future__ import annotations

import attrs


@attrs.frozen(kw_only=True)
class RelayLimits:
    """Bounds on reservations and circuits, each circuit's bytes counted both ways together."""

    reservations: int = 128
    reservations_per_group: int = 8
    """From addresses of one /24 or /48."""
    reservation_s: int = 3600
    circuits: int = 64
    circuits_per_peer: int = 16
    """From one peer, and to one peer."""
    circuit_bytes: int = 256 << 20
    circuit_s: int = 3600
