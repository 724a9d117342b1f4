"""The mark of a daemon that is starting, for which clients wait (docs/protocol.md, "Carriers").

It is a file beside the daemon's socket, locked by flock(2) from the daemon's first step until the socket listens. The
lock of a daemon that dies is released by the kernel, so that clients do not wait for a stale mark.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Mapping
from pathlib import Path

from plasm_core import paths

SUFFIX = ".starting"
"""Follows the socket's name."""
PATIENCE_S = 15.0
"""How long a client waits for a daemon that is starting."""
GRACE_S = 1.0
"""How long a client waits for a mark, as after `plasmd &`: the shell starts both programs at once."""
PAUSE_S = 0.05
"""How long a client waits before it looks again."""


class StartMark:
    """The mark of a starting daemon, at one socket at a time. If it cannot be set, clients do not wait for the
    daemon.
    """

    def __init__(self) -> None:
        self._path: Path | None = None
        self._fd: int | None = None

    def set(self, socket: Path) -> None:
        """Mark a socket, and no other any more."""
        if self._path == _beside(socket):
            return
        self.clear()
        with contextlib.suppress(OSError):
            socket.parent.mkdir(mode=0o700, exist_ok=True)
            self._lock(_beside(socket))

    def _lock(self, path: Path) -> None:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.fchmod(fd, 0o644)  # the file is empty; users of the daemon's group check whether it is locked
        except OSError:  # another daemon is starting there
            os.close(fd)
            return
        self._path, self._fd = path, fd

    def clear(self) -> None:
        """Remove the mark: the socket listens, or never will."""
        path, fd, self._path, self._fd = self._path, self._fd, None, None
        if path is not None and fd is not None:
            with contextlib.suppress(OSError):
                path.unlink()
            os.close(fd)

    def leave(self) -> None:
        """Forget the mark, which another process has taken over by a fork."""
        if self._fd is not None:
            os.close(self._fd)
        self._path = self._fd = None


def _beside(socket: Path) -> Path:
    return socket.with_name(socket.name + SUFFIX)


def is_starting(environ: Mapping[str, str] = os.environ) -> bool:
    """Return whether a daemon is starting at any of the sockets where clients look."""
    named = environ.get("PLASM_SOCKET")
    if named:
        return _is_locked(_beside(Path(named)))
    return any(_is_locked(path) for place in paths.directories(environ) for path in _marks(place))


def _marks(directory: Path) -> list[Path]:
    try:
        return [path for path in directory.iterdir() if path.suffix == SUFFIX]
    except OSError:
        return []


def _is_locked(path: Path) -> bool:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(fd)
    return False
