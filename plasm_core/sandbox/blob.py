"""Bytes handed to a child by a descriptor: sealed where the platform can, so that they cannot change."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterable

from plasm_core.sandbox.descriptor import write_all
from plasm_core.scratch import scratch_file


def open_blob(name: str) -> int:
    """Return a new descriptor of an anonymous, private file. Raises: OSError, `StorageError`."""
    if hasattr(os, "memfd_create"):
        try:
            return os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        except OSError as exc:  # some containers deny it: then an unnamed file serves
            if exc.errno not in (errno.EPERM, errno.EACCES, errno.ENOSYS, errno.EINVAL):
                raise
    with scratch_file() as file:
        return os.dup(file.fileno())


def seal(fd: int) -> None:
    """Make a blob immutable, where the platform can. Raises: OSError.

    A file that is none of memfd_create(2) cannot be sealed: its descriptor becomes one for reading only.
    """
    if not hasattr(fcntl, "F_ADD_SEALS"):
        return
    seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
    try:
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    except OSError as exc:
        if exc.errno not in (errno.EINVAL, errno.EPERM):
            raise
        again = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC)
        os.dup2(again, fd, inheritable=False)
        os.close(again)


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
