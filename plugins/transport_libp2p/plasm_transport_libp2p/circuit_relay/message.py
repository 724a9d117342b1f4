"""Messages of the hop and stop protocols (libp2p specification, "relay/circuit-v2"): length-prefixed protobuf."""

from __future__ import annotations

from typing import Any

import attrs
from libp2p.relay.circuit_v2.pb.circuit_pb2 import HopMessage, StopMessage

from plasm_core.errors import StreamError
from plasm_core.records.peer import PeerId
from plasm_transport_libp2p import framing

HOP = "/libp2p/circuit/relay/0.2.0/hop"
STOP = "/libp2p/circuit/relay/0.2.0/stop"
MAX_BYTES = 4096

RESERVE, CONNECT, STATUS = 0, 1, 2
STOP_CONNECT, STOP_STATUS = 0, 1
OK = 100
RESERVATION_REFUSED, RESOURCE_LIMIT_EXCEEDED, PERMISSION_DENIED = 200, 201, 202
CONNECTION_FAILED, NO_RESERVATION = 203, 204
MALFORMED_MESSAGE, UNEXPECTED_MESSAGE = 400, 401
_WORDS = {
    RESERVATION_REFUSED: "the relay takes no reservation",
    RESOURCE_LIMIT_EXCEEDED: "the relay has no room",
    PERMISSION_DENIED: "the relay does not relay for this node",
    CONNECTION_FAILED: "the relay does not reach the peer",
    NO_RESERVATION: "the peer has no reservation at the relay",
}


@attrs.frozen(kw_only=True)
class HopRequest:
    """HopMessage: a request to a relay, or its answer. `data_bytes`, `duration_s`: limits of one circuit, 0 for none.

    `expires_at`: end of the reservation in seconds of Unix time.
    """

    kind: int
    peer: PeerId | None = None
    status: int = 0
    expires_at: int = 0
    addresses: tuple[bytes, ...] = ()
    duration_s: int = 0
    data_bytes: int = 0

    def encode(self) -> bytes:
        """Return the message behind its length."""
        message: Any = HopMessage()
        message.type = self.kind
        if self.peer is not None:
            message.peer.id = self.peer.multihash
        if self.kind == STATUS:
            message.status = self.status
        if self.expires_at:
            message.reservation.expire = self.expires_at
            message.reservation.addrs.extend(self.addresses)
        _limit(message, self.duration_s, self.data_bytes)
        return framing.encode(message.SerializeToString())

    @classmethod
    def decode(cls, data: bytes) -> HopRequest:
        """Read a message. Raises: `StreamError`."""
        message: Any = _parse(HopMessage(), data)
        return cls(
            kind=message.type,
            peer=_peer(message),
            status=message.status,
            expires_at=message.reservation.expire,
            addresses=tuple(message.reservation.addrs[:16]),
            duration_s=message.limit.duration,
            data_bytes=message.limit.data,
        )

    def check(self) -> None:
        """Raise `StreamError` unless this is a STATUS of OK."""
        _check(self.kind == STATUS, self.status)


@attrs.frozen(kw_only=True)
class StopRequest:
    """StopMessage: a relay's request to the target of a circuit, or the target's answer."""

    kind: int
    peer: PeerId | None = None
    status: int = 0
    duration_s: int = 0
    data_bytes: int = 0

    def encode(self) -> bytes:
        """Return the message behind its length."""
        message: Any = StopMessage()
        message.type = self.kind
        if self.peer is not None:
            message.peer.id = self.peer.multihash
        if self.kind == STOP_STATUS:
            message.status = self.status
        _limit(message, self.duration_s, self.data_bytes)
        return framing.encode(message.SerializeToString())

    @classmethod
    def decode(cls, data: bytes) -> StopRequest:
        """Read a message. Raises: `StreamError`."""
        message: Any = _parse(StopMessage(), data)
        return cls(kind=message.type, peer=_peer(message), status=message.status)

    def check(self) -> None:
        """Raise `StreamError` unless this is a STATUS of OK."""
        _check(self.kind == STOP_STATUS, self.status)


def _check(is_status: bool, status: int) -> None:
    if not is_status:
        raise StreamError("the relay's answer is not a STATUS message")
    if status != OK:
        raise StreamError(_WORDS.get(status, f"the relay refuses with status {status}"))


def _limit(message: Any, duration_s: int, data_bytes: int) -> None:
    if duration_s or data_bytes:
        message.limit.duration = duration_s
        message.limit.data = data_bytes


def _parse(message: Any, data: bytes) -> Any:
    try:
        message.ParseFromString(data)
    except Exception as exc:  # protobuf's implementations raise errors of their own
        raise StreamError("a relay's message cannot be decoded") from exc
    return message


def _peer(message: Any) -> PeerId | None:
    if not message.HasField("peer"):
        return None
    try:
        return PeerId.from_multihash(message.peer.id)
    except ValueError as exc:
        raise StreamError(f"a message of a relay names no peer: {exc}") from None
