"""How connections are dialled, kept, moved, lost and closed."""

from __future__ import annotations

import contextlib
import random
import socket

import pytest

pytest.importorskip("libp2p", reason="libp2p is not installed: pip install 'phase-plasm[libp2p]'")
pytest.importorskip("aioquic", minversion="1.7", reason="aioquic 1.7 is not installed")

import trio
from libp2p.stream_muxer.exceptions import MuxedConnUnavailable, MuxedStreamReset
from libp2p.transport.exceptions import OpenConnectionError
from multiaddr import Multiaddr

from plasm_transport_libp2p.quic import QuicLimits
from plasm_transport_libp2p.quic.stream import QuicMuxedStream
from tests.support.quic import (
    LISTEN,
    Relay,
    accepted,
    ask,
    pair,
    read_all,
    running,
    until,
)

pytestmark = pytest.mark.trio

IPV6 = "/ip6/::1/udp/0/quic-v1"
HASTY = QuicLimits(idle_timeout_s=2.0, keep_alive_s=0.5, dial_timeout_s=30.0)


async def test_a_peer_that_falls_silent_is_given_up_by_both_sides() -> None:
    """As one does that is stopped, or whose network goes: nothing says so but time."""
    async with running(LISTEN, limits=HASTY) as node, running(limits=HASTY) as client:
        relay = Relay(node.port)
        async with relay.running() as port:
            connection = await client.transport.dial(node.behind(port))
            stream = await connection.open_stream()
            await stream.write(b"x")
            await stream.read(1)
            relay.stopped = True
            inbound = await accepted(node)

            with pytest.raises(MuxedStreamReset, match="Idle timeout"):
                await stream.read(1)
            with pytest.raises(MuxedConnUnavailable, match="Idle timeout"):
                await connection.open_stream()
            await inbound.wait_closed()
            assert connection.is_closed
            assert not connection.is_established


async def test_a_connection_that_nobody_uses_is_kept() -> None:
    async with running(LISTEN, limits=HASTY) as node, running(limits=HASTY) as client:
        relay = Relay(node.port)
        async with relay.running() as port:
            connection = await client.transport.dial(node.behind(port))
            await trio.sleep(2 * HASTY.idle_timeout_s)

            assert await ask(connection, b"still there") == b"still there"


async def test_a_dial_without_an_answer_ends_at_its_deadline() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        async with running(LISTEN) as node, running(limits=QuicLimits(dial_timeout_s=0.3)) as client:
            with pytest.raises(OpenConnectionError, match=r"no answer in 0\.3 s"):
                await client.transport.dial(node.behind(silent.getsockname()[1]))


async def test_a_dial_that_is_cancelled_leaves_no_connection() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        async with running(LISTEN) as node, running() as client:
            with trio.move_on_after(0.05):
                await client.transport.dial(node.behind(silent.getsockname()[1]))
            (endpoint,) = client.transport._dial_locks.values()

            await until(lambda: endpoint.connections == 0)


async def test_a_handshake_that_stalls_is_given_up() -> None:
    """A client that sends its hello and no more must not keep a place."""
    limits = QuicLimits(handshake_timeout_s=0.2)
    async with running(LISTEN, limits=limits) as node, running(limits=HASTY) as client:
        relay = Relay(node.port, first_only=True)

        async def dial(port: int) -> None:
            # On a busy machine the client may read the node's answer together with the refusal that follows it.
            with contextlib.suppress(OpenConnectionError):
                await client.transport.dial(node.behind(port))

        async with relay.running() as port, trio.open_nursery() as nursery:
            nursery.start_soon(dial, port)
            await until(lambda: relay.answers > 0)
            await until(lambda: node.transport._admission.connections == 0)

    assert node.accepted == []


async def test_closing_tells_the_peer_at_once_and_why() -> None:
    async with pair() as (node, _client, connection):
        inbound = await accepted(node)
        stream = await connection.open_stream()
        await inbound.close()

        with pytest.raises(MuxedStreamReset, match="closed"):
            await stream.read(1)
        with pytest.raises(MuxedConnUnavailable, match="closed"):
            await connection.accept_stream()
        assert connection.close_reason == "closed"
        await inbound.close()


async def test_closing_delivers_the_data_of_ended_streams() -> None:
    """A node that answers and stops must not take the answer back."""
    data = random.Random(7).randbytes(700_000)
    received: list[bytes] = []
    done = trio.Event()

    async def keep(stream: QuicMuxedStream) -> None:
        received.append(await read_all(stream))
        done.set()

    async with pair(serve=keep, limits=QuicLimits(linger_s=30.0)) as (_node, _client, connection):
        stream = await connection.open_stream()
        await stream.write(data)
        await stream.close_write()
        await connection.close()
        await done.wait()

    assert received == [data]


async def test_closing_does_not_wait_for_a_peer_that_is_gone() -> None:
    limits = QuicLimits(linger_s=0.1)
    async with running(LISTEN) as node, running(limits=limits) as client:
        relay = Relay(node.port)
        async with relay.running() as port:
            connection = await client.transport.dial(node.behind(port))
            stream = await connection.open_stream()
            relay.stopped = True
            await stream.write(b"x")
            await stream.close_write()
            with trio.fail_after(5):
                await connection.close()

        assert connection.is_closed


async def test_a_lost_close_is_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as the closing period lasts: three probe timeouts, which on loopback are a tenth of a second."""
    async with running(LISTEN) as node, running() as client:
        relay = Relay(node.port)
        async with relay.running() as port:
            connection = await client.transport.dial(node.behind(port))
            inbound = await accepted(node)
            relay.stopped = True
            monkeypatch.setattr(inbound._protocol._loss, "get_probe_timeout", lambda: 20.0)
            await inbound.close()
            await until(lambda: relay.dropped > 0)
            relay.stopped = False
            assert not connection.is_closed
            stream = await connection.open_stream()
            await stream.write(b"are you there")

            with trio.fail_after(5):
                await connection.wait_closed()
        assert connection.close_reason == "closed"


async def test_a_client_whose_address_changes_keeps_its_connection() -> None:
    """A NAT forgets its mapping; the server follows once the new path is proven."""
    data = random.Random(8).randbytes(2_000_000)
    async with running(LISTEN) as node, running() as client:
        relay = Relay(node.port)
        async with relay.running() as port:
            connection = await client.transport.dial(node.behind(port))
            inbound = await accepted(node)
            before = inbound.get_remote_address()
            async with trio.open_nursery() as nursery:

                async def transfer() -> None:
                    assert await ask(connection, data) == data

                nursery.start_soon(transfer)
                await until(lambda: len(relay.seen) > 200)
                await relay.move()
            after = inbound.get_remote_address()

    assert before is not None
    assert after is not None
    assert before[1] != after[1]


async def test_a_dial_goes_out_from_the_listening_socket() -> None:
    """So that a NAT opens the port that is advertised."""
    async with running(LISTEN) as node, running(LISTEN, IPV6) as client:
        connection = await client.transport.dial(node.address)
        back = await accepted(node)

        assert back.get_remote_address() == ("127.0.0.1", client.port)
        assert await ask(connection, b"x") == b"x"
        assert client.transport._dial_locks == {}


async def test_two_nodes_dial_each_other_over_one_socket_each() -> None:
    async with running(LISTEN) as one, running(LISTEN) as two:
        there = await one.transport.dial(two.address)
        back = await two.transport.dial(one.address)

        assert await ask(there, b"there") == b"there"
        assert await ask(back, b"back") == b"back"


async def test_ipv6_is_served_together_with_ipv4() -> None:
    async with running(LISTEN, IPV6) as node, running() as client:
        for address in node.addresses:
            connection = await client.transport.dial(address)
            assert await ask(connection, b"x" * 50_000) == b"x" * 50_000
            assert connection.get_transport_addresses() == [
                address.decapsulate(Multiaddr(f"/p2p/{node.peer_id}"))
            ]

    assert len(node.accepted) == 2


async def test_a_socket_that_cannot_be_bound_is_an_error_of_listening() -> None:
    async with running(LISTEN) as node, running() as other:
        taken = node.address.decapsulate(Multiaddr(f"/p2p/{node.peer_id}"))

        async def ignore(connection: object) -> None:
            pass

        with pytest.raises(OpenConnectionError, match="cannot listen"):
            await other.transport.create_listener(ignore).listen(taken)
        with pytest.raises(OpenConnectionError, match="not the address of a QUIC listener"):
            await other.transport.create_listener(ignore).listen(Multiaddr("/ip4/127.0.0.1/tcp/0"))


async def test_the_swarms_hooks_are_served_when_the_peer_closes() -> None:
    calls: list[str] = []

    class Scope:
        def close(self) -> None:
            calls.append("scope closed")

    async def on_close() -> None:
        calls.append("on_close")

    async with pair() as (node, _client, connection):
        connection.on_close = on_close
        connection.set_resource_scope(Scope())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(connection.start)
            await connection.event_started.wait()
            assert connection.is_established
            await (await accepted(node)).close()

    assert calls == ["scope closed", "on_close"]
    assert not connection.is_established


async def test_a_failing_handler_breaks_only_its_connection() -> None:
    failing = True

    async with running() as client, running() as node:

        async def handle(connection: object) -> None:
            if failing:
                raise RuntimeError("handler")
            await trio.sleep_forever()

        listener = node.transport.create_listener(handle)
        await listener.listen(Multiaddr(LISTEN))
        address = Multiaddr(f"{listener.get_addrs()[0]}/p2p/{node.peer_id}")
        broken = await client.transport.dial(address)
        with trio.fail_after(5):
            await broken.wait_closed()
        failing = False

        assert (await client.transport.dial(address)).is_established
        assert broken.close_reason == "internal error"
