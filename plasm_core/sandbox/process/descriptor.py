"""Read and write whole descriptors without fstat(2), which children may not call."""

from __future__ import annotations

import os

_CHUNK = 1 << 20


def read_all(fd: int, offset: int = 0) -> bytes:
    """Read a file's content from an offset to its end."""
    parts = []
    while part := os.pread(fd, _CHUNK, offset):
        parts.append(part)
        offset += len(part)
    return b"".join(parts)


def write_all(fd: int, data: bytes | memoryview) -> None:
    """Write all bytes, however many calls that takes."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
