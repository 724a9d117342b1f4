"""Each side proves its libp2p key, or there is no connection."""

from __future__ import annotations

import datetime
import socket
import ssl
import time

import pytest

pytest.importorskip("libp2p", reason="libp2p is not installed: pip install 'phase-plasm[libp2p]'")
pytest.importorskip("aioquic", minversion="1.7", reason="aioquic 1.7 is not installed")

import trio
from aioquic.quic import events
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.peer.id import ID
from libp2p.transport.exceptions import OpenConnectionError
from multiaddr import Multiaddr

from plasm_transport_libp2p.quic import QuicLimits, QuicTransport
from plasm_transport_libp2p.quic.identity import PeerIdentityError, TlsIdentity
from tests.support.quic import LISTEN, Node, accepted, ask, pair, running

pytestmark = pytest.mark.trio

BAD_CERTIFICATE = 0x12A


def identity() -> TlsIdentity:
    return TlsIdentity(create_new_key_pair().private_key, QuicLimits())


def certificate(
    *, issuer: str = "self", signed_by_itself: bool = True
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """Make a certificate without a libp2p key."""
    key, other = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, issuer)])
    now = datetime.datetime.now(datetime.timezone.utc)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .sign(key if signed_by_itself else other, hashes.SHA256())
    )
    return made, key


async def handshake(node: Node, configuration: QuicConfiguration) -> events.ConnectionTerminated | None:
    """Connect with aioquic alone; return how the node ended it, or None if it took it and kept it for a second.

    The second begins when the node has taken it: on a busy machine the handshake may take longer than that.
    """
    configuration.alpn_protocols = ["libp2p"]
    configuration.verify_mode = ssl.CERT_NONE
    protocol = QuicConnection(configuration=configuration)
    address = ("127.0.0.1", node.port)
    protocol.connect(address, now=time.monotonic())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as plain:
        sock = trio.socket.from_stdlib_socket(plain)
        kept_until = float("inf")
        while trio.current_time() < kept_until:
            for datagram, _address in protocol.datagrams_to_send(now=time.monotonic()):
                await sock.sendto(datagram, address)
            if protocol._close_event is not None:
                return protocol._close_event
            if node.accepted:
                kept_until = min(kept_until, trio.current_time() + 1.0)
            with trio.move_on_after(0.05):
                datagram, _address = await sock.recvfrom(2048)
                protocol.receive_datagram(datagram, address, now=time.monotonic())
    return None


async def test_both_sides_know_each_other() -> None:
    async with pair() as (node, client, connection):
        inbound = await accepted(node)

        assert connection.peer_id == node.peer_id
        assert inbound.peer_id == client.peer_id
        assert (connection.is_initiator, inbound.is_initiator) == (True, False)


async def test_another_peer_than_the_one_that_was_named_is_refused() -> None:
    async with running(LISTEN) as node, running() as client:
        stranger = ID.from_pubkey(create_new_key_pair().public_key)
        wrong = Multiaddr(str(node.address).replace(str(node.peer_id), str(stranger)))

        with pytest.raises(OpenConnectionError, match=f"the peer is {node.peer_id}, not {stranger}"):
            await client.transport.dial(wrong)

        right = await client.transport.dial(node.address)
        assert await ask(right, b"still there") == b"still there"


async def test_an_address_without_a_peer_is_not_dialled() -> None:
    async with running() as client:
        with pytest.raises(OpenConnectionError, match="names no peer"):
            await client.transport.dial(Multiaddr("/ip4/127.0.0.1/udp/9/quic-v1"))


async def test_a_client_without_a_certificate_is_refused() -> None:
    async with running(LISTEN) as node:
        ended = await handshake(node, QuicConfiguration(is_client=True))

        assert ended is not None
        assert ended.error_code == BAD_CERTIFICATE
        assert "0 certificates" in ended.reason_phrase
        assert node.accepted == []


async def test_a_client_whose_certificate_names_no_libp2p_key_is_refused() -> None:
    made, key = certificate()
    async with running(LISTEN) as node:
        ended = await handshake(node, QuicConfiguration(is_client=True, certificate=made, private_key=key))

        assert ended is not None
        assert ended.error_code == BAD_CERTIFICATE
        assert node.accepted == []


async def test_a_client_with_anothers_certificate_is_refused() -> None:
    """A certificate is public; its key is not."""
    stolen = identity().configuration(is_client=True)
    _made, key = certificate()
    async with running(LISTEN) as node:
        ended = await handshake(
            node, QuicConfiguration(is_client=True, certificate=stolen.certificate, private_key=key)
        )

        assert ended is not None
        assert ended.error_code != 0
        assert node.accepted == []


async def test_a_client_with_a_certificate_of_libp2p_is_taken() -> None:
    """Otherwise the refusals above might have another cause."""
    own = identity().configuration(is_client=True)
    async with running(LISTEN) as node:
        ended = await handshake(
            node,
            QuicConfiguration(is_client=True, certificate=own.certificate, private_key=own.private_key),
        )

        assert ended is None
        assert len(node.accepted) == 1


async def test_a_chain_of_certificates_proves_nothing() -> None:
    own = identity().configuration(is_client=True).certificate

    with pytest.raises(PeerIdentityError, match="2 certificates"):
        identity().verify([own, own], None)


async def test_a_certificate_that_another_key_signed_proves_nothing() -> None:
    made, _key = certificate(signed_by_itself=False)

    with pytest.raises(PeerIdentityError, match="not valid"):
        identity().verify([made], None)


async def test_a_certificate_is_renewed_before_it_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node may run for longer than the year that py-libp2p's certificates last."""
    own = identity()
    first = own.configuration(is_client=False).certificate
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 200 * 86_400)
    second = own.configuration(is_client=False).certificate

    assert second != first
    assert own.verify([second], own.peer_id) == own.peer_id


async def test_only_addresses_of_quic_version_1_are_its_own() -> None:
    transport = QuicTransport(create_new_key_pair().private_key)
    peer = ID.from_pubkey(create_new_key_pair().public_key)
    texts = {
        "/ip4/1.2.3.4/udp/1/quic-v1": True,
        "/ip6/::1/udp/1/quic-v1": True,
        f"/ip4/1.2.3.4/udp/1/quic-v1/p2p/{peer}": True,
        "/ip4/1.2.3.4/udp/1/quic": False,
        "/ip4/1.2.3.4/tcp/1": False,
        "/ip4/1.2.3.4/udp/1": False,
        "/dns4/example.org/udp/1/quic-v1": False,
        "/ip4/1.2.3.4/udp/1/quic-v1/webtransport": False,
        f"/ip4/1.2.3.4/udp/1/quic-v1/p2p/{peer}/p2p-circuit": False,
    }

    assert {text: transport.can_dial(Multiaddr(text)) for text in texts} == texts
    assert {text: transport.can_listen(Multiaddr(text)) for text in texts} == texts
