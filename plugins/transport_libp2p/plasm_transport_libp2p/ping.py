"""Ping, `/ipfs/ping/1.0.0` (libp2p specification, "ping"): echoes 32 bytes at a time.

Go and JavaScript drop a DHT server from their routing tables that does not answer it.
"""

from __future__ import annotations

import trio

from plasm_core.plugins.interfaces import Stream
from plasm_transport_libp2p.interfaces import ProtocolRegistrar

PROTOCOL = "/ipfs/ping/1.0.0"
PING_BYTES = 32
_IDLE_S = 60.0
_MAX_PINGS = 1024  # on one stream


def serve(network: ProtocolRegistrar) -> None:
    """Echo 32 bytes at a time to any peer that asks."""
    network.handle(PROTOCOL, _echo)


async def _echo(stream: Stream) -> None:
    for _ in range(_MAX_PINGS):
        received = b""
        with trio.fail_after(_IDLE_S):
            while len(received) < PING_BYTES:
                data = await stream.receive_some(PING_BYTES - len(received))
                if not data:
                    return
                received += data
            await stream.send_all(received)
