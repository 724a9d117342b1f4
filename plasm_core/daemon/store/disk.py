"""Durable writes, deletion of directories, and the errors of a full or broken disk."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from plasm_core.errors import DiskFullError, StorageError

log = logging.getLogger(__name__)

_LITTLE_BYTES = 1 << 16
_FULL = (errno.ENOSPC, errno.EDQUOT)
_HINTS = {
    errno.EROFS: "remount the file system read-write, or choose another state directory",
    errno.EACCES: "the state directory must belong to the user that runs the daemon",
    errno.EPERM: "the state directory must belong to the user that runs the daemon",
    errno.ENOENT: "something removed it while the daemon ran; restart the daemon",
    errno.EIO: "the disk may be failing; see the kernel's log",
}
FREE_SPACE = "free some space on its file system, or lower storage.job_bytes"


def create(path: Path) -> int:
    """Make a new file that only its owner may open, and return a descriptor to write it. Raises: OSError."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)


def sync(fd: int) -> None:
    """Sync a descriptor's content to the disk itself, past its cache where the system can."""
    full = getattr(fcntl, "F_FULLFSYNC", None)  # macOS: fsync alone stops at the drive's cache
    if full is not None:
        fcntl.fcntl(fd, full)
    else:
        os.fsync(fd)


def sync_directory(path: Path) -> None:
    """Sync a directory's entries to the disk."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        sync(fd)
    finally:
        os.close(fd)


def remove_tree(path: Path) -> None:
    """Remove a directory. What cannot be removed now is removed at the daemon's next start."""
    try:
        shutil.rmtree(path)
    except FileNotFoundError:
        pass
    except OSError as exc:
        log.warning("cannot remove unneeded files directory=%s reason=%s", path.name, exc.strerror)


@contextlib.contextmanager
def storage_errors(doing: str, path: Path) -> Iterator[None]:
    """Turn errors of the system and of SQLite into `StorageError`, or `DiskFullError` if there is no room left.

    `doing` completes "cannot …" in the message; `path` is the file or directory concerned.
    """
    try:
        yield
    except OSError as exc:
        raise _of_system(exc, doing, path) from exc
    except sqlite3.Error as exc:
        raise _of_sqlite(exc, doing, path) from exc


def _of_system(exc: OSError, doing: str, path: Path) -> StorageError:
    if exc.errno in _FULL:
        return DiskFullError(f"cannot {doing} in {path}: the disk is full", hint=FREE_SPACE)
    return StorageError(f"cannot {doing} in {path}: {exc.strerror}", hint=_HINTS.get(exc.errno or 0))


def _of_sqlite(exc: sqlite3.Error, doing: str, path: Path) -> StorageError:
    # Python 3.10 gives no error codes; these texts are those of sqlite3_errstr().
    text = str(exc)
    # SQLite also says I/O error when there is no room for its shared memory (SQLITE_IOERR_SHMSIZE).
    if "disk is full" in text or ("disk I/O" in text and _has_no_room(path)):
        return DiskFullError(f"cannot {doing} in {path}: the disk is full", hint=FREE_SPACE)
    if "malformed" in text or "not a database" in text:
        hint = "restore the directory from a backup, or move it away to start with an empty one"
        return StorageError(f"cannot {doing}: the database {path} is damaged", hint=hint)
    if "readonly" in text:
        return StorageError(f"cannot {doing}: {path} is read-only", hint=_HINTS[errno.EROFS])
    if "locked" in text:
        hint = "another program has it open for writing; close that"
        return StorageError(f"cannot {doing}: the database {path} is locked", hint=hint)
    if "disk I/O" in text:
        return StorageError(f"cannot {doing} in {path}: {text}", hint=_HINTS[errno.EIO])
    return StorageError(f"cannot {doing} in {path}: {text}")


def _has_no_room(path: Path) -> bool:
    try:
        found = os.statvfs(path.parent)
    except OSError:
        return False
    return found.f_bavail * found.f_frsize < _LITTLE_BYTES
