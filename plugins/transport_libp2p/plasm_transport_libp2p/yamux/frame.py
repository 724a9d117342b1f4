"""The frames of yamux: a header of 12 bytes, and behind one of data its payload."""

from __future__ import annotations

import struct

HEADER = struct.Struct("!BBHII")  # version, type, flags, stream, length
DATA, WINDOW, PING, GO_AWAY = range(4)
SYN, ACK, FIN, RST = 1, 2, 4, 8
NORMAL = 0
"""Why a connection ends, in the frame that says so."""

MAX_PAYLOAD_BYTES = 65_519 - HEADER.size  # with its header just one Noise message


class YamuxError(Exception):
    """The peer broke the protocol."""


class FloodError(YamuxError):
    """The peer sends more than it may of what costs it nothing."""
