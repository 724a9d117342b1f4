"""The contract of transports. A plugin's tests inherit from `TransportContract`.

    class TestMine(TransportContract):
        @pytest.fixture
        def transport(self) -> Transport:
            return Mine()

It needs pytest-trio.
"""

from __future__ import annotations

import contextlib
import hashlib
from abc import ABC, abstractmethod

import pytest
import trio

from plasm_core.errors import PeerUnreachableError, PlasmError, StreamError
from plasm_core.plugins.interfaces import Network, Stream, Transport

PROTOCOL = "/plasm/contract/1.0.0"
_DEADLINE_S = 30


class TransportContract(ABC):
    """The tests of a transport. The fixture `transport` returns one that listens where no other test does."""

    @abstractmethod
    def transport(self) -> Transport:
        """Return the transport to test, as a fixture."""

    async def _dial(self, network: Network, protocol: str = PROTOCOL) -> Stream:
        with trio.fail_after(_DEADLINE_S):
            return await network.dial(network.addresses[0], protocol)

    @pytest.mark.trio
    async def test_bytes_arrive_both_ways(self, transport: Transport) -> None:
        async def upper(stream: Stream) -> None:
            while data := await stream.receive_some():
                await stream.send_all(data.upper())

        async with transport.open(None, {PROTOCOL: upper}) as network:
            stream = await self._dial(network)
            await stream.send_all(b"hello")
            with trio.fail_after(_DEADLINE_S):
                answer = b""
                while len(answer) < 5:
                    answer += await stream.receive_some()
            await stream.aclose()

        assert answer == b"HELLO"

    @pytest.mark.trio
    async def test_ten_megabytes_arrive_in_order(self, transport: Transport) -> None:
        data = b"".join(hashlib.sha256(i.to_bytes(4, "big")).digest() for i in range(10 * (1 << 20) // 32))

        async def give(stream: Stream) -> None:
            await stream.send_all(data)
            await stream.receive_some()

        async with transport.open(None, {PROTOCOL: give}) as network:
            stream = await self._dial(network)
            received = bytearray()
            with trio.fail_after(_DEADLINE_S):
                while len(received) < len(data):
                    received += await stream.receive_some()
            await stream.aclose()

        assert bytes(received) == data

    @pytest.mark.trio
    async def test_no_more_than_was_asked_for_is_received(self, transport: Transport) -> None:
        async def give(stream: Stream) -> None:
            await stream.send_all(b"x" * 1000)
            await stream.receive_some()

        async with transport.open(None, {PROTOCOL: give}) as network:
            stream = await self._dial(network)
            with trio.fail_after(_DEADLINE_S):
                sizes: list[int] = []
                while sum(sizes) < 1000:
                    sizes.append(len(await stream.receive_some(7)))
            await stream.aclose()

        assert max(sizes) <= 7

    @pytest.mark.trio
    async def test_the_end_of_a_stream_is_seen(self, transport: Transport) -> None:
        async def leave(stream: Stream) -> None:
            await stream.send_all(b"bye")
            await stream.aclose()

        async with transport.open(None, {PROTOCOL: leave}) as network:
            stream = await self._dial(network)
            received = b""
            with trio.fail_after(_DEADLINE_S):
                while data := await stream.receive_some():
                    received += data
            await stream.aclose()

        assert received == b"bye"

    @pytest.mark.trio
    async def test_a_stream_is_not_silent_when_bytes_or_its_end_have_come(self, transport: Transport) -> None:
        """A client would take an earlier answer, or the end, for the answer to its next question."""

        async def answer(stream: Stream) -> None:
            while (await stream.receive_some()) == b"question":
                await stream.send_all(b"answer")
            await stream.aclose()

        async with transport.open(None, {PROTOCOL: answer}) as network:
            stream = await self._dial(network)
            with trio.fail_after(_DEADLINE_S):
                await stream.send_all(b"question")
                assert await stream.receive_some(1) == b"a"
                is_silent_amid_an_answer = stream.is_silent()
                received = b"a"
                while len(received) < len(b"answer"):
                    received += await stream.receive_some()
                await stream.send_all(b"end")
                while stream.is_silent():  # noqa: ASYNC110 - there is nothing to wait on but reading
                    await trio.sleep(0.01)
            await stream.aclose()

        assert not is_silent_amid_an_answer
        assert not stream.is_silent()

    @pytest.mark.trio
    async def test_a_reader_that_waits_holds_the_writer(self, transport: Transport) -> None:
        sent = 0

        async def flood(stream: Stream) -> None:
            nonlocal sent
            while True:
                await stream.send_all(bytes(65_536))
                sent += 65_536

        async with transport.open(None, {PROTOCOL: flood}) as network:
            stream = await self._dial(network)
            await stream.receive_some(1)
            before = -1
            with trio.fail_after(_DEADLINE_S):
                while sent != before:
                    before = sent
                    await trio.sleep(0.2)
            await stream.aclose()

        assert sent <= 64 << 20

    @pytest.mark.trio
    async def test_a_handler_that_fails_breaks_its_stream_only(self, transport: Transport) -> None:
        async def fail(stream: Stream) -> None:
            if await stream.receive_some() == b"fail":
                raise RuntimeError("on purpose")
            await stream.send_all(b"fine")

        async with transport.open(None, {PROTOCOL: fail}) as network:
            broken, sound = await self._dial(network), await self._dial(network)
            await broken.send_all(b"fail")
            with trio.fail_after(_DEADLINE_S):
                with contextlib.suppress(StreamError):
                    assert await broken.receive_some() == b""
                await sound.send_all(b"work")
                answer = await sound.receive_some()
            await broken.aclose()
            await sound.aclose()

        assert answer == b"fine"

    @pytest.mark.trio
    async def test_a_protocol_that_is_not_spoken_is_refused(self, transport: Transport) -> None:
        async def never(stream: Stream) -> None:
            raise AssertionError

        async with transport.open(None, {PROTOCOL: never}) as network:
            with pytest.raises(PlasmError), trio.fail_after(_DEADLINE_S):
                await self._ask(network, "/plasm/other/1.0.0")

    async def _ask(self, network: Network, protocol: str) -> None:
        stream = await self._dial(network, protocol)
        await stream.send_all(b"?")
        if not await stream.receive_some():
            raise StreamError("it ended, as a carrier may refuse")

    @pytest.mark.trio
    async def test_what_has_closed_cannot_be_dialled(self, transport: Transport) -> None:
        async def never(stream: Stream) -> None:
            raise AssertionError

        async with transport.open(None, {PROTOCOL: never}) as network:
            address = network.addresses[0]

        async with transport.open(None, {}) as client:
            with pytest.raises(PeerUnreachableError), trio.fail_after(_DEADLINE_S):
                await client.dial(address, PROTOCOL)

    @pytest.mark.trio
    async def test_the_end_of_a_network_ends_its_streams(self, transport: Transport) -> None:
        ended = trio.Event()

        async def wait(stream: Stream) -> None:
            try:
                await stream.send_all(b"started")
                await stream.receive_some()
            finally:
                ended.set()

        async with transport.open(None, {PROTOCOL: wait}) as network:
            stream = await self._dial(network)
            await stream.receive_some()

        with trio.fail_after(_DEADLINE_S):
            await ended.wait()
            await stream.aclose()
