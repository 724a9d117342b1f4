"""Agreeing on a protocol: multistream-select 1.0.0, on connections and streams, either half.

Header and proposal go out in one write, and a dialler may add its first bytes to them, where the library waits
twice for the other side. Every length is bounded, where the library believes what a stranger announces.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Protocol

from plasm_core.errors import StreamError

_HEADER = "/multistream/1.0.0"
_NOT_AVAILABLE = "na"
_MAX_MESSAGE_BYTES = 1024
_MAX_PROPOSALS = 16


class Pipe(Protocol):
    """What libp2p's connections and streams have in common."""

    async def read(self, n: int | None = None) -> bytes: ...

    async def write(self, data: bytes) -> None: ...


class NegotiationError(StreamError):
    """The other side does not speak the protocol, or not multistream-select."""


def message(text: str) -> bytes:
    """Return a message: its length as an unsigned varint, the text, a newline."""
    body = text.encode() + b"\n"
    length, prefix = len(body), bytearray()
    while length >= 0x80:
        prefix.append(length & 0x7F | 0x80)
        length >>= 7
    return bytes(prefix) + bytes([length]) + body


def proposal(protocol: str) -> bytes:
    """Return what a dialler sends. It may send on at once, but must `confirm` before it reads."""
    return message(_HEADER) + message(protocol)


async def confirm(pipe: Pipe, protocol: str) -> None:
    """Read the answer to a proposal. Raises: `NegotiationError`."""
    if await _read_message(pipe) != _HEADER:
        raise NegotiationError("the peer does not speak multistream-select")
    answer = await _read_message(pipe)
    if answer == _NOT_AVAILABLE:
        raise NegotiationError(f"the peer does not speak {protocol}")
    if answer != protocol:
        raise NegotiationError("the peer answered for another protocol than was proposed")


async def answer(pipe: Pipe, spoken: Container[str]) -> str:
    """Read proposals up to one that is spoken, and accept it. Raises: `NegotiationError`."""
    if await _read_message(pipe) != _HEADER:
        raise NegotiationError("the peer does not speak multistream-select")
    await pipe.write(message(_HEADER))  # some wait for it before they propose
    for _ in range(_MAX_PROPOSALS):
        proposed = await _read_message(pipe)
        if proposed in spoken:
            await pipe.write(message(proposed))
            return proposed
        await pipe.write(message(_NOT_AVAILABLE))
    raise NegotiationError("the peer proposes nothing that is spoken here")


async def _read_message(pipe: Pipe) -> str:
    length = shift = 0
    while True:
        byte = (await read_exactly(pipe, 1))[0]
        length |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            break
        if shift > 14:
            raise NegotiationError("the peer does not speak multistream-select")
    if not 0 < length <= _MAX_MESSAGE_BYTES:
        raise NegotiationError("the peer does not speak multistream-select")
    body = await read_exactly(pipe, length)
    if not body.endswith(b"\n"):
        raise NegotiationError("the peer does not speak multistream-select")
    return body[:-1].decode("utf-8", "replace")


async def read_exactly(pipe: Pipe, count: int) -> bytes:
    """Read just so many bytes. Raises: `NegotiationError` if there are fewer."""
    data = b""
    while len(data) < count:
        more = await pipe.read(count - len(data))
        if not more:
            raise NegotiationError("the peer hung up")
        data += more
    return data
