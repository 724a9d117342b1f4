"""The modules: one file for each digest, within a quota.

A pinned module is never deleted; each live job has a pin. When a complete module needs room, the holder with the most
bytes loses its least recently used module first. An upload deletes nothing until it is committed; until then it is
stored separately.
"""

from __future__ import annotations

import collections
import contextlib
import hashlib
import logging
import os
import secrets
import threading
from collections.abc import Collection
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from plasm_core.daemon.store.ballast import Ballast
from plasm_core.daemon.store.budget import KEPT_FOR_OWN
from plasm_core.daemon.store.disk import create, remove_tree, storage_errors, sync, sync_directory
from plasm_core.errors import RefusedError, StorageError, StorageFullError
from plasm_core.fair_shares import NOBODY, Holder, Room, Shares
from plasm_core.paths import private_directory
from plasm_core.sandbox.process.descriptor import write_all

log = logging.getLogger(__name__)

_CHUNK = 1 << 20
_PIECE = 1 << 18
"""So much a processor's cache holds between writing and hashing it."""
SMALL_MODULE_BYTES = 256 << 10
"""So large a module is taken in memory: clients send those at once, and most are here already."""


class Pin:
    """Prevents a module's deletion until it is released. Releasing twice is harmless."""

    def __init__(self, modules: Modules, digest: str) -> None:
        self.digest = digest
        self._modules: Modules | None = modules

    def release(self) -> None:
        """Permit the module's deletion when room is needed."""
        modules, self._modules = self._modules, None
        if modules is not None:
            modules._unpin(self.digest)

    def __enter__(self) -> Pin:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


class Modules:
    """The modules of a state directory, `<2 hex>/<digest>` each. Thread-safe. `noun`: what one is called in messages."""

    noun = "module"

    def __init__(self, directory: Path, quota_bytes: int, ballast: Ballast) -> None:
        """Take over a directory, and throw out what uploads that were cut short left. Raises: OSError."""
        self.quota_bytes = quota_bytes
        self._ballast = ballast
        self._directory = private_directory(directory)
        self._incoming = directory / "incoming"
        remove_tree(self._incoming)
        private_directory(self._incoming)
        self._lock = threading.RLock()
        # The bytes that cannot be freed: modules in use, and reservations of uploads.
        self._shares = Shares(quota_bytes, kept=quota_bytes // KEPT_FOR_OWN)
        self._reserved_bytes = 0
        self._holders: dict[str, Holder] = {}
        self._in_use: dict[str, tuple[Holder, int]] = {}
        self._pins: collections.Counter[str] = collections.Counter()
        found = []
        for path in directory.glob("[0-9a-f][0-9a-f]/*"):
            stat = path.stat()
            found.append((stat.st_mtime, path.name, stat.st_size))
        self._sizes = collections.OrderedDict((name, size) for _, name, size in sorted(found))

    def __contains__(self, digest: str) -> bool:
        return digest in self._sizes

    def __len__(self) -> int:
        return len(self._sizes)

    def size_bytes(self, digest: str) -> int | None:
        """Return a module's size in bytes, None if it is not stored."""
        return self._sizes.get(digest)

    @property
    def used_bytes(self) -> int:
        """The bytes of all modules, including the reservations of uploads."""
        with self._lock:
            return sum(self._sizes.values()) + self._reserved_bytes

    def attribute(self, digest: str, holder: Holder) -> None:
        """Set the holder of a module, unless it has one: who brings a module that is there already takes no room."""
        if holder.names:
            self._holders.setdefault(digest, holder)

    def pin(self, digest: str) -> Pin | None:
        """Pin a module, or return None if it is not stored. Counts as a use of the module."""
        with self._lock:
            if digest not in self._sizes:
                return None
            self._sizes.move_to_end(digest)
            self._hold(digest)
        pin = Pin(self, digest)
        try:
            os.utime(f"{self._directory}/{digest[:2]}/{digest}")
        except FileNotFoundError:  # it was removed from outside
            pin.release()
            self._forget(digest)
            return None
        except OSError:  # only the order of deletion after the next start depends on it
            pass
        return pin

    def hold(self, digest: str) -> Pin:
        """Pin the module of an accepted job at the daemon's start, whether or not it is stored."""
        with self._lock:
            self._hold(digest)
        return Pin(self, digest)

    def upload(self, digest: str, size_bytes: int, holder: Holder = NOBODY) -> ModuleUpload:
        """Begin the upload of a module, with room reserved for all of it. No other module is deleted yet.

        Raises: `StorageFullError` if the modules in use leave no room in the quota, or none for this holder;
        `StorageError`.
        """
        with self._lock:
            if (room := self._shares.take(holder, size_bytes)) is not Room.FREE:
                raise self._no_room(size_bytes, room)
            self._reserved_bytes += size_bytes
        try:
            return self._upload(self._incoming / secrets.token_hex(8), digest, size_bytes, holder)
        except BaseException:
            self._unreserve(size_bytes, holder)
            raise

    def _upload(self, path: Path, digest: str, size_bytes: int, holder: Holder) -> ModuleUpload:
        return ModuleUpload(self, path, digest, size_bytes, holder)

    def giver(self, holder: Holder, size_bytes: int, among: Collection[str]) -> str | None:
        """Return the name of the holder that must give up room for an upload: see `Shares.giver`."""
        return self._shares.giver(holder, size_bytes, among=among)

    def read(self, digest: str) -> bytes:
        """Return a module's bytes; their digest is checked at each call.

        Raises: `StorageError` if the module is not stored or damaged; a damaged one is deleted, so that it can be
        uploaded again.
        """
        with storage_errors("read a module", self._directory):
            data = self._path(digest).read_bytes()
        if hashlib.sha256(data).hexdigest() != digest:
            self._forget(digest)
            raise StorageError(f"module {digest} is damaged on the disk", hint="see the kernel's log")
        return data

    def checked_path(self, digest: str) -> Path:
        """Return the path of a module that was compared with its digest just now, for a caller who has it pinned.

        Raises: as `read`.
        """
        path, found = self._path(digest), hashlib.sha256()
        with storage_errors("read a module", self._directory), path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                found.update(chunk)
        if found.hexdigest() != digest:
            self._forget(digest)
            raise StorageError(f"module {digest} is damaged on the disk", hint="see the kernel's log")
        return path

    def is_proved(self, digest: str, size_bytes: int, challenge: bytes, proof: str) -> bool:
        """Return whether a proof is sha256(challenge ‖ bytes) for a stored module of this size.

        The same number of bytes is read and hashed whether or not the module is stored and independently of its size, so
        that the time does not reveal it. A damaged module is deleted.
        """
        answer, check, is_read = hashlib.sha256(challenge), hashlib.sha256(), False
        with contextlib.ExitStack() as stack:
            file = None
            if self._sizes.get(digest) == size_bytes:
                with contextlib.suppress(OSError):
                    file = stack.enter_context(self._path(digest).open("rb"))
                    is_read = True
            for offset in range(0, size_bytes, _CHUNK):
                length = min(_CHUNK, size_bytes - offset)
                chunk = _next(file, length)
                is_read = is_read and len(chunk) == length
                chunk = chunk if len(chunk) == length else bytes(length)
                answer.update(chunk)
                check.update(chunk)
        is_whole = is_read and self._is_whole(check.hexdigest(), digest)
        is_right = secrets.compare_digest(answer.hexdigest(), proof)
        if file is not None and not is_whole:
            self._forget(digest)
        return is_whole and is_right

    def _is_whole(self, found: str, digest: str) -> bool:
        """Return whether the SHA-256 of stored bytes, `found`, is the expected digest."""
        return secrets.compare_digest(found, digest)

    def _path(self, digest: str) -> Path:
        return self._directory / digest[:2] / digest

    def _hold(self, digest: str) -> None:
        self._pins[digest] += 1
        if digest not in self._in_use:
            self._count(digest)

    def _count(self, digest: str) -> None:
        """Count the bytes of a used module towards its holder."""
        counted = self._in_use.pop(digest, None)
        if counted is not None:
            self._shares.give_back(*counted)
        if digest in self._pins:
            counted = self._holders.get(digest, NOBODY), self._sizes.get(digest, 0)
            self._shares.take(*counted, force=True)
            self._in_use[digest] = counted

    def _unpin(self, digest: str) -> None:
        with self._lock:
            self._pins[digest] -= 1
            if self._pins[digest] <= 0:
                del self._pins[digest]
                self._count(digest)

    def _unreserve(self, size_bytes: int, holder: Holder) -> None:
        with self._lock:
            self._reserved_bytes -= size_bytes
            self._shares.give_back(holder, size_bytes)

    def _forget(self, digest: str) -> None:
        log.error("%s is damaged, deleted it digest=%s", self.noun, digest)
        with self._lock, contextlib.suppress(OSError):
            self._sizes.pop(digest, None)
            self._holders.pop(digest, None)
            self._count(digest)
            self._path(digest).unlink(missing_ok=True)

    def _no_room(self, size_bytes: int, room: Room) -> StorageFullError:
        whose = " of this client" if room is Room.SHARE_USED else ""
        return StorageFullError(
            f"no room for a {self.noun} of {size_bytes} bytes{whose}: the quota is {self.quota_bytes} bytes, "
            f"{self._shares.used} are in use",
            hint=f"try again when other jobs have ended, or raise storage.{self.noun}_bytes",
        )

    def _make_room(self, size_bytes: int) -> None:
        """Delete unused modules to make room for a complete one. Raises: `StorageFullError`."""
        excess = sum(self._sizes.values()) + size_bytes - self.quota_bytes
        if excess <= 0:
            return
        idle: dict[str, collections.deque[str]] = collections.defaultdict(collections.deque)
        held: collections.Counter[str] = collections.Counter()
        for digest, size in self._sizes.items():
            name = next(iter(self._holders.get(digest, NOBODY).names[-1:]), "")
            held[name] += size
            if digest not in self._pins:
                idle[name].append(digest)
        if sum(self._sizes[digest] for found in idle.values() for digest in found) < excess:
            raise self._no_room(size_bytes, Room.FULL)
        while excess > 0:
            name = max(idle, key=lambda name: held[name])
            digest = idle[name].popleft()
            if not idle[name]:
                del idle[name]
            size = self._sizes[digest]
            self._throw_out(digest)
            held[name] -= size
            excess -= size

    def _throw_out(self, digest: str) -> None:
        with storage_errors(f"throw out a {self.noun}", self._directory):
            self._path(digest).unlink(missing_ok=True)
        self._sizes.pop(digest, None)
        self._holders.pop(digest, None)

    def _adopt(self, source: Path, digest: str, size_bytes: int, holder: Holder) -> Pin:
        """Move a file that is complete and on the disk to its place."""
        target = self._path(digest)
        with self._lock:
            if digest not in self._sizes:
                self._make_room(size_bytes)
            with storage_errors(f"keep a {self.noun}", self._directory):
                if not target.parent.exists():
                    private_directory(target.parent)
                    sync_directory(self._directory)
                os.replace(source, target)
                sync_directory(target.parent)
            if digest not in self._sizes:
                self.attribute(digest, holder)
            self._sizes[digest] = size_bytes
            self._sizes.move_to_end(digest)
            pin = self.hold(digest)
            self._count(digest)
            return pin


def _next(file: BinaryIO | None, length: int) -> bytes:
    """Return the next bytes of a file; fewer after a read error."""
    if file is not None:
        with contextlib.suppress(OSError):
            return file.read(length)
    return b""


class ModuleUpload:
    """A module during its upload: a small one in memory, a larger one in a file. For one thread at a time.

    Ends with `commit`, `pin` or `discard`.
    """

    def __init__(self, modules: Modules, path: Path, digest: str, size_bytes: int, holder: Holder) -> None:
        self.digest = digest
        self.size_bytes = size_bytes
        self._holder = holder
        self.received_bytes = 0
        self._modules = modules
        self._path = path
        self._sha256 = hashlib.sha256()
        self._fd = -1
        self._small = bytearray()
        self.is_small = size_bytes <= SMALL_MODULE_BYTES
        if not self.is_small:
            with storage_errors(f"take a {modules.noun}", path.parent):
                self._fd = create(path)
        self._open = True

    @property
    def waits(self) -> bool:
        """Whether `write` may take long: it writes to the disk."""
        return not self.is_small

    def write(self, data: bytes | memoryview) -> None:
        """Store the next bytes.

        Raises: `RefusedError` (`digest_mismatch`) beyond the announced size; `StorageFullError`, `StorageError`.
        After an error the upload can only be discarded.
        """
        if self.received_bytes + len(data) > self.size_bytes:
            raise RefusedError("digest_mismatch", f"the {self._modules.noun} is longer than was announced")
        with storage_errors(f"take a {self._modules.noun}", self._path.parent):
            self._modules._ballast.demand()
            if self.is_small:
                self._small += data
            else:
                write_all(self._fd, data)
        self._note(data)
        self.received_bytes += len(data)

    def copy(self, fd: int, count: int) -> None:
        """Store the next bytes from a descriptor of sealed memory that has all of them. Raises: as `write`."""
        room, end = memoryview(bytearray(min(count, _PIECE))), self.received_bytes + count
        while self.received_bytes < end:
            size = os.preadv(fd, [room[: end - self.received_bytes]], self.received_bytes)
            if not size:
                raise RefusedError("digest_mismatch", f"the {self._modules.noun} was cut short")
            self.write(room[:size])

    def pin(self) -> Pin | None:
        """Pin the module if it is stored already, instead of `commit`. Does not wait for the disk.

        Raises: `RefusedError` (`digest_mismatch`); the upload is then discarded.
        """
        self._check()
        pin = self._modules.pin(self.digest)
        if pin is not None:
            self.discard()
        return pin

    def commit(self) -> Pin:
        """Store and pin the module. It is on the disk when this returns.

        Raises: `RefusedError` (`digest_mismatch`), `StorageError`; the upload is then discarded.
        """
        try:
            with storage_errors(f"keep a {self._modules.noun}", self._path.parent):
                if self.is_small and self._fd < 0:
                    self._fd = create(self._path)
                    write_all(self._fd, bytes(self._small))
                self._check()
                sync(self._fd)
            return self._modules._adopt(self._path, self.digest, self.size_bytes, self._holder)
        finally:
            self.discard()

    def _note(self, data: bytes | memoryview) -> None:
        """Take note of the next bytes, which were stored."""
        self._sha256.update(data)

    def _check(self) -> None:
        """Compare the uploaded bytes with the module's digest. Raises: `RefusedError`; the upload is then discarded."""
        if self.received_bytes != self.size_bytes or self._sha256.hexdigest() != self.digest:
            self.discard()
            raise RefusedError("digest_mismatch", "the module is not what the manifest names")

    def discard(self) -> None:
        """Discard the upload with its file and reservation, unless it has ended."""
        if not self._open:
            return
        self._open = False
        self._small.clear()
        self._modules._unreserve(self.size_bytes, self._holder)
        if self._fd >= 0:
            os.close(self._fd)
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)
