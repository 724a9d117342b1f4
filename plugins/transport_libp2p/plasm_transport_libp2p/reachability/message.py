"""Messages of `/phase/reachability/1.0.0`: JSON, each behind its length as an unsigned varint.

    asking    {"ports": [["tcp", 4001], ["quic", 4001]], "nonce": "9f…"}
    passing   {"ports": […], "nonce": "9f…", "peer": "12D3…", "ip": "203.0.113.7"}
    answer    {"observed": "/ip4/203.0.113.7/tcp/51234", "attempts": [ATTEMPT, …]}

An ATTEMPT is {"carrier", "port", "by", "host", "ok", "reason"}: who dialled, from which IP address, and what came
of it. The nonce, 16 bytes in hexadecimal digits, is what whoever dials hands in (callers.py).
"""

from __future__ import annotations

import ipaddress
import json
import re
from typing import Any

import attrs

from plasm_core.errors import StreamError
from plasm_core.records.peer import PeerId
from plasm_transport_libp2p.address_classes import IPAddress

PROTOCOL = "/phase/reachability/1.0.0"
MAX_BYTES = 8192
MAX_PORTS = 4
MAX_ATTEMPTS = 16
CARRIERS = ("tcp", "quic")
_MAX_REASON = 200
_NONCE = re.compile(r"[0-9a-f]{32}")

Port = tuple[str, int]
"""A carrier, and a port of it."""


@attrs.frozen(kw_only=True)
class Request:
    """Ports to be dialled back: one's own, or on behalf of a peer who asked for it."""

    ports: tuple[Port, ...]
    nonce: bytes
    peer: PeerId | None = None
    ip: IPAddress | None = None

    def encode(self) -> bytes:
        """Return the JSON."""
        body: dict[str, object] = {"ports": [list(port) for port in self.ports], "nonce": self.nonce.hex()}
        if self.peer is not None:
            body |= {"peer": str(self.peer), "ip": str(self.ip)}
        return json.dumps(body).encode()

    @classmethod
    def decode(cls, data: bytes) -> Request:
        """Read the JSON. Raises: `StreamError`."""
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
            raise StreamError(f"a request that cannot be read: {exc}") from None


@attrs.frozen(kw_only=True)
class Attempt:
    """One dial. `host` is the IP address that it came from, as whoever asked for it sees the dialler."""

    carrier: str
    port: int
    by: PeerId
    host: str
    ok: bool
    reason: str = ""


@attrs.frozen(kw_only=True)
class Answer:
    """What came of it. `observed`: where whoever asked is seen."""

    observed: str
    attempts: tuple[Attempt, ...]

    def encode(self) -> bytes:
        """Return the JSON."""
        attempts = [attrs.asdict(item) | {"by": str(item.by)} for item in self.attempts[:MAX_ATTEMPTS]]
        return json.dumps({"observed": self.observed, "attempts": attempts}).encode()

    @classmethod
    def decode(cls, data: bytes) -> Answer:
        """Read the JSON. Raises: `StreamError`."""
        body = _object(data)
        try:
            attempts = tuple(_attempt(item) for item in _items(body["attempts"], MAX_ATTEMPTS))
            return cls(observed=_text(body["observed"]), attempts=attempts)
        except (KeyError, TypeError, ValueError) as exc:
            raise StreamError(f"an answer that cannot be read: {exc}") from None


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


def _attempt(item: Any) -> Attempt:
    carrier, port = _port((item["carrier"], item["port"]))
    return Attempt(
        carrier=carrier,
        port=port,
        by=PeerId.parse(item["by"]),
        host=_text(item["host"]),
        ok=item["ok"] is True,
        reason=_text(item["reason"]),
    )
