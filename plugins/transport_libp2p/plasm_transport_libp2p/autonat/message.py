"""Messages of `/phase/reachability/1.0.0`: JSON, each behind its length as an unsigned varint.

    asking    {"ports": [["tcp", 4001], ["quic", 4001]], "nonce": "9f…"}
    passing   {"ports": […], "nonce": "9f…", "peer": "12D3…", "ip": "203.0.113.7"}
    answer    {"observed": "/ip4/203.0.113.7/tcp/51234", "attempts": [ATTEMPT, …]}

An ATTEMPT is {"carrier", "port", "by", "host", "ok", "reason"}: the dialler, its IP address, and the result. The
nonce, 16 bytes in hexadecimal digits, is sent by the dialler on its connection (inbound_proof.py).
"""

from __future__ import annotations

import ipaddress
import json
import re
from typing import Any

import attrs

from plasm_core.address_classes import IPAddress
from plasm_core.errors import StreamError
from plasm_core.records.peer import PeerId
from plasm_transport_libp2p.addresses import Port

PROTOCOL = "/phase/reachability/1.0.0"
MAX_BYTES = 8192
MAX_PORTS = 4
MAX_ATTEMPTS = 16
CARRIERS = ("tcp", "quic")
_MAX_REASON = 200
_NONCE = re.compile(r"[0-9a-f]{32}")


@attrs.frozen(kw_only=True)
class DialBackRequest:
    """A request to dial ports back: the sender's, or with `peer` and `ip` those of a peer that asked the sender."""

    ports: tuple[Port, ...]
    nonce: bytes
    peer: PeerId | None = None
    ip: IPAddress | None = None

    def encode(self) -> bytes:
        """Return the JSON text, without its length."""
        body: dict[str, object] = {"ports": [list(port) for port in self.ports], "nonce": self.nonce.hex()}
        if self.peer is not None:
            body |= {"peer": str(self.peer), "ip": str(self.ip)}
        return json.dumps(body).encode()

    @classmethod
    def decode(cls, data: bytes) -> DialBackRequest:
        """Decode the JSON text. Raises: `StreamError`."""
        body = _object(data)
        try:
            ports = tuple(_port(item) for item in _items(body["ports"], MAX_PORTS))
            nonce = _nonce(body["nonce"])
            if "peer" not in body:
                return cls(ports=ports, nonce=nonce)
            if "%" in _text(
                body["ip"]
            ):  # a zone is of one machine alone, and no multiaddr of one component has it
                raise ValueError("expected an IP address without a zone")
            ip = ipaddress.ip_address(body["ip"])
            return cls(ports=ports, nonce=nonce, peer=PeerId.parse(body["peer"]), ip=ip)
        except (KeyError, TypeError, ValueError) as exc:
            raise StreamError(f"a reachability request cannot be decoded: {exc}") from None


@attrs.frozen(kw_only=True)
class DialAttempt:
    """One dial. `by`: the dialler. `host`: its IP address as the peer that passed the request on sees it, or empty."""

    carrier: str
    port: int
    by: PeerId
    host: str
    ok: bool
    reason: str = ""


@attrs.frozen(kw_only=True)
class DialBackResponse:
    """The answer to a request. `observed`: the multiaddr at which the answering peer sees the asking one."""

    observed: str
    attempts: tuple[DialAttempt, ...]

    def encode(self) -> bytes:
        """Return the JSON text, without its length."""
        attempts = [attrs.asdict(item) | {"by": str(item.by)} for item in self.attempts[:MAX_ATTEMPTS]]
        return json.dumps({"observed": self.observed, "attempts": attempts}).encode()

    @classmethod
    def decode(cls, data: bytes) -> DialBackResponse:
        """Decode the JSON text. Raises: `StreamError`."""
        body = _object(data)
        try:
            attempts = tuple(_attempt(item) for item in _items(body["attempts"], MAX_ATTEMPTS))
            return cls(observed=_text(body["observed"]), attempts=attempts)
        except (KeyError, TypeError, ValueError) as exc:
            raise StreamError(f"a reachability answer cannot be decoded: {exc}") from None


def _object(data: bytes) -> dict[str, Any]:
    try:
        body = json.loads(data)
    except (ValueError, RecursionError):
        raise StreamError("a message that is not JSON") from None
    if not isinstance(body, dict):
        raise StreamError("a message that is no JSON object")
    return body


def _items(value: Any, maximum: int) -> list[Any]:
    if not isinstance(value, list) or len(value) > maximum:
        raise ValueError(f"expected a list of at most {maximum} items")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > _MAX_REASON or not value.isprintable():
        raise ValueError("expected a short text")
    return value


def _nonce(value: Any) -> bytes:
    if not isinstance(value, str) or not _NONCE.fullmatch(value):
        raise ValueError("expected a nonce of 32 hexadecimal digits")
    return bytes.fromhex(value)


def _port(item: Any) -> Port:
    carrier, port = item
    if carrier not in CARRIERS or type(port) is not int or not 1024 <= port <= 65_535:
        raise ValueError("expected a carrier and a port from 1024 on")
    return carrier, port


def _attempt(item: Any) -> DialAttempt:
    carrier, port = _port((item["carrier"], item["port"]))
    return DialAttempt(
        carrier=carrier,
        port=port,
        by=PeerId.parse(item["by"]),
        host=_text(item["host"]),
        ok=item["ok"] is True,
        reason=_text(item["reason"]),
    )
