"""Messages of NAT-PMP, RFC 6886: requests to a router and its answers, of fixed length, in network byte order.

    address   version 0 | opcode 0
    answer    version 0 | opcode 128 | result u16 | epoch u32 | IPv4 address
    mapping   version 0 | opcode 1: UDP, 2: TCP | 0 u16 | port u16 | external port u16 | lifetime u32
    answer    version 0 | opcode 129, 130 | result u16 | epoch u32 | port u16 | external port u16 | lifetime u32

The epoch is the time in seconds since the router knew no mapping.
"""

from __future__ import annotations

import struct
from ipaddress import IPv4Address
from typing import Any

import attrs

from plasm_core.errors import StreamError, TransportError
from plasm_transport_libp2p.addresses import Port

PORT = 5351
MAX_BYTES = 64
"""Of a received datagram; the longest answer has 16."""

_VERSION = 0
_ADDRESS = 0
_OPCODES = {"quic": 1, "tcp": 2}
_ANSWER = 128
_HEAD = struct.Struct("!BBH")
_ASK_MAPPING = struct.Struct("!BBHHHI")
_ADDRESS_ANSWER = struct.Struct("!BBHI4s")
_MAPPING_ANSWER = struct.Struct("!BBHIHHI")

_RESULTS = {
    1: "the router speaks another version of it",
    2: "the router refuses: it is not allowed, or switched off there",
    3: "the router has no address itself yet",
    4: "the router has no room for more ports",
    5: "the router does not know the request",
}
"""Result codes (RFC 6886, section 3.5)."""


@attrs.frozen(kw_only=True)
class AddressAnswer:
    """The router's external IPv4 address. `epoch_s`: seconds since it lost its mappings."""

    epoch_s: int
    address: IPv4Address


@attrs.frozen(kw_only=True)
class MappingAnswer:
    """A mapping that the router made. `lifetime_s`: seconds until it removes it."""

    epoch_s: int
    external_port: int
    lifetime_s: int


def ask_address() -> bytes:
    """Return the external address request (section 3.2)."""
    return bytes((_VERSION, _ADDRESS))


def ask_mapping(port: Port, external_port: int, lifetime_s: int) -> bytes:
    """Return the mapping request (section 3.3); with external port and lifetime 0 it removes the mapping (section 3.4)."""
    carrier, number = port
    return _ASK_MAPPING.pack(_VERSION, _OPCODES[carrier], 0, number, external_port, lifetime_s)


def read_address(data: bytes) -> AddressAnswer:
    """Decode the answer to `ask_address`. Raises: as `read_mapping`."""
    *_, epoch_s, address = _read(data, _ADDRESS, _ADDRESS_ANSWER)
    return AddressAnswer(epoch_s=epoch_s, address=IPv4Address(address))


def read_mapping(data: bytes, port: Port) -> MappingAnswer:
    """Decode the answer to `ask_mapping` for this port.

    Raises: `StreamError` if it is not an answer to it, `TransportError` if the router refuses, with its reason.
    """
    carrier, number = port
    *_, epoch_s, internal, external_port, lifetime_s = _read(data, _OPCODES[carrier], _MAPPING_ANSWER)
    if internal != number:
        raise StreamError(f"an answer about port {internal}, not {number}")
    return MappingAnswer(epoch_s=epoch_s, external_port=external_port, lifetime_s=lifetime_s)


def _read(data: bytes, opcode: int, layout: struct.Struct) -> tuple[Any, ...]:
    if len(data) < _HEAD.size:
        raise StreamError(f"an answer of {len(data)} bytes")
    version, answered, result = _HEAD.unpack_from(data)
    if version != _VERSION:  # a router that speaks only PCP answers so (RFC 6887, section 9)
        raise TransportError(f"the router speaks version {version}, not {_VERSION}")
    if answered != _ANSWER + opcode:
        raise StreamError(f"an answer of opcode {answered}, not {_ANSWER + opcode}")
    if result:
        raise TransportError(_RESULTS.get(result, f"the router refuses, with code {result}"))
    if len(data) != layout.size:
        raise StreamError(f"an answer of {len(data)} bytes, not {layout.size}")
    return layout.unpack(data)
