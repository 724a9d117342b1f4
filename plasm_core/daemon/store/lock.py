"""The lock on a state directory: one daemon at a time."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

from plasm_core.errors import StateInUseError


class DirectoryLock:
    """An exclusive lock that is released when the process ends, at the latest.

    The file stays; its content is a hint.
    """

    def __init__(self, path: Path) -> None:
        """Take the lock. Raises: `StateInUseError` at once if another process or lock has it; OSError."""
        self._fd: int | None = None
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            holder = os.pread(fd, 20, 0).decode("ascii", "replace").strip()
            os.close(fd)
            if not isinstance(exc, BlockingIOError):
                raise
            who = f" (process {holder})" if holder.isdecimal() else ""
            raise StateInUseError(
                f"another daemon{who} uses {path.parent}",
                hint="clients use that one; plasmd --stop ends it, and XDG_STATE_HOME gives another a state of its own",
            ) from None
        self._fd = fd
        with contextlib.suppress(OSError):  # a full disk: the lock holds without it
            os.ftruncate(fd, 0)
            os.pwrite(fd, b"%d\n" % os.getpid(), 0)

    def release(self) -> None:
        """Give the lock back. Doing so twice is harmless."""
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)
