"""Bytes handed to a child by a descriptor: sealed where the platform can, so that they cannot change."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterable

from plasm_core.sandbox.process.descriptor import write_all
from plasm_core.scratch_file import scratch_file


def open_blob(name: str) -> int:
    """Return a descriptor of a new anonymous file that only this process can open. Raises: OSError, `StorageError`."""
    if hasattr(os, "memfd_create"):
        try:
            return os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        except OSError as exc:  # some containers deny it: then an unnamed file serves
            if exc.errno not in (errno.EPERM, errno.EACCES, errno.ENOSYS, errno.EINVAL):
                raise
    with scratch_file() as file:
        return os.dup(file.fileno())


def keep_size(fd: int) -> None:
    """Make an anonymous file neither shorter nor longer from now on, where the platform can. Raises: OSError."""
    if hasattr(fcntl, "F_ADD_SEALS"):
        try:
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
        except OSError as exc:
            if exc.errno not in (errno.EINVAL, errno.EPERM):
                raise


def seal(fd: int) -> None:
    """Make an anonymous file immutable, where the platform can. Raises: OSError.

    A file that memfd_create(2) did not make cannot be sealed: its descriptor becomes read-only.
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


def is_sealed(fd: int, size: int) -> bool:
    """Return whether a descriptor from another process is of memory that cannot change, of the given size in bytes.

    Reading it waits for no disk, network or device. Only memfd_create(2) makes what can have seals.
    """
    if not hasattr(fcntl, "F_GET_SEALS"):
        return False
    needed = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
    try:
        return fcntl.fcntl(fd, fcntl.F_GET_SEALS) & needed == needed and os.fstat(fd).st_size == size
    except OSError:
        return False


def sealed_blob(name: str, parts: Iterable[bytes]) -> int:
    """Return the descriptor of an immutable anonymous file with these bytes. The caller closes it."""
    fd = open_blob(name)
    try:
        for part in parts:
            write_all(fd, part)
        seal(fd)
    except BaseException:
        os.close(fd)
        raise
    return fd
