"""Telling that one is there: `/ipfs/ping/1.0.0` (libp2p specification, "ping").

Implementations in other languages keep no server of the directory in their tables that does not answer it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from plasm_core.abc import Stream

if TYPE_CHECKING:
    from plasm_transport_libp2p.network import Libp2pNetwork

PROTOCOL = "/ipfs/ping/1.0.0"
PING_BYTES = 32
_IDLE_S = 60.0
_MAX_PINGS = 1024  # on one stream


def serve(network: Libp2pNetwork) -> None:
    """Send back what whoever asks sends, 32 bytes at a time."""
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
