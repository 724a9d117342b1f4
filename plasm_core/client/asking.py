"""Asking the daemon on this machine a question that has one answer."""

from __future__ import annotations

import trio

from plasm_core import paths, plugins
from plasm_core.abc import Network, Transport
from plasm_core.config import Config
from plasm_core.errors import PeerUnreachableError, ProtocolError

_ASK_S = 5.0
_MAX_BYTES = 1 << 20


async def ask(config: Config, protocol: str) -> bytes:
    """Return what the first daemon that answers says: a u32 big-endian length and as many bytes.

    Raises: `PeerUnreachableError`, `ProtocolError`, `StreamError`.
    """
    transport = plugins.create(Transport, "local", config.table("transport", "local"))  # type: ignore[type-abstract]
    problems, hint = [], None
    async with transport.open(None, {}) as network:
        for path in paths.sockets():
            try:
                with trio.fail_after(_ASK_S):
                    return await told(network, f"unix:{path}", protocol)
            except (PeerUnreachableError, trio.TooSlowError) as exc:
                problems.append(f"{path}: {str(exc) or f'no answer within {_ASK_S:.0f} s'}")
                hint = hint or getattr(exc, "hint", None)
    found = f"none answers: {'; '.join(problems)}" if problems else "none is running"
    raise PeerUnreachableError(found, hint=hint or "start one with: plasmd")


async def told(network: Network, address: str, protocol: str) -> bytes:
    """Return what is answered at an address. Raises: `PeerUnreachableError`, `ProtocolError`, `StreamError`."""
    stream = await network.dial(address, protocol)
    try:
        received = bytearray()
        while data := await stream.receive_some():
            received += data
            if len(received) > _MAX_BYTES:
                raise ProtocolError("the daemon says more than can be")
    finally:
        await stream.aclose()
    length = int.from_bytes(received[:4], "big")
    if len(received) < 4 or length != len(received) - 4:
        raise ProtocolError("the daemon did not finish its answer")
    return bytes(received[4:])
