"""The inside of aioquic and of py-libp2p that is relied on is the one that was read."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("libp2p", reason="libp2p is not installed: pip install 'phase-plasm[libp2p]'")
pytest.importorskip("aioquic", minversion="1.7", reason="aioquic 1.7 is not installed")

from aioquic import tls
from aioquic.asyncio import server
from aioquic.quic.connection import QuicConnection
from aioquic.quic.recovery import QuicPacketRecovery
from aioquic.quic.stream import QuicStream, QuicStreamReceiver, QuicStreamSender
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.network.connection.swarm_connection import SwarmConn
from libp2p.network.swarm import Swarm
from libp2p.transport.quic.security import PeerAuthenticator

from plasm_core.errors import TransportError
from plasm_transport_libp2p.quic import QuicLimits, QuicTransport, sansio

DIGESTS: dict[Callable[..., Any], str] = {
    QuicConnection.__init__: "81aea715e34447e1",
    QuicConnection._initialize: "6a41681e541c05d7",
    QuicConnection._write_application: "c37bf64378f72b2f",
    QuicConnection._write_connection_limits: "02c42c5455ae1a31",
    QuicConnection._write_stream_limits: "398d4a898f7c580f",
    QuicConnection._on_connection_limit_delivery: "ffc582d72ac9685a",
    QuicConnection._on_max_stream_data_delivery: "76e906ea95ee03fe",
    QuicConnection._get_or_create_stream: "aee09c84cd0da114",
    QuicConnection._get_or_create_stream_for_send: "b68479a29862b421",
    QuicConnection._stream_is_discarded: "d4812b6968024ae7",
    QuicConnection._handle_stream_frame: "8c79348a854e307d",
    QuicConnection._handle_reset_stream_frame: "0a1801842064e9dd",
    QuicConnection._handle_stop_sending_frame: "57b0b54a8467ecb5",
    QuicConnection._handle_connection_close_frame: "66f05d8258d15e1b",
    QuicConnection._close_begin: "d8cdcfd4513906bf",
    QuicConnection._close_end: "7e32d95840a68634",
    QuicConnection.close: "f24ea1b2912e68d7",
    QuicConnection.datagrams_to_send: "f4eb22c8add260fe",
    QuicConnection.get_timer: "07184a05f894e968",
    QuicConnection.handle_timer: "8ebd76a179bf5e25",
    QuicConnection.receive_datagram: "3c7f29826050cbfe",
    QuicPacketRecovery.__init__: "11dd9eddeac78a3a",
    QuicStream: "e8b366bbfb2316f4",
    QuicStreamReceiver: "78596a9b1406685c",
    QuicStreamSender: "f14fb859f32d053a",
    server._encode_invalid_token_close: "abcbbe3b603ffa0c",
    server.QuicServer.datagram_received: "4440e39aaa1eeeb5",
    tls.Context._server_handle_certificate: "8300245453e1b8ee",
    tls.Context._server_handle_certificate_verify: "54a8dfacdbb96066",
    tls.Context._set_peer_certificate: "beec9ba2af2e1e68",
    PeerAuthenticator.verify_peer_certificate: "f560249025f67d71",
    SwarmConn.__init__: "7ffee6c51ae4a55c",
    SwarmConn.close: "442c6259a8e9e45e",
    Swarm.add_conn: "d469d71b3ed1f4df",
    Swarm._dial_addr_single_attempt: "54e3f8e1ea5b966e",
}
"""The first 16 hex digits of SHA-256 of each source. When one changes, read the change, see whether sansio.py still
does what it says, then put the new digest here."""


def digest(code: Callable[..., Any]) -> str:
    return hashlib.sha256(inspect.getsource(code).encode()).hexdigest()[:16]


@pytest.mark.parametrize("code", DIGESTS, ids=lambda code: code.__qualname__)
def test_upstreams_code_is_the_code_that_was_read(code: Callable[..., Any]) -> None:
    assert digest(code) == DIGESTS[code]


@pytest.mark.parametrize("version", ["1.6.1", "1.8.0", "2.0.0", "0.9.25"])
def test_another_aioquic_is_refused(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sansio, "installed_version", lambda name: version)

    with pytest.raises(TransportError, match=rf"needs aioquic 1\.7.*{version} is installed"):
        QuicTransport(create_new_key_pair().private_key)


def test_the_aioquic_that_is_installed_is_accepted() -> None:
    sansio.check_version()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("connections", 0),
        ("datagram_bytes", 1199),
        ("datagram_bytes", 1453),
        ("idle_timeout_s", 0.0),
        ("stream_window_bytes", 0),
        ("retry_above", -1),
    ],
)
def test_a_limit_that_cannot_be_is_refused_by_name(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=field):
        QuicLimits(**{field: value})  # type: ignore[arg-type]  # which of them is the point


def test_limits_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ValueError, match="connection_window_bytes is less"):
        QuicLimits(connection_window_bytes=1 << 19)
    with pytest.raises(ValueError, match="keep_alive_s is not less"):
        QuicLimits(idle_timeout_s=5.0)
