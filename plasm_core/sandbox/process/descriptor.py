"""Read and write whole descriptors without fstat(2), which children may not call."""

from __future__ import annotations

import os

_CHUNK = 1 << 20


def read_all(fd: int, offset: int = 0) -> bytes:
    """Read a file's content from an offset to its end, which is where the descriptor stands afterwards.

    The content of a large module is in memory once, not as pieces and as a whole.
    """
    parts = []
    rest = os.lseek(fd, 0, os.SEEK_END) - offset
    while part := os.pread(fd, max(rest, _CHUNK), offset):
        parts.append(part)
        offset += len(part)
        rest -= len(part)
    return b"".join(parts)


def write_all(fd: int, data: bytes | memoryview) -> None:
    """Write all bytes, however many calls that takes."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
