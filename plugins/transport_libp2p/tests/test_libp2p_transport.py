"""Real hosts on loopback: the contract, identities, addresses."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

import pytest

pytest.importorskip("libp2p", reason="libp2p is not installed: pip install 'phase-plasm[libp2p]'")

import trio

from plasm_core.errors import ConfigError, PeerUnreachableError, StreamError, TransportError
from plasm_core.plugins.interfaces import Stream, Transport
from plasm_core.records.peer import PeerId
from plasm_core.testing.transport_contract import PROTOCOL, TransportContract
from plasm_signer_ed25519 import Ed25519Signer
from plasm_transport_libp2p.transport import Libp2pTransport

pytestmark = pytest.mark.trio

LOCAL = ("/ip4/127.0.0.1/tcp/0",)
QUIC = "/ip4/127.0.0.1/udp/0/quic-v1"


def local(*listen: str, **limits: int) -> Libp2pTransport:
    return Libp2pTransport(listen=listen or LOCAL, **limits)


async def echo(stream: Stream) -> None:
    while data := await stream.receive_some():
        await stream.send_all(data)


async def tell_who(stream: Stream) -> None:
    await stream.send_all(f"{stream.remote_peer} {stream.remote_group}".encode())


async def receive_all(stream: Stream) -> bytes:
    received = b""
    with trio.fail_after(10):
        while data := await stream.receive_some():
            received += data
    await stream.aclose()
    return received


class TestContractOverTcp(TransportContract):
    @pytest.fixture
    def transport(self) -> Transport:
        return local()


class TestContractOverQuic(TransportContract):
    @pytest.fixture
    def transport(self) -> Transport:
        return local(QUIC)


@pytest.mark.parametrize("listen", [*LOCAL, QUIC])
async def test_both_sides_prove_the_keys_of_their_signers(tmp_path: Path, listen: str) -> None:
    """PeerId = receipt key, and libp2p never sees the secret."""
    signers = [Ed25519Signer(key=str(tmp_path / name / "node.key")) for name in "ab"]
    async with (
        local(listen).open(signers[0], {PROTOCOL: tell_who}) as node,
        local().open(signers[1], {}) as client,
    ):
        address = node.addresses[0]
        stream = await client.dial(address, PROTOCOL)
        told = (await receive_all(stream)).decode().split()

    assert stream.remote_peer == signers[0].peer_id
    assert told[0] == str(signers[1].peer_id)
    assert address.endswith(f"/p2p/{signers[0].peer_id}")


async def test_a_session_without_an_identity_has_a_fresh_key() -> None:
    async with local().open(None, {PROTOCOL: tell_who}) as node:
        told = []
        for _ in range(2):
            async with local().open(None, {}) as client:
                told.append(await receive_all(await client.dial(node.addresses[0], PROTOCOL)))

    peers = [PeerId.parse(text.decode().split()[0]) for text in told]
    groups = [text.decode().split()[1] for text in told]
    assert peers[0] != peers[1]
    assert groups[0] == groups[1]
    assert "127.0.0" not in groups[0]


@pytest.mark.parametrize("listen", [*LOCAL, QUIC])
async def test_another_peer_than_the_one_that_was_named_is_not_dialled(listen: str) -> None:
    async with (
        local(listen).open(None, {PROTOCOL: echo}) as node,
        local(listen).open(None, {PROTOCOL: echo}) as other,
    ):
        address, _, peer = node.addresses[0].partition("/p2p/")
        wrong = f"{address}/p2p/{other.addresses[0].rpartition('/')[2]}"
        async with local().open(None, {}) as client:
            with pytest.raises(PeerUnreachableError):
                await client.dial(wrong, PROTOCOL)
            stream = await client.dial(f"{address}/p2p/{peer}", PROTOCOL)
            await stream.aclose()

    assert str(stream.remote_peer) == peer


async def test_an_address_without_a_peer_id_reaches_any_peer() -> None:
    async with local().open(None, {PROTOCOL: echo}) as node, local().open(None, {}) as client:
        address, _, peer = node.addresses[0].partition("/p2p/")
        streams = [await client.dial(address, PROTOCOL) for _ in range(2)]
        for stream in streams:
            await stream.aclose()
        connections = client.host.get_network().get_connections()  # type: ignore[attr-defined]

    assert {str(stream.remote_peer) for stream in streams} == {peer}
    assert len(connections) == 1


async def test_a_node_listens_on_ipv4_and_ipv6_at_once() -> None:
    groups = []
    async with local("/ip4/127.0.0.1/tcp/0", "/ip6/::1/tcp/0").open(None, {PROTOCOL: tell_who}) as node:
        addresses = node.addresses
        for address in addresses:
            async with local().open(None, {}) as client:
                groups.append((await receive_all(await client.dial(address, PROTOCOL))).split()[1])

    assert [address.split("/")[1] for address in addresses] == ["ip4", "ip6"]
    assert groups[0] != groups[1]


async def test_a_port_that_is_taken_is_an_error() -> None:
    """The library would share it, and every other connection would go elsewhere."""
    async with local().open(None, {PROTOCOL: echo}) as node:
        address = node.addresses[0].partition("/p2p/")[0]
        with pytest.raises(TransportError, match="cannot listen on"):
            async with local(address).open(None, {PROTOCOL: echo}):
                raise AssertionError


async def test_a_node_without_protocols_does_not_listen() -> None:
    async with local().open(None, {}) as client:
        assert client.addresses == ()


@pytest.mark.parametrize(
    "address",
    [
        "",
        "nonsense",
        "/ip4/127.0.0.1",
        "/ip4/127.0.0.1/tcp/1/http",
        "/p2p/12D3KooW",
        "/p2p/12D3KooWA4Xop1JaT3MHxwYMkCepYsv4iPVopMXwCz5iHYdBfeSB",
        "/ip4/127.0.0.1/tcp/1/p2p/QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N",
        "/ip4/127.0.0.1/tcp/1/" + "x" * 2000,
    ],
)
async def test_an_invalid_address_cannot_be_dialled(address: str) -> None:
    async with local().open(None, {}) as client:
        with pytest.raises(PeerUnreachableError):
            await client.dial(address, PROTOCOL)


async def test_a_peer_that_never_answers_is_given_up() -> None:
    """The library takes 40 s: it tries again."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        async with local(dial_timeout_s=1).open(None, {}) as client:
            with pytest.raises(PeerUnreachableError, match="no answer"), trio.fail_after(5):
                await client.dial(f"/ip4/127.0.0.1/tcp/{silent.getsockname()[1]}", PROTOCOL)


@pytest.mark.parametrize("listen", [*LOCAL, QUIC])
async def test_one_connection_carries_all_streams_to_a_peer(listen: str) -> None:
    async with local(listen).open(None, {PROTOCOL: echo}) as node, local().open(None, {}) as client:
        streams = []
        async with trio.open_nursery() as nursery:

            async def dial() -> None:
                streams.append(await client.dial(node.addresses[0], PROTOCOL))

            for _ in range(20):
                nursery.start_soon(dial)
        assert len(client.host.get_network().get_connections()) == 1  # type: ignore[attr-defined]
        known = await client.dial("/p2p/" + node.addresses[0].rpartition("/")[2], PROTOCOL)
        await known.send_all(b"hello")
        assert await known.receive_some() == b"hello"
        for stream in [*streams, known]:
            await stream.aclose()


@pytest.mark.parametrize("listen", [*LOCAL, QUIC])
async def test_a_stream_that_was_left_while_sending_is_broken_not_ended(listen: str) -> None:
    """Half a message must not be taken for a whole one."""
    ends: list[object] = []
    done = trio.Event()
    go_on = trio.Event()

    async def read_late(stream: Stream) -> None:
        await go_on.wait()
        try:
            while await stream.receive_some():
                pass
            ends.append("ended")
        except StreamError as exc:
            ends.append(exc)
        done.set()

    async with local(listen).open(None, {PROTOCOL: read_late}) as node, local().open(None, {}) as client:
        stream = await client.dial(node.addresses[0], PROTOCOL)
        with trio.move_on_after(0.5) as scope:
            await stream.send_all(bytes(8 << 20))
        with pytest.raises(StreamError):
            await stream.send_all(b"more")
        await stream.aclose()
        go_on.set()
        with trio.fail_after(10):
            await done.wait()

    assert scope.cancelled_caught
    assert isinstance(ends[0], StreamError)


@pytest.mark.parametrize("listen", [*LOCAL, QUIC])
async def test_a_broken_connection_is_not_taken_for_the_end(listen: str) -> None:
    """The library says EOF when a connection goes away."""
    started = trio.Event()

    async def wait(stream: Stream) -> None:
        started.set()
        await stream.receive_some()

    async with local().open(None, {}) as client:
        async with local(listen).open(None, {PROTOCOL: wait}) as node:
            stream = await client.dial(node.addresses[0], PROTOCOL)
            await stream.send_all(b"")
            await started.wait()
        with pytest.raises(StreamError), trio.fail_after(10):
            await stream.receive_some()
        await stream.aclose()


async def test_wrong_configuration_is_named() -> None:
    from plasm_core.plugins import loading

    with pytest.raises(ConfigError, match=r"transport\.libp2p\.max_streams"):
        loading.create(Transport, "libp2p", {"max_streams": 0})  # type: ignore[type-abstract]


async def test_cancelled_dials_leave_nothing_behind() -> None:
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as silent:
        async with local().open(None, {}) as client:
            silent.settimeout(20)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(client.dial, f"/ip4/127.0.0.1/tcp/{silent.getsockname()[1]}", PROTOCOL)
                accepted, _ = await trio.to_thread.run_sync(silent.accept)
                accepted.settimeout(20)
                assert await trio.to_thread.run_sync(accepted.recv, 1) != b""
                nursery.cancel_scope.cancel()
            with contextlib.closing(accepted):
                while await trio.to_thread.run_sync(accepted.recv, 4096):
                    pass
