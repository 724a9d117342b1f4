"""Whether a directory or a key is this user's own: no other user may replace it.

Files that only their owner may read protect nothing if somebody else owns them, or a directory above them.
"""

from __future__ import annotations

import errno
import io
import os
import stat
from pathlib import Path

_UID_MAP = Path("/proc/self/uid_map")
_EVERY_USER = 2**32 - 1
_MAX_LINKS = 40


def check_directory(path: Path, *, own: bool = True, shared: bool = False) -> None:
    """Refuse a directory that another user owns or could replace. With `own` False, root may own it, too.

    `shared`: every user may write to the directory itself, such as a volume that containers share; for content
    whose owner is verified in another way.

    Raises: PermissionError, which names the problem; OSError if it cannot be examined.
    """
    _check_links(path)
    real = Path(os.path.realpath(path))
    found = real.stat()
    if not stat.S_ISDIR(found.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
    check_owner(found, path, root=not own)
    if not own and not shared:
        _check_mode(found, path)
    for above in real.parents:
        found = above.stat()
        check_owner(found, above, root=True, outside=True)
        _check_mode(found, above)


def check_file(found: os.stat_result, path: Path) -> None:
    """Refuse a file that another user owns or could replace.

    `found`: the status of the opened file, not of the path.

    Raises: PermissionError, which names the problem; OSError if it cannot be examined.
    """
    _check_links(path)
    check_directory(Path(os.path.realpath(path)).parent, own=False)
    check_owner(found, path)


def open_regular(path: str | os.PathLike[str]) -> io.BufferedReader:
    """Open a regular file for reading, and nothing else: a pipe or a device may never give anything.

    It is for the files that Plasm keeps itself. Raises: OSError, which names the path.
    """
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        mode = os.fstat(fd).st_mode
        if stat.S_ISDIR(mode):
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "it is no regular file", os.fspath(path))
    except OSError:
        os.close(fd)
        raise
    return os.fdopen(fd, "rb")


def check_owner(found: os.stat_result, path: Path, *, root: bool = False, outside: bool = False) -> None:
    """Refuse a file of another user.

    Permitted: this user, and optionally root or the `outside` owner of the user namespace.

    Raises: PermissionError.
    """
    allowed = {os.geteuid()}
    if root:
        allowed.add(0)
    if outside and not _is_every_user_mapped():
        allowed.add(_overflow_uid())
    if found.st_uid not in allowed:
        raise PermissionError(
            errno.EACCES,
            f"it belongs to another user (uid {found.st_uid}, ours is {os.geteuid()})",
            str(path),
        )


def _check_mode(found: os.stat_result, path: Path) -> None:
    """Refuse a directory in which any user can replace files; in a sticky one like /tmp they cannot."""
    if found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX:
        raise PermissionError(errno.EACCES, "every user may change its files", str(path))


def _check_links(path: Path) -> None:
    """Refuse a path through a symbolic link that another user owns, and so can point elsewhere."""
    left = [Path(os.path.abspath(path))]
    for _ in range(_MAX_LINKS):
        if not left:
            return
        current = left.pop()
        for part in (*reversed(current.parents), current):
            try:
                found = part.lstat()
            except FileNotFoundError:
                break
            if stat.S_ISLNK(found.st_mode):
                check_owner(found, part, root=True, outside=True)
                target = part.parent / os.readlink(part)
                left.append(Path(os.path.normpath(target / current.relative_to(part))))
                break
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))


def _is_every_user_mapped() -> bool:
    """Return whether no user is outside of our user namespace (user_namespaces(7))."""
    try:
        lines = [line.split() for line in _UID_MAP.read_text().splitlines()]
        return sum(int(line[2]) for line in lines) >= _EVERY_USER
    except (OSError, ValueError, IndexError):
        return True


def _overflow_uid() -> int:
    """Return the overflow user id, which represents all users outside of this user namespace."""
    try:
        return int(Path("/proc/sys/kernel/overflowuid").read_text())
    except (OSError, ValueError):
        return 65_534
