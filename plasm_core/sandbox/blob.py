"""Bytes handed to a child by a descriptor: sealed where the platform can, so that they cannot change."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterable

from plasm_core.sandbox.descriptor import write_all


def open_blob(name: str) -> int:
    """Return a new descriptor of an anonymous, private file."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def seal(fd: int) -> None:
    """Make a blob immutable, where the platform can."""
    if hasattr(fcntl, "F_ADD_SEALS"):
        seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)


def sealed_blob(name: str, parts: Iterable[bytes]) -> int:
    """Return the descriptor of a sealed blob of these bytes. The caller closes it."""
    fd = open_blob(name)
    try:
        for part in parts:
            write_all(fd, part)
        seal(fd)
    except BaseException:
        os.close(fd)
        raise
    return fd
