"""Asking the daemon on this machine a question that has one answer."""

from __future__ import annotations

import trio

from plasm_core import paths, plugins
from plasm_core.abc import Network, Transport
from plasm_core.client.answer import read_answer
from plasm_core.config import Config
from plasm_core.errors import PeerUnreachableError

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
        return await read_answer(stream, max_bytes=_MAX_BYTES)
    finally:
        await stream.aclose()
