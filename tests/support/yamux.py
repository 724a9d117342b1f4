"""A peer of yamux whose frames a test writes by hand."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio
import trio.testing
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.peer.id import ID

from plasm_transport_libp2p.limits import ConnectionLimits
from plasm_transport_libp2p.yamux.connection import YamuxConnection

DATA, WINDOW, PING, GO_AWAY = range(4)
SYN, ACK, FIN, RST = 1, 2, 4, 8
PEER = ID.from_pubkey(create_new_key_pair().public_key)


class Pipe:
    """A secured connection over a stream in memory."""

    def __init__(self, stream: trio.StapledStream[Any, Any], *, is_initiator: bool) -> None:
        self.stream = stream
        self.is_initiator = is_initiator

    async def read(self, n: int | None = None) -> bytes:
        data = b""
        while len(data) < (n or 1):
            more = await self.stream.receive_some((n or 65_536) - len(data))
            if not more:
                raise ConnectionError("hung up")
            data += more
        return data

    async def write(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def close(self) -> None:
        await self.stream.aclose()


def frame(kind: int, flags: int, stream_id: int, length: int, payload: bytes = b"") -> bytes:
    return struct.pack("!BBHII", 0, kind, flags, stream_id, length) + payload


@asynccontextmanager
async def stranger(limits: ConnectionLimits | None = None) -> AsyncIterator[tuple[YamuxConnection, Pipe]]:
    """A connection whose other end the test writes by hand."""
    ours, theirs = trio.testing.memory_stream_pair()
    conn = YamuxConnection(Pipe(ours, is_initiator=False), PEER, limits or ConnectionLimits())  # type: ignore[arg-type]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(conn.start)
        await conn.event_started.wait()
        yield conn, Pipe(theirs, is_initiator=True)
        nursery.cancel_scope.cancel()


async def closed(conn: YamuxConnection) -> None:
    with trio.fail_after(60):
        await conn.event_closed.wait()
