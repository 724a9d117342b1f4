"""Caps on connections, proof of address, and packets that are none."""

from __future__ import annotations

import itertools
import os
import random
import socket

import pytest

pytest.importorskip("libp2p", reason="libp2p is not installed: pip install 'phase-plasm[libp2p]'")
pytest.importorskip("aioquic", minversion="1.7", reason="aioquic 1.7 is not installed")

import trio
from aioquic.quic.packet import QuicHeader, QuicPacketType, QuicProtocolVersion
from libp2p.transport.exceptions import OpenConnectionError

from plasm_transport_libp2p.quic import QuicLimits
from plasm_transport_libp2p.quic.admission import (
    AcceptInitial,
    HandshakeAdmission,
    IgnoreInitial,
    StatelessReply,
)
from plasm_transport_libp2p.quic.sansio import parse_header
from tests.support.quic import LISTEN, Relay, accepted, ask, running, until

pytestmark = pytest.mark.trio

VERSION = int(QuicProtocolVersion.VERSION_1)
CLIENT = ("192.0.2.7", 4001)
RETRY_PACKET = 0xF0
"""The first byte of a Retry packet of version 1, less four bits that mean nothing (RFC 9000, 17.2.5)."""


def initial(*, token: bytes = b"", cid: bytes = b"12345678", version: int = VERSION) -> QuicHeader:
    return QuicHeader(
        version=version,
        packet_type=QuicPacketType.INITIAL,
        packet_length=1200,
        destination_cid=cid,
        source_cid=b"abcdefgh",
        token=token,
        integrity_tag=b"",
        supported_versions=[],
    )


def judge(
    admission: HandshakeAdmission,
    header: QuicHeader,
    address: tuple[str, int] = CLIENT,
    *,
    size: int = 1200,
    now: float = 0.0,
) -> AcceptInitial | StatelessReply | IgnoreInitial:
    return admission.judge(header, size, address, [VERSION], now)


def retry(answer: AcceptInitial | StatelessReply | IgnoreInitial) -> QuicHeader:
    assert isinstance(answer, StatelessReply)
    header = parse_header(answer.datagram)
    assert header is not None
    assert header.packet_type is QuicPacketType.RETRY
    return header


async def test_clients_prove_their_address_when_many_handshakes_are_open() -> None:
    admission = HandshakeAdmission(QuicLimits(retry_above=2))
    slots = [admission.admit(CLIENT) for _ in range(2)]
    first = retry(judge(admission, initial()))
    second = judge(admission, initial(token=first.token, cid=first.source_cid), now=1.0)

    assert second == AcceptInitial(original_destination_cid=b"12345678", retry_source_cid=first.source_cid)
    slots[0].end_handshake()
    assert isinstance(judge(admission, initial()), AcceptInitial)


@pytest.mark.parametrize("fault", ["another address", "another connection id", "too late", "forged"])
async def test_a_token_is_valid_for_one_address_one_connection_and_a_limited_time(fault: str) -> None:
    admission = HandshakeAdmission(QuicLimits(retry_above=0))
    given = retry(judge(admission, initial()))
    address = ("192.0.2.8", 4001) if fault == "another address" else CLIENT
    cid = b"another!" if fault == "another connection id" else given.source_cid
    token = given.token[:-1] + bytes([given.token[-1] ^ 1]) if fault == "forged" else given.token
    now = 31.0 if fault == "too late" else 1.0

    verdict = judge(admission, initial(token=token, cid=cid), address, now=now)

    assert isinstance(verdict, StatelessReply)
    header = parse_header(verdict.datagram)
    assert header is not None
    assert header.packet_type is QuicPacketType.INITIAL


async def test_connections_are_capped_by_prefix_and_in_all() -> None:
    admission = HandshakeAdmission(QuicLimits(connections=3, connections_per_prefix=2))
    slots = [admission.admit(("192.0.2.1", 1)), admission.admit(("192.0.2.200", 1))]

    assert isinstance(judge(admission, initial(), ("192.0.2.77", 1)), StatelessReply)
    assert isinstance(judge(admission, initial(), ("192.0.3.77", 1)), AcceptInitial)

    slots.append(admission.admit(("2001:db8:1::1", 1)))
    assert isinstance(judge(admission, initial(), ("192.0.3.77", 1)), StatelessReply)

    slots[0].release()
    slots[0].release()
    assert admission.connections == 2
    assert isinstance(judge(admission, initial(), ("192.0.2.77", 1)), AcceptInitial)


async def test_an_ipv6_prefix_is_48_bits() -> None:
    admission = HandshakeAdmission(QuicLimits(connections_per_prefix=1))
    admission.admit(("2001:db8:1::1", 1))

    assert isinstance(judge(admission, initial(), ("2001:db8:1:ffff::2", 1)), StatelessReply)
    assert isinstance(judge(admission, initial(), ("2001:db8:2::1", 1)), AcceptInitial)


async def test_connections_of_this_machine_have_only_the_total_cap() -> None:
    admission = HandshakeAdmission(QuicLimits(connections=3, connections_per_prefix=1))
    slots = [
        admission.admit(("127.0.0.1", 1)),
        admission.admit(("127.0.0.1", 2)),
        admission.admit(("::1", 1)),
    ]

    assert isinstance(judge(admission, initial(), ("127.0.0.1", 3)), StatelessReply)

    slots[0].release()
    assert isinstance(judge(admission, initial(), ("127.0.0.1", 3)), AcceptInitial)


async def test_handshakes_beyond_the_limit_are_not_answered() -> None:
    admission = HandshakeAdmission(QuicLimits(handshakes=1, retry_above=5))
    admission.admit(CLIENT)

    assert judge(admission, initial()) is IgnoreInitial.IGNORE


async def test_no_answer_is_larger_than_three_times_what_asked_for_it() -> None:
    """RFC 9000, 8.1: or others' addresses are flooded by way of this node."""
    always, never = QuicLimits(retry_above=0), QuicLimits(connections=1)
    full = HandshakeAdmission(never)
    full.admit(CLIENT)
    answers = [
        judge(HandshakeAdmission(always), initial()),
        judge(HandshakeAdmission(never), initial(version=0xABCD)),
        judge(full, initial()),
        judge(full, initial(token=b"x" * 50)),
    ]

    assert all(isinstance(answer, StatelessReply) and len(answer.datagram) <= 3600 for answer in answers)
    assert judge(HandshakeAdmission(always), initial(), size=1199) is IgnoreInitial.IGNORE
    assert judge(HandshakeAdmission(always), initial(cid=b"short")) is IgnoreInitial.IGNORE


async def test_a_handshake_through_a_retry_succeeds() -> None:
    async with running(LISTEN, limits=QuicLimits(retry_above=0)) as node, running() as client:
        relay = Relay(node.port)
        async with relay.running() as port:
            connection = await client.transport.dial(node.behind(port))

            assert await ask(connection, b"proven") == b"proven"
        initials = [datagram for datagram in relay.seen if datagram[0] & 0xF0 == 0xC0]
        headers = [parse_header(datagram) for datagram in initials]

    tokens = [bool(header.token) for header in headers if header is not None]
    # On a busy machine the client may send its first packet again before it has read the Retry.
    assert [has_token for has_token, _ in itertools.groupby(tokens)] == [False, True]


async def test_a_node_that_is_full_refuses_at_once_and_serves_again_when_it_is_not() -> None:
    async with (
        running(LISTEN, limits=QuicLimits(connections=2)) as node,
        running(limits=QuicLimits(dial_timeout_s=30)) as client,
    ):
        first = await client.transport.dial(node.address)
        await client.transport.dial(node.address)
        with pytest.raises(OpenConnectionError, match="error 0x2"):
            await client.transport.dial(node.address)
        await first.close()
        await until(lambda: node.transport._admission.connections == 1)

        third = await client.transport.dial(node.address)
        assert await ask(third, b"again") == b"again"


async def test_garbage_is_dropped_and_closes_no_connection(caplog: pytest.LogCaptureFixture) -> None:
    noise = random.Random(5)
    relayed = []
    async with running(LISTEN) as node, running() as client:
        relay = Relay(node.port)
        async with relay.running() as port:
            connection = await client.transport.dial(node.behind(port))
            await ask(connection, b"x" * 5000)
            relayed = list(relay.seen)
        stranger = trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with stranger:
            for _ in range(300):
                junk = noise.randbytes(noise.randrange(0, 1400))
                broken = bytearray(noise.choice(relayed))
                for _ in range(noise.randrange(1, 20)):
                    broken[noise.randrange(len(broken))] = noise.randrange(256)
                headed = (
                    b"\xc0\x00\x00\x00\x01\x08" + os.urandom(8) + b"\x08" + os.urandom(8) + b"\x00\x44\xb0"
                )
                for datagram in (
                    junk,
                    bytes(broken),
                    bytes(broken[: len(broken) // 2]),
                    headed + bytes(1180),
                ):
                    await stranger.sendto(datagram, ("127.0.0.1", node.port))
        direct = await client.transport.dial(node.address)

        assert await ask(direct, b"alive") == b"alive"
        await until(lambda: node.transport._admission._handshakes == 0)
        assert [record.message for record in caplog.records if record.levelname == "ERROR"] == []
        assert await accepted(node) is not None
        assert node.transport._admission.connections == len(node.accepted) == 2
