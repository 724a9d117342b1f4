"""The protocols of one answer: whatever is sent is read, in pieces of any size, and no more than was allowed."""

from __future__ import annotations

import pytest
import trio

from plasm_core.errors import ProtocolError, StreamError
from plasm_core.plugins.interfaces import Stream
from plasm_core.protocol.single_answer import answering, encode_answer, read_answer

pytestmark = pytest.mark.trio


class _Tape(Stream):
    """A stream that keeps what is sent, and plays it back a few bytes at a time."""

    def __init__(self, data: bytes = b"", *, piece_bytes: int = 65_536) -> None:
        self.data = data
        self.is_closed = False
        self._piece_bytes = piece_bytes

    @property
    def remote_peer(self) -> None:
        return None

    @property
    def remote_group(self) -> str:
        return "group"

    async def send_all(self, data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        self.data += data

    async def receive_some(self, max_bytes: int = 65_536) -> bytes:
        await trio.lowlevel.checkpoint()
        size = min(max_bytes, self._piece_bytes)
        data, self.data = self.data[:size], self.data[size:]
        return data

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()
        self.is_closed = True


@pytest.mark.parametrize("answer", [b"", b"x", b'{"checks":[]}' * 1000])
async def test_an_answer_that_is_sent_is_read(answer: bytes) -> None:
    sent = _Tape()

    await answering(lambda: answer)(sent)

    assert sent.is_closed
    assert sent.data == len(answer).to_bytes(4, "big") + answer
    for piece_bytes in (1, 3, 65_536):
        assert await read_answer(_Tape(sent.data, piece_bytes=piece_bytes), max_bytes=65_536) == answer


async def test_an_answer_that_is_too_long_is_not_read() -> None:
    with pytest.raises(ProtocolError, match="is 101 bytes long, and may be 100"):
        await read_answer(_Tape(encode_answer(bytes(101))), max_bytes=100)


@pytest.mark.parametrize("cut", [1, 4, 50])
async def test_an_answer_that_breaks_off_is_an_error(cut: int) -> None:
    with pytest.raises(StreamError, match="it ended within its answer"):
        await read_answer(_Tape(encode_answer(bytes(100))[:-cut]), max_bytes=100)
