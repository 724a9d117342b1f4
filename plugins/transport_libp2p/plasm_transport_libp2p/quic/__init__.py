"""QUIC over aioquic's sans-IO core, on trio, for py-libp2p's host.

A datagram comes in by `endpoint`, which leads it to its `connection` or asks `admission` about it; `sansio` holds the
protocol's state; a `connection` has `stream`s. `transport` and `listener` are the interface for the host.
"""

from plasm_transport_libp2p.quic.limits import QuicLimits
from plasm_transport_libp2p.quic.transport import QuicTransport

__all__ = ["QuicLimits", "QuicTransport"]
