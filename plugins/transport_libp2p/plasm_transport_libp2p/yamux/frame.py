"""Yamux frames (spec.md, "Framing"): a header of 12 bytes, and after a DATA header its payload."""

from __future__ import annotations

import struct

HEADER = struct.Struct("!BBHII")  # version, type, flags, stream, length
DATA, WINDOW, PING, GO_AWAY = range(4)
SYN, ACK, FIN, RST = 1, 2, 4, 8
NORMAL = 0
"""GO_AWAY code of a normal close."""

MAX_PAYLOAD_BYTES = 65_519 - HEADER.size  # header and payload fill one Noise message


class YamuxError(Exception):
    """The peer broke the protocol."""


class FloodError(YamuxError):
    """The peer sends too many useless frames."""
