"""Admission of inbound QUIC connections: caps in total and per prefix, and Retry under load (RFC 9000, section 8.1.2)."""

from __future__ import annotations

import enum
import os
from collections import Counter

import attrs
from aioquic.quic.packet import (
    QuicErrorCode,
    QuicHeader,
    QuicPacketType,
    encode_quic_retry,
    encode_quic_version_negotiation,
)
from aioquic.quic.retry import QuicRetryTokenHandler

from plasm_transport_libp2p.quic import sansio
from plasm_transport_libp2p.quic.address import SocketAddress, is_loopback, prefix
from plasm_transport_libp2p.quic.limits import QuicLimits

_SMALLEST_INITIAL_BYTES = 1200
"""RFC 9000, section 14.1, of a client's Initial datagram: it bounds amplification to a factor of three."""
_SHORTEST_CLIENT_CID_BYTES = 8
"""RFC 9000, section 7.2."""


class IgnoreInitial(enum.Enum):
    """A first packet that is dropped."""

    IGNORE = enum.auto()


@attrs.frozen(kw_only=True)
class AcceptInitial:
    """A first packet that opens a connection."""

    original_destination_cid: bytes
    retry_source_cid: bytes | None


@attrs.frozen
class StatelessReply:
    """The datagram that answers a first packet without keeping state: Version Negotiation, Retry or a refusal."""

    datagram: bytes


class HandshakeAdmission:
    """Counts the inbound connections and handshakes of one transport, over all its sockets."""

    def __init__(self, limits: QuicLimits) -> None:
        self._limits = limits
        self._tokens = QuicRetryTokenHandler()
        self._connections = 0
        self._handshakes = 0
        self._per_prefix: Counter[bytes | None] = Counter()

    @property
    def connections(self) -> int:
        """How many inbound connections are counted now."""
        return self._connections

    def judge(
        self, header: QuicHeader, size: int, address: SocketAddress, versions: list[int], now: float
    ) -> AcceptInitial | StatelessReply | IgnoreInitial:
        """Decide on a packet that belongs to no connection. `size`: bytes of its datagram; `now`: for token lifetimes."""
        if size < _SMALLEST_INITIAL_BYTES or header.packet_type is QuicPacketType.VERSION_NEGOTIATION:
            return IgnoreInitial.IGNORE
        if header.version is not None and header.version not in versions:
            return StatelessReply(
                encode_quic_version_negotiation(
                    source_cid=header.destination_cid,
                    destination_cid=header.source_cid,
                    supported_versions=versions,
                )
            )
        if header.packet_type is not QuicPacketType.INITIAL or header.version is None:
            return IgnoreInitial.IGNORE
        if len(header.destination_cid) < _SHORTEST_CLIENT_CID_BYTES:
            return IgnoreInitial.IGNORE
        if not header.token:
            if self._handshakes >= self._limits.retry_above:
                return StatelessReply(self._retry(header, header.version, address, now))
            accept = AcceptInitial(original_destination_cid=header.destination_cid, retry_source_cid=None)
        else:
            try:
                original = self._tokens.validate_token(
                    address=address, destination_cid=header.destination_cid, token=header.token, now=now
                )
            except ValueError:
                return _refuse(header, header.version, QuicErrorCode.INVALID_TOKEN)
            accept = AcceptInitial(original_destination_cid=original, retry_source_cid=header.destination_cid)
        if (
            self._connections >= self._limits.connections
            or self._per_prefix[_counted(address)] >= self._limits.connections_per_prefix
        ):
            return _refuse(header, header.version, QuicErrorCode.CONNECTION_REFUSED)
        return IgnoreInitial.IGNORE if self._handshakes >= self._limits.handshakes else accept

    def _retry(self, header: QuicHeader, version: int, address: SocketAddress, now: float) -> bytes:
        source_cid = os.urandom(sansio.CONNECTION_ID_BYTES)
        token = self._tokens.create_token(
            address=address,
            original_destination_connection_id=header.destination_cid,
            retry_source_connection_id=source_cid,
            now=now,
        )
        return encode_quic_retry(
            version=version,
            source_cid=source_cid,
            destination_cid=header.source_cid,
            original_destination_cid=header.destination_cid,
            retry_token=token,
        )

    def admit(self, address: SocketAddress) -> InboundSlot:
        """Count a new connection from an address; it starts in its handshake."""
        self._connections += 1
        self._handshakes += 1
        network = _counted(address)
        if network is not None:
            self._per_prefix[network] += 1
        return InboundSlot(self, network)

    def _on_handshake_over(self) -> None:
        self._handshakes -= 1

    def _on_connection_over(self, network: bytes | None) -> None:
        self._connections -= 1
        if network is None:
            return
        self._per_prefix[network] -= 1
        if not self._per_prefix[network]:
            del self._per_prefix[network]


class InboundSlot:
    """The amounts that one inbound connection is counted with, until it is released."""

    def __init__(self, admission: HandshakeAdmission, network: bytes | None) -> None:
        self._admission = admission
        self._network = network
        self._in_handshake = True
        self._taken = True

    def end_handshake(self) -> None:
        """Stop counting it as a handshake. A second call does nothing."""
        if self._in_handshake:
            self._in_handshake = False
            self._admission._on_handshake_over()

    def release(self) -> None:
        """Stop counting it. A second call does nothing."""
        self.end_handshake()
        if self._taken:
            self._taken = False
            self._admission._on_connection_over(self._network)


def _counted(address: SocketAddress) -> bytes | None:
    """Return the /24 or /48 of an address, None for loopback, which is not counted."""
    return None if is_loopback(address) else prefix(address)


def _refuse(header: QuicHeader, version: int, error_code: QuicErrorCode) -> StatelessReply:
    return StatelessReply(
        sansio.encode_refusal(
            version=version,
            source_cid=header.destination_cid,
            destination_cid=header.source_cid,
            error_code=error_code,
        )
    )
