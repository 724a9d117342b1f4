"""Write files that users name: completely or not at all, and never in place of a file that is not regular.

A regular file is replaced by a temporary one of its directory, made under a random name with O_EXCL and O_NOFOLLOW,
so that no other user can plant a link there. A link that the user named is followed: its target is replaced. Devices, pipes
and descriptors (`/dev/stdout`, a shell's `>(…)`) are written to. `OutputFile.prepared` checks before a job runs that
its result can be written afterwards.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import select
import stat
import time
from collections.abc import Callable, Iterable

import attrs

from plasm_core import standard_streams
from plasm_core.errors import OutputFileError
from plasm_core.input_file import descriptor_of
from plasm_core.sandbox.process.descriptor import write_all

_WRITE_S = 60.0
"""How long the reader of a pipe may take until it takes something."""
_CHUNK_BYTES = 4096
"""The bytes that a pipe accepts at once when poll(2) reports it writable (PIPE_BUF)."""
_IN_PLACE = frozenset({errno.EBUSY, errno.EXDEV, errno.EACCES, errno.EPERM, errno.EROFS})
"""Why a file may not be replaced though it can be written to: a file that is mounted, a directory of others."""


Chunks = Callable[[], Iterable[bytes]]
"""Returns bytes piece by piece; called again if a file must be written a second time."""


@attrs.frozen(kw_only=True)
class OutputFile:
    """A place to write to. `name`: as the user gave it; `path`: with symbolic links resolved.

    `descriptor`: a descriptor of this process, instead of a path. `is_stream`: a device or a pipe. `replaced`: mode
    and owner of the existing regular file.
    """

    name: str
    path: str
    descriptor: int | None = None
    is_stream: bool = False
    replaced: os.stat_result | None = None

    @classmethod
    def prepared(cls, name: str | os.PathLike[str]) -> OutputFile:
        """Resolve a path, `-` for stdout, and check that it can be written. Raises: `OutputFileError`."""
        name = os.fspath(name)
        if not name:
            raise OutputFileError("cannot write a file without a name")
        if "\0" in name:
            raise _error(name, "no path holds a NUL")
        try:
            return cls._found(name)
        except OSError as exc:
            raise _error(name, exc.strerror or str(exc)) from exc
        except ValueError as exc:  # half a character
            raise _error(name, str(exc)) from exc

    @classmethod
    def _found(cls, name: str) -> OutputFile:
        descriptor = 1 if name == "-" else descriptor_of(name)
        if descriptor is not None:
            if descriptor in standard_streams.closed:
                raise _error(name, f"the descriptor {descriptor} is not open")
            os.fstat(descriptor)
            return cls(name=name, path=name, descriptor=descriptor)
        refuse_planted(name)
        path = os.path.realpath(name)
        try:
            found = os.stat(path)
        except FileNotFoundError:
            if name.endswith("/"):
                raise _error(name, "it names a directory, and there is none") from None
            parent = os.path.dirname(path)
            if not os.path.isdir(parent):
                raise _error(name, f"there is no directory {parent}") from None
            if not os.access(parent, os.W_OK | os.X_OK):
                raise _error(name, f"its directory {parent} is not writable") from None
            return cls(name=name, path=path)
        if stat.S_ISDIR(found.st_mode):
            raise _error(name, "it is a directory")
        if stat.S_ISSOCK(found.st_mode):
            raise _error(name, "it is a socket")
        if not os.access(path, os.W_OK):
            raise _error(name, "it is not writable")
        if not stat.S_ISREG(found.st_mode):
            return cls(name=name, path=path, is_stream=True)
        return cls(name=name, path=path, replaced=found)

    def replaces(self, file: str) -> bool:
        """Return whether writing would replace an existing file, under any of its names."""
        try:
            return self.replaced is not None and os.path.samestat(self.replaced, os.stat(file))
        except (OSError, ValueError):
            return False

    def write(self, data: bytes, *, mode: int = 0o666) -> None:
        """Write the bytes. `mode`: for a new file, before the umask. Raises: `OutputFileError`."""
        self.write_chunks(lambda: (data,), mode=mode)

    def write_chunks(self, chunks: Chunks, *, mode: int = 0o666) -> None:
        """Write what `chunks` returns, piece by piece. Raises: as `write`, and what `chunks` raises."""
        try:
            if self.descriptor is not None:
                _write(self.descriptor, chunks)
            elif self.is_stream:
                self._write_stream(chunks)
            else:
                self._replace(chunks, mode)
        except OSError as exc:
            raise _error(self.name, exc.strerror or str(exc)) from exc

    def _write_stream(self, chunks: Chunks) -> None:
        fd = _opened_stream(self.path)
        try:
            if stat.S_ISREG(os.fstat(fd).st_mode):  # the file was changed meanwhile
                raise OSError(errno.EEXIST, "it was replaced meanwhile")
            _write(fd, chunks)
        finally:
            os.close(fd)

    def _replace(self, chunks: Chunks, mode: int) -> None:
        parent, name = os.path.split(self.path)
        # O_PATH: a directory into which files may be put need not be one that may be listed.
        directory = os.open(parent, getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            temporary = f".plasm-{secrets.token_hex(16)}.new"
            mode = mode if self.replaced is None else 0o600
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            try:
                fd = os.open(temporary, flags, mode, dir_fd=directory)
            except OSError as exc:
                if self.replaced is None or exc.errno not in _IN_PLACE:
                    raise
                self._overwrite(chunks)
                return
            try:
                with contextlib.closing(_Descriptor(fd)):
                    _write(fd, chunks)
                    if self.replaced is not None:
                        _take_over(fd, self.replaced)
                self._refuse_other(directory, name)
                os.replace(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
            except OSError as exc:
                with contextlib.suppress(OSError):
                    os.unlink(temporary, dir_fd=directory)
                if self.replaced is None or exc.errno not in _IN_PLACE:
                    raise
                self._overwrite(chunks)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(temporary, dir_fd=directory)
                raise
        finally:
            os.close(directory)

    def _refuse_other(self, directory: int, name: str) -> None:
        """Refuse to replace a file that is not regular, which may have appeared since the first check. Raises:
        OSError.
        """
        with contextlib.suppress(FileNotFoundError):
            found = os.stat(name, dir_fd=directory, follow_symlinks=False)
            if not stat.S_ISREG(found.st_mode):
                raise OSError(errno.EEXIST, "it is no regular file any more")

    def _overwrite(self, chunks: Chunks) -> None:
        """Write a file that cannot be replaced where it is. Raises: OSError."""
        fd = os.open(self.path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            os.ftruncate(fd, 0)
            _write(fd, chunks)
        finally:
            os.close(fd)


class _Descriptor:
    def __init__(self, fd: int) -> None:
        self._fd = fd

    def close(self) -> None:
        os.close(self._fd)


def _take_over(fd: int, replaced: os.stat_result) -> None:
    """Give a new file the permissions of the file that it replaces, and its owner if this user may."""
    now = os.fstat(fd)
    if (now.st_uid, now.st_gid) != (replaced.st_uid, replaced.st_gid):
        with contextlib.suppress(OSError):
            os.fchown(fd, replaced.st_uid, replaced.st_gid)
    os.fchmod(fd, stat.S_IMODE(replaced.st_mode) & 0o777)


def refuse_planted(name: str) -> None:
    """Refuse a link that another user put into a directory for all, as Linux's protected_symlinks does.

    Raises: `OutputFileError`; OSError if the directory cannot be examined.
    """
    parent = os.path.realpath(os.path.dirname(os.path.abspath(name)))
    link = os.path.join(parent, os.path.basename(name))
    if not os.path.islink(link):
        return
    around, found = os.stat(parent), os.lstat(link)
    for_all = around.st_mode & stat.S_ISVTX and around.st_mode & stat.S_IWOTH
    if for_all and found.st_uid not in (os.geteuid(), around.st_uid):
        raise _error(name, "another user made it a symbolic link")


def _opened_stream(path: str) -> int:
    """Open a device or a named pipe, and wait until a pipe has a reader. Raises: OSError."""
    deadline = time.monotonic() + _WRITE_S
    while True:
        try:
            return os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as exc:
            if exc.errno != errno.ENXIO:
                raise
        if time.monotonic() >= deadline:
            raise OSError(errno.ENXIO, f"no process opened the pipe to read within {_WRITE_S:.0f} s")
        time.sleep(0.05)


def _write(fd: int, chunks: Chunks) -> None:
    """Write all, though the descriptor may be non-blocking. Raises: OSError."""
    is_file = stat.S_ISREG(os.fstat(fd).st_mode)
    for data in chunks():
        if is_file:
            write_all(fd, data)
        else:
            _write_when_ready(fd, data)


def _write_when_ready(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        ready = select.poll()
        ready.register(fd, select.POLLOUT)
        if not ready.poll(_WRITE_S * 1000):
            raise OSError(errno.EAGAIN, f"no process has read from it for {_WRITE_S:.0f} s")
        with contextlib.suppress(BlockingIOError):
            view = view[os.write(fd, view[:_CHUNK_BYTES]) :]


def _error(name: str, reason: str) -> OutputFileError:
    return OutputFileError(f"cannot write {name}: {reason}")
