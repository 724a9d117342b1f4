"""The modules: one file for each digest, within a quota.

A module that somebody holds a pin of, as each live job does, is never thrown out. When a module that is complete
needs the room of others, the holder with the most bytes gives first, of its modules the least recently used. An
upload throws out nothing until it is committed: it lies beside the modules until then.
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

from plasm_core.errors import RefusedError, StorageError, StorageFullError
from plasm_core.paths import private_directory
from plasm_core.sandbox.descriptor import write_all
from plasm_core.shares import NOBODY, Holder, Room, Shares
from plasm_core.store.ballast import Ballast
from plasm_core.store.budget import KEPT_FOR_OWN
from plasm_core.store.disk import create, remove_tree, storage_errors, sync, sync_directory

log = logging.getLogger(__name__)

_CHUNK = 1 << 20


class Pin:
    """Keeps a module here until it is released. Releasing twice is harmless."""

    def __init__(self, modules: Modules, digest: str) -> None:
        self.digest = digest
        self._modules: Modules | None = modules

    def release(self) -> None:
        """Let the module go when room is needed."""
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
    """The modules of a state directory, `<2 hex>/<digest>` each. Thread-safe."""

    def __init__(self, directory: Path, quota_bytes: int, ballast: Ballast) -> None:
        """Take over a directory, and throw out what uploads that were cut short left. Raises: OSError."""
        self.quota_bytes = quota_bytes
        self._ballast = ballast
        self._directory = private_directory(directory)
        self._incoming = directory / "incoming"
        remove_tree(self._incoming)
        private_directory(self._incoming)
        self._lock = threading.RLock()
        # What cannot be thrown out: modules in use, and what uploads have reserved.
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
        """Return how long a module is, None if it is not here."""
        return self._sizes.get(digest)

    @property
    def used_bytes(self) -> int:
        """What the modules take, with what uploads have reserved."""
        with self._lock:
            return sum(self._sizes.values()) + self._reserved_bytes

    def attribute(self, digest: str, holder: Holder) -> None:
        """Say whose a module is that was here at the start."""
        if holder.names:
            self._holders[digest] = holder

    def pin(self, digest: str) -> Pin | None:
        """Keep a module here, or return None if it is not. Counts as a use of it."""
        with self._lock:
            if digest not in self._sizes:
                return None
            self._sizes.move_to_end(digest)
            self._hold(digest)
        with contextlib.suppress(OSError):  # only the order after the next start hangs on it
            os.utime(self._path(digest))
        return Pin(self, digest)

    def hold(self, digest: str) -> Pin:
        """Pin a module whether or not it is here: of a job that was accepted, at a start."""
        with self._lock:
            self._hold(digest)
        return Pin(self, digest)

    def upload(self, digest: str, size_bytes: int, holder: Holder = NOBODY) -> ModuleUpload:
        """Begin to take a module, with room reserved for all of it, and nothing thrown out yet.

        Raises: `StorageFullError` if the modules in use leave no room in the quota, or not to this holder;
        `StorageError`.
        """
        with self._lock:
            if (room := self._shares.take(holder, size_bytes)) is not Room.FREE:
                raise self._no_room(size_bytes, room)
            self._reserved_bytes += size_bytes
        try:
            return ModuleUpload(self, self._incoming / secrets.token_hex(8), digest, size_bytes, holder)
        except BaseException:
            self._unreserve(size_bytes, holder)
            raise

    def giver(self, holder: Holder, size_bytes: int, among: Collection[str]) -> str | None:
        """Return the name that gives first for a holder whose upload finds no room: see `Shares.giver`."""
        return self._shares.giver(holder, size_bytes, among=among)

    def read(self, digest: str) -> bytes:
        """Return a module's bytes, checked against the digest at each reading.

        Raises: `StorageError` if it is not here or damaged; a damaged one is thrown out, so that it can be
        uploaded anew.
        """
        with storage_errors("read a module", self._directory):
            data = self._path(digest).read_bytes()
        if hashlib.sha256(data).hexdigest() != digest:
            self._forget(digest)
            raise StorageError(f"module {digest} is damaged on the disk", hint="see the kernel's log")
        return data

    def is_proved(self, digest: str, size_bytes: int, challenge: bytes, proof: str) -> bool:
        """Return whether a proof is sha256(challenge ‖ module) of a module that is here and has this size.

        As many bytes are read and hashed whether the module is here or not, and whatever its size: how long it
        takes must not tell. A damaged module is thrown out.
        """
        answer, check = hashlib.sha256(challenge), hashlib.sha256()
        with contextlib.ExitStack() as stack:
            file = None
            if self._sizes.get(digest) == size_bytes:
                with contextlib.suppress(OSError):
                    file = stack.enter_context(self._path(digest).open("rb"))
            for offset in range(0, size_bytes, _CHUNK):
                length = min(_CHUNK, size_bytes - offset)
                chunk = _zeros_or(file, length)
                answer.update(chunk)
                check.update(chunk)
        is_whole = secrets.compare_digest(check.hexdigest(), digest)
        is_right = secrets.compare_digest(answer.hexdigest(), proof)
        if file is not None and not is_whole:
            self._forget(digest)
        return is_whole and is_right

    def _path(self, digest: str) -> Path:
        return self._directory / digest[:2] / digest

    def _hold(self, digest: str) -> None:
        self._pins[digest] += 1
        if digest not in self._in_use:
            self._count(digest)

    def _count(self, digest: str) -> None:
        """Count a module that is in use to its holder, by what it takes now."""
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
        log.error("module is damaged, thrown out module=%s", digest)
        with self._lock, contextlib.suppress(OSError):
            self._sizes.pop(digest, None)
            self._count(digest)
            self._path(digest).unlink(missing_ok=True)

    def _no_room(self, size_bytes: int, room: Room) -> StorageFullError:
        whose = " of this client" if room is Room.SHARE_USED else ""
        return StorageFullError(
            f"no room for a module of {size_bytes} bytes{whose}: the quota is {self.quota_bytes} bytes, "
            f"{self._shares.used} are in use",
            hint="try again when other jobs have ended, or raise storage.module_bytes",
        )

    def _make_room(self, size_bytes: int) -> None:
        """Throw out what is not in use, for a module that is complete. Raises: `StorageFullError`."""
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
            with storage_errors("throw out a module", self._directory):
                self._path(digest).unlink(missing_ok=True)
            size = self._sizes.pop(digest)
            self._holders.pop(digest, None)
            held[name] -= size
            excess -= size

    def _adopt(self, source: Path, digest: str, size_bytes: int, holder: Holder) -> Pin:
        """Move a file that is complete and on the disk to its place."""
        target = self._path(digest)
        with self._lock:
            if digest not in self._sizes:
                self._make_room(size_bytes)
            with storage_errors("keep a module", self._directory):
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


def _zeros_or(file: BinaryIO | None, length: int) -> bytes:
    """Return the next bytes of a module's file, or as many zeros as there should be."""
    found = b""
    if file is not None:
        with contextlib.suppress(OSError):
            found = file.read(length)
    return found if len(found) == length else bytes(length)


class ModuleUpload:
    """A module on its way in. One thread at a time; ends by `commit` or `discard`."""

    def __init__(self, modules: Modules, path: Path, digest: str, size_bytes: int, holder: Holder) -> None:
        self.digest = digest
        self.size_bytes = size_bytes
        self._holder = holder
        self.received_bytes = 0
        self._modules = modules
        self._path = path
        self._sha256 = hashlib.sha256()
        with storage_errors("take a module", path.parent):
            self._fd = create(path)
        self._open = True

    def write(self, data: bytes) -> None:
        """Take the next bytes.

        Raises: `RefusedError` (`digest_mismatch`) beyond the size announced; `StorageFullError`,
        `StorageError`, after either of which the upload can only be discarded.
        """
        if self.received_bytes + len(data) > self.size_bytes:
            raise RefusedError("digest_mismatch", "the module is longer than was announced")
        with storage_errors("take a module", self._path.parent):
            self._modules._ballast.demand()
            write_all(self._fd, data)
        self._sha256.update(data)
        self.received_bytes += len(data)

    def commit(self) -> Pin:
        """Keep the module, on the disk when this returns, and pin it.

        Raises: `RefusedError` (`digest_mismatch`), `StorageError`; then the upload is discarded.
        """
        try:
            if self.received_bytes != self.size_bytes or self._sha256.hexdigest() != self.digest:
                raise RefusedError("digest_mismatch", "the module is not what the manifest names")
            with storage_errors("keep a module", self._path.parent):
                sync(self._fd)
            return self._modules._adopt(self._path, self.digest, self.size_bytes, self._holder)
        finally:
            self.discard()

    def discard(self) -> None:
        """Give up the upload, if it has not ended. Its file and reservation go."""
        if not self._open:
            return
        self._open = False
        os.close(self._fd)
        self._modules._unreserve(self.size_bytes, self._holder)
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)
