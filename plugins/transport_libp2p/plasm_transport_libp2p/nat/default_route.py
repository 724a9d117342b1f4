"""The gateway of the IPv4 default route."""

from __future__ import annotations

import socket
import struct
from pathlib import Path

from plasm_core.errors import TransportError

_TABLE = Path("/proc/self/net/route")
_UP, _VIA_GATEWAY = 0x1, 0x2
_ANYWHERE = "00000000"


def default_gateway(table: Path = _TABLE) -> str:
    """Return the router's IPv4 address: the gateway of the default route with the least metric (proc(5), net/route).

    Raises: `TransportError` if there is none, or the system does not report it.
    """
    found: list[tuple[int, str]] = []
    try:
        with table.open() as lines:
            next(lines, None)
            for line in lines:
                fields = line.split()
                if len(fields) < 8 or fields[1] != _ANYWHERE or fields[7] != _ANYWHERE:
                    continue
                flags = int(fields[3], 16)
                if flags & _UP and flags & _VIA_GATEWAY:
                    # The kernel prints the word as the processor reads it, not in network order.
                    address = socket.inet_ntoa(struct.pack("=I", int(fields[2], 16)))
                    found.append((int(fields[6]), address))
    except (OSError, ValueError, struct.error) as exc:
        raise TransportError(f"this system does not tell its default route: {exc}") from exc
    if not found:
        raise TransportError("there is no default route")
    return min(found)[1]
