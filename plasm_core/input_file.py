"""Reading files that users name: regular ones, pipes, devices, `-` and `/dev/fd/N`.

The size that fstat(2) gives says nothing about a pipe, a terminal, a socket or a file of `/proc`, and a regular
file may grow: all that is read here is read until its end, and counted then.
"""

from __future__ import annotations

import errno
import io
import os
import re
import select
import stat

from plasm_core import standard_streams

_CHUNK_BYTES = 1 << 20
_DESCRIPTORS = re.compile(r"/proc/(?:self|thread-self|[0-9]+)/fd|/dev/fd")
_MAX_LINKS = 40


class TooLargeError(OSError):
    """A file has more bytes than the reader accepts."""

    def __init__(self, path: str, maximum: int) -> None:
        super().__init__(errno.EFBIG, f"it has more than {maximum} bytes", path)


def descriptor_of(path: str | os.PathLike[str]) -> int | None:
    """Return the file descriptor that a path such as `/dev/stdin` or `/dev/fd/5` names; None for other paths."""
    place = os.fspath(path)
    own = os.path.realpath("/proc/self/fd") if os.path.isdir("/proc/self/fd") else None
    for _ in range(_MAX_LINKS):
        parent, name = os.path.split(os.path.abspath(place))
        parent = os.path.realpath(parent)
        if re.fullmatch("[0-9]{1,9}", name) and (parent == own or (own is None and parent == "/dev/fd")):
            return int(name)
        place = os.path.join(parent, name)
        if _DESCRIPTORS.fullmatch(parent) or not os.path.islink(place):
            return None
        place = os.path.join(parent, os.readlink(place))
    return None


def open_input(path: str | os.PathLike[str]) -> io.FileIO:
    """Open a file for reading, `-` for standard input. Raises: OSError, which names the path.

    A path that names one of this process's descriptors gives that descriptor: a socket cannot be opened again, and
    a pipe must be read at its current position.
    """
    name = os.fspath(path)
    try:
        number = 0 if name == "-" else descriptor_of(name)
    except ValueError as exc:  # half a character
        raise OSError(errno.EINVAL, str(exc), name) from exc
    if number in standard_streams.closed:
        raise OSError(errno.EBADF, _closed(number), name)
    try:
        if number is None:
            fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
        else:
            fd = os.dup(number)
            os.set_inheritable(fd, False)
    except ValueError as exc:  # a NUL
        raise OSError(errno.EINVAL, str(exc), name) from exc
    except OSError as exc:
        if number is not None and exc.errno == errno.EBADF:
            raise OSError(errno.EBADF, _closed(number), name) from exc
        raise OSError(exc.errno, exc.strerror, name) from exc
    try:
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), name)
    except OSError:
        os.close(fd)
        raise
    file = io.FileIO(fd, "rb")
    file.name = name
    return file


def _closed(number: int) -> str:
    return "standard input is closed" if number == 0 else f"the descriptor {number} is not open"


def read_some(file: io.FileIO, maximum: int) -> bytes:
    """Return the next bytes, none at the end. Raises: OSError."""
    while True:
        data = file.read(maximum)
        if data is not None:
            return data
        # The parent process left the descriptor non-blocking.
        waiting = select.poll()
        waiting.register(file.fileno(), select.POLLIN)
        waiting.poll()


def read_input(path: str | os.PathLike[str], maximum: int) -> bytes:
    """Return all of a file. Raises: OSError; `TooLargeError` if it has more than `maximum` bytes.

    A regular file is read in one piece, so that its content is in memory once, not as pieces and as a whole.
    """
    parts, size = [], 0
    with open_input(path) as file:
        piece_bytes = max(os.fstat(file.fileno()).st_size + 1, _CHUNK_BYTES)
        while chunk := read_some(file, min(piece_bytes, maximum + 1 - size)):
            parts.append(chunk)
            size += len(chunk)
            if size > maximum:
                raise TooLargeError(os.fspath(path), maximum)
            piece_bytes = _CHUNK_BYTES
    return b"".join(parts)


def is_stored(path: str | os.PathLike[str]) -> bool:
    """Return whether a path names a file that can be read twice, from any position.

    That is a regular file with a size: files of `/proc` have none, and their content may change between reads. A
    path to one of this process's descriptors is not stored: it is read from its current position.
    """
    try:
        found = os.stat(path)
        return stat.S_ISREG(found.st_mode) and found.st_size > 0 and descriptor_of(path) is None
    except (OSError, ValueError):
        return False
