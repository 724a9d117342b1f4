"""Circuits between real hosts on loopback: made, bounded, refused, and gone with their relay."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("libp2p", reason="libp2p is not installed: pip install 'phase-plasm[libp2p]'")

import attrs
import trio
from multiaddr import Multiaddr

from plasm_core.errors import PeerUnreachableError, StreamError
from plasm_core.plugins.interfaces import Stream
from plasm_core.records.peer import PeerId
from plasm_transport_libp2p import framing
from plasm_transport_libp2p.addresses import parse
from plasm_transport_libp2p.circuit_relay.circuit import reserve
from plasm_transport_libp2p.circuit_relay.limits import RelayLimits
from plasm_transport_libp2p.circuit_relay.message import CONNECT, HOP, MAX_BYTES, HopRequest
from plasm_transport_libp2p.circuit_relay.service import RelayService
from plasm_transport_libp2p.network import Libp2pNetwork
from plasm_transport_libp2p.transport import Libp2pTransport

pytestmark = pytest.mark.trio

ECHO = "/test/echo/1.0.0"


async def echo(stream: Stream) -> None:
    while data := await stream.receive_some():
        await stream.send_all(data)
    await stream.aclose()


@asynccontextmanager
async def opened(*, listen: bool = True) -> AsyncIterator[Libp2pNetwork]:
    transport = Libp2pTransport(listen=("/ip4/127.0.0.1/tcp/0",))
    async with transport.open(None, {ECHO: echo} if listen else {}) as network:
        assert isinstance(network, Libp2pNetwork)
        yield network


@asynccontextmanager
async def brought_together(
    limits: RelayLimits | None = None, *, reserved: bool = True
) -> AsyncIterator[tuple[Libp2pNetwork, Libp2pNetwork, Libp2pNetwork, str]]:
    """Give a relay, a node with a place at it, a client, and the node's address through the relay."""
    async with opened() as hub, opened() as node, opened(listen=False) as client:
        RelayService(hub, limits or RelayLimits()).serve()
        node.circuits.serve()
        if reserved:
            where, _ = parse(hub.addresses[0])
            await reserve(node, hub.peer_id, [where or Multiaddr("")])
            node.circuits.relays.add(hub.peer_id)
        yield hub, node, client, f"{hub.addresses[0]}/p2p-circuit/p2p/{node.peer_id}"


async def read(stream: Stream, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = await stream.receive_some()
        assert more
        data += more
    return data


async def echoed(stream: Stream, *, pieces: int) -> None:
    for _ in range(pieces):
        await stream.send_all(b"x" * 10_000)
        await read(stream, 10_000)


async def test_a_node_is_reached_through_a_relay_and_proves_who_it_is() -> None:
    with trio.fail_after(20):
        async with brought_together() as (_, node, client, address):
            stream = await client.dial(address, ECHO)
            await stream.send_all(b"x" * 300_000)

            assert await read(stream, 300_000) == b"x" * 300_000
            assert stream.remote_peer == node.peer_id
            assert not client.is_connected_directly(node.peer_id)
            await stream.aclose()


async def test_a_node_without_a_place_at_the_relay_is_not_reached() -> None:
    with trio.fail_after(20):
        async with brought_together(reserved=False) as (_, _node, client, address):
            with pytest.raises(PeerUnreachableError, match="no reservation"):
                await client.dial(address, ECHO)


async def test_a_circuit_ends_with_its_bytes() -> None:
    limits = attrs.evolve(RelayLimits(), circuit_bytes=200_000)
    with trio.fail_after(20):
        async with brought_together(limits) as (_, _node, client, address):
            stream = await client.dial(address, ECHO)
            with pytest.raises(StreamError):
                await echoed(stream, pieces=100)


async def test_a_circuit_ends_with_its_time() -> None:
    # On a busy machine the handshake through the circuit may take longer than a second.
    for circuit_s in (1, 8):
        limits = attrs.evolve(RelayLimits(), circuit_s=circuit_s)
        with trio.fail_after(20):
            async with brought_together(limits) as (_, _node, client, address):
                try:
                    stream = await client.dial(address, ECHO)
                except PeerUnreachableError:
                    continue
                with pytest.raises(StreamError):
                    await read(stream, 1)
                return
    pytest.fail("no circuit was made")


async def test_a_relay_makes_no_more_circuits_than_it_may() -> None:
    limits = attrs.evolve(RelayLimits(), circuits=1)
    with trio.fail_after(20):
        async with brought_together(limits) as (_, _node, client, address), opened(listen=False) as other:
            await client.dial(address, ECHO)
            with pytest.raises(PeerUnreachableError, match="no room"):
                await other.dial(address, ECHO)


async def test_a_relay_takes_no_more_reservations_than_it_may() -> None:
    limits = attrs.evolve(RelayLimits(), reservations=1)
    with trio.fail_after(20):
        async with brought_together(limits) as (hub, _node, _, _address), opened() as late:
            where, _ = parse(hub.addresses[0])
            with pytest.raises(StreamError, match="no reservation"):
                await reserve(late, hub.peer_id, [where or Multiaddr("")])


async def test_a_relay_that_is_not_expected_brings_nobody() -> None:
    with trio.fail_after(20):
        async with brought_together() as (hub, node, client, address):
            node.circuits.relays.discard(hub.peer_id)
            with pytest.raises(PeerUnreachableError, match="does not reach the peer"):
                await client.dial(address, ECHO)


@pytest.mark.parametrize("data", [b"\xff", b"\x08", b"\x08\x01\x12\x03\x0a\x01x"])
async def test_an_invalid_message_is_refused(data: bytes) -> None:
    assert len(data) < MAX_BYTES
    with pytest.raises(StreamError):
        HopRequest.decode(data)
    assert HOP.startswith("/libp2p/circuit/relay/")


VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parents[3] / "tests" / "vectors" / "libp2p.json").read_bytes()
)["circuit"]


async def test_messages_are_those_of_the_specification() -> None:
    peer = PeerId.parse(VECTORS["peer_id"])
    request = HopRequest(kind=CONNECT, peer=peer)
    granted = HopRequest.decode(bytes.fromhex(VECTORS["granted_hex"]))

    assert request.encode() == framing.encode(bytes.fromhex(VECTORS["connect_hex"]))
    assert HopRequest.decode(bytes.fromhex(VECTORS["connect_hex"])) == request
    assert (granted.duration_s, granted.data_bytes) == (3600, 1 << 28)
    granted.check()
    for refused in VECTORS["refused"]:
        answer = HopRequest.decode(bytes.fromhex(refused["message_hex"]))
        assert answer.status == refused["status"]
        with pytest.raises(StreamError):
            answer.check()
