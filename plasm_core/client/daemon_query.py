"""Asking the daemon on this machine a question that has one answer."""

from __future__ import annotations

import trio

from plasm_core import paths, starting
from plasm_core.client.start_patience import StartPatience
from plasm_core.config import Config
from plasm_core.errors import NodeStalledError, PeerUnreachableError
from plasm_core.plugins import loading
from plasm_core.plugins.interfaces import Network, Transport
from plasm_core.protocol.single_answer import read_answer
from plasm_core.start_hint import start_hint

_ASK_S = 5.0
_MAX_BYTES = 1 << 20


async def ask(
    config: Config, protocol: str, question: bytes = b"", *, grace_s: float = starting.GRACE_S
) -> bytes:
    """Return the answer of the first daemon that answers: a big-endian u32 length, then that many bytes.

    `question`: the bytes to send first. `grace_s`: how long to wait for a daemon that has left no trace of starting.

    Raises: `NodeStalledError` if a daemon accepts the connection and does not answer, `PeerUnreachableError`,
    `ProtocolError`, `StreamError`.
    """
    transport = loading.create(Transport, "local", config.table("transport", "local"))  # type: ignore[type-abstract]
    async with transport.open(None, {}) as network:
        patience = StartPatience(grace_s=grace_s)
        while True:
            problems, hint, silent = [], None, False
            for path in paths.sockets():
                try:
                    with trio.fail_after(_ASK_S):
                        return await told(network, f"unix:{path}", protocol, question)
                except (PeerUnreachableError, trio.TooSlowError) as exc:
                    silent = silent or isinstance(exc, trio.TooSlowError)
                    problems.append(f"{path}: {str(exc) or f'no answer within {_ASK_S:.0f} s'}")
                    hint = hint or getattr(exc, "hint", None)
            if silent or not await patience.goes_on(answered=False):
                found = f"none answers: {'; '.join(problems)}" if problems else "none is running"
                error = NodeStalledError if silent else PeerUnreachableError
                raise error(found, hint=hint or start_hint())


async def told(network: Network, address: str, protocol: str, question: bytes = b"") -> bytes:
    """Return the answer of the daemon at an address. Raises:

    `PeerUnreachableError`, `ProtocolError`, `StreamError`.
    """
    stream = await network.dial(address, protocol)
    try:
        if question:
            await stream.send_all(question)
        return await read_answer(stream, max_bytes=_MAX_BYTES)
    finally:
        await stream.aclose()
