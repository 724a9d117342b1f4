"""Protocol negotiation: multistream-select 1.0.0 (libp2p specification, "connections"), both sides.

Header and proposal leave in one write, and the initiator may add its first bytes; py-libp2p waits two round trips.
Every length is bounded; py-libp2p allocates what a stranger announces.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Protocol

from plasm_core.errors import StreamError
from plasm_transport_libp2p.varint import VarintDecoder, encode_varint

_HEADER = "/multistream/1.0.0"
_NOT_AVAILABLE = "na"
_MAX_MESSAGE_BYTES = 1024
_MAX_LENGTH_BYTES = 3
_MAX_PROPOSALS = 16


class ByteStream(Protocol):
    """The methods that py-libp2p's connections and streams have in common."""

    async def read(self, n: int | None = None) -> bytes: ...

    async def write(self, data: bytes) -> None: ...


class NegotiationError(StreamError):
    """The peer does not speak the protocol, or not multistream-select."""


def message(text: str) -> bytes:
    """Return a message: the length of text and newline as an unsigned varint, the text, a newline."""
    body = text.encode() + b"\n"
    return encode_varint(len(body)) + body


def proposal(protocol: str) -> bytes:
    """Return the initiator's bytes. It may send more at once, but must `confirm` before it reads."""
    return message(_HEADER) + message(protocol)


async def confirm(pipe: ByteStream, protocol: str) -> None:
    """Read the answer to a proposal. Raises: `NegotiationError` unless the peer accepts it."""
    if await _read_message(pipe) != _HEADER:
        raise NegotiationError("the peer does not speak multistream-select")
    answer = await _read_message(pipe)
    if answer == _NOT_AVAILABLE:
        raise NegotiationError(f"the peer does not speak {protocol}")
    if answer != protocol:
        raise NegotiationError("the peer answered for another protocol than was proposed")


async def answer(pipe: ByteStream, spoken: Container[str]) -> str:
    """Answer proposals until one is in `spoken`, and return it. Raises: `NegotiationError` after 16."""
    if await _read_message(pipe) != _HEADER:
        raise NegotiationError("the peer does not speak multistream-select")
    await pipe.write(message(_HEADER))  # some initiators wait for the header before they propose
    for _ in range(_MAX_PROPOSALS):
        proposed = await _read_message(pipe)
        if proposed in spoken:
            await pipe.write(message(proposed))
            return proposed
        await pipe.write(message(_NOT_AVAILABLE))
    raise NegotiationError("the peer proposes no protocol that this node speaks")


async def _read_message(pipe: ByteStream) -> str:
    length, complete = VarintDecoder(_MAX_LENGTH_BYTES), False
    while not complete:
        try:
            complete = length.take((await read_exactly(pipe, 1))[0])
        except ValueError:
            raise NegotiationError("the peer does not speak multistream-select") from None
    if not 0 < length.value <= _MAX_MESSAGE_BYTES:
        raise NegotiationError("the peer does not speak multistream-select")
    body = await read_exactly(pipe, length.value)
    if not body.endswith(b"\n"):
        raise NegotiationError("the peer does not speak multistream-select")
    return body[:-1].decode("utf-8", "replace")


async def read_exactly(pipe: ByteStream, count: int) -> bytes:
    """Read exactly `count` bytes. Raises: `NegotiationError` if the stream ends before."""
    data = b""
    while len(data) < count:
        more = await pipe.read(count - len(data))
        if not more:
            raise NegotiationError("the peer hung up")
        data += more
    return data
