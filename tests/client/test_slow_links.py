"""An upload over a slow link goes on as long as the node takes something of it."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from plasm_core.client.connection import SILENCE_S, Link
from plasm_core.client.upload_sending import _FAST_BYTES
from plasm_core.errors import ConnectionLostError
from plasm_core.plugins.interfaces import Stream
from plasm_core.records import PeerId

pytestmark = pytest.mark.trio


class _Slow(Stream):
    """A stream that takes so many bytes a second."""

    def __init__(self, bytes_per_s: float) -> None:
        self.sent = b""
        self._bytes_per_s = bytes_per_s

    @property
    def remote_peer(self) -> PeerId | None:
        return None

    @property
    def remote_group(self) -> str:
        return "there"

    async def send_all(self, data: bytes) -> None:
        await trio.sleep(len(data) / self._bytes_per_s)
        self.sent += data

    async def receive_some(self, max_bytes: int = 65_536) -> bytes:
        return await trio.sleep_forever()

    async def aclose(self) -> None:
        """Nothing is open."""


async def test_a_large_piece_has_its_time_on_a_slow_link(autojump_clock: trio.testing.MockClock) -> None:
    """What a link takes fast at first may only fill its buffers."""
    frames, slow = bytes(range(256)) * (_FAST_BYTES // 256), _Slow(4000)
    await Link(slow).send(frames)

    assert slow.sent == frames


async def test_a_node_that_takes_next_to_nothing_is_given_up(autojump_clock: trio.testing.MockClock) -> None:
    began = trio.current_time()
    with pytest.raises(ConnectionLostError, match="read nothing"):
        await Link(_Slow(1)).send(bytes(_FAST_BYTES))

    assert trio.current_time() == pytest.approx(began + SILENCE_S)
