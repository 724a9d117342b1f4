"""Space set aside, so that a job's end can be written down although the disk is full."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import threading
from pathlib import Path

from plasm_core.daemon.store.disk import FREE_SPACE
from plasm_core.errors import DiskFullError

log = logging.getLogger(__name__)


class Ballast:
    """A file of a fixed size that is emptied when the database needs the room.

    While it is empty, nothing else may grow, because that would use the room first: see `restore`.
    """

    def __init__(self, path: Path, size_bytes: int) -> None:
        self._path = path
        self._size_bytes = size_bytes
        self._lock = threading.Lock()
        self._held = False

    def restore(self) -> bool:
        """Fill the file again if it is empty. Return whether it is full."""
        with self._lock:
            if not self._held:
                self._held = self._allocate()
            return self._held

    def demand(self) -> None:
        """Raise `DiskFullError` if the file is empty and cannot be filled again."""
        if not self.restore():
            raise DiskFullError("the disk is full", hint=FREE_SPACE)

    def spend(self) -> None:
        """Empty the file, which gives its space back to the file system."""
        with self._lock, contextlib.suppress(OSError):
            self._held = False
            os.truncate(self._path, 0)
            log.warning("the disk is full: spent the reserve bytes=%d", self._size_bytes)

    def _allocate(self) -> bool:
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if self._size_bytes and os.fstat(fd).st_size < self._size_bytes:
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(fd, 0, self._size_bytes)
                else:
                    os.pwrite(fd, bytes(self._size_bytes), 0)
            return True
        except OSError as exc:
            if exc.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            os.ftruncate(fd, 0)
            return False
        finally:
            os.close(fd)
