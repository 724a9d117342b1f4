"""The input trees of jobs: one pack for each digest, within a quota, kept as long as a job that uses it."""

from __future__ import annotations

import collections
import contextlib
import os
import threading
from pathlib import Path

from plasm_core.daemon.store.ballast import Ballast
from plasm_core.daemon.store.disk import storage_errors
from plasm_core.daemon.store.modules import Modules, ModuleUpload, Pin
from plasm_core.errors import RefusedError, StorageError
from plasm_core.fair_shares import Holder
from plasm_core.sandbox.process.file_pack import (
    PREFIX_BYTES,
    FilePack,
    PackDigests,
    listing_length,
    read_pack,
)
from plasm_core.sandbox.process.sealed_memory import sealed_blob
from plasm_core.tree_listing import ListingError

_SHORT_BYTES = 4096
"""A tree of at most so many bytes is read in the event loop, without a thread: its listing has at most 500 entries."""
_READ_AT_ONCE = 2
"""How many listings are in memory at once, however many clients send some: one may have 134 MB."""


class Trees(Modules):
    """The trees of a state directory, stored as modules are. Thread-safe.

    A tree's digest is that of its listing. A tree is deleted when no job uses it, live or ended. Before that it may
    be deleted if only ended jobs use it and another tree needs the room.
    """

    noun = "tree"

    def __init__(self, directory: Path, quota_bytes: int, ballast: Ballast) -> None:
        super().__init__(directory, quota_bytes, ballast)
        self._jobs: collections.Counter[str] = collections.Counter()
        self._compared: set[str] = set()
        self._listing_bytes: dict[str, int] = {}
        self._reading = threading.BoundedSemaphore(_READ_AT_ONCE)

    def retain(self, digest: str) -> None:
        """Count that one more job has a tree."""
        with self._lock:
            self._jobs[digest] += 1

    def let_go(self, digest: str) -> None:
        """Count that a job no longer has a tree. Delete the tree if that was the last job."""
        with self._lock:
            self._jobs[digest] -= 1
            if self._jobs[digest] <= 0:
                del self._jobs[digest]
            self._delete_unused(digest)

    def delete_unused(self) -> None:
        """Delete the trees that no job has: those of uploads before the last start."""
        with self._lock:
            for digest in list(self._sizes):
                self._delete_unused(digest)

    def _delete_unused(self, digest: str) -> None:
        if digest in self._sizes and digest not in self._jobs and digest not in self._pins:
            with contextlib.suppress(StorageError):  # the next start of the daemon deletes it
                self._throw_out(digest)

    def _unpin(self, digest: str) -> None:
        with self._lock:
            super()._unpin(digest)
            self._delete_unused(digest)

    def _throw_out(self, digest: str) -> None:
        self._compared.discard(digest)
        self._listing_bytes.pop(digest, None)
        super()._throw_out(digest)

    def _forget(self, digest: str) -> None:
        self._compared.discard(digest)
        self._listing_bytes.pop(digest, None)
        super()._forget(digest)

    def _is_whole(self, found: str, digest: str) -> bool:
        # The SHA-256 of the pack is not kept. A client that proves that it has the same bytes may use the tree.
        return True

    def _upload(self, path: Path, digest: str, size_bytes: int, holder: Holder) -> ModuleUpload:
        return TreeUpload(self, path, digest, size_bytes, holder)

    def listing_bytes(self, digest: str) -> int:
        """Return the size of a tree's listing, 0 if the tree is not stored or cannot be read: no job runs with it."""
        found = self._listing_bytes.get(digest)
        if found is not None:
            return found
        try:
            with open(self._path(digest), "rb") as pack:
                found = listing_length(pack.read(PREFIX_BYTES))
        except (OSError, ListingError):
            return 0
        with self._lock:
            if digest in self._sizes:
                self._listing_bytes[digest] = found
        return found

    def open(self, digest: str) -> FilePack:
        """Open a tree. Every file of it has been compared with its digest since the start of this process.

        Raises: `StorageError` if it is not stored or damaged; a damaged one is deleted.
        """
        with storage_errors("read a tree", self._directory):
            fd = os.open(self._path(digest), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                with self._reading:
                    size = os.fstat(fd).st_size
                    pack = read_pack(fd, size, tree=digest, checked=digest not in self._compared)
                self._compared.add(digest)
                return pack
            except ListingError as exc:
                os.close(fd)
                self._forget(digest)
                raise StorageError(
                    f"tree {digest} is damaged on the disk", hint="see the kernel's log"
                ) from exc
            except BaseException:
                os.close(fd)
                raise

    def compare(self, fd: int, size_bytes: int, digest: str) -> None:
        """Compare a pack that a client sent with its digests. Raises: `RefusedError`, OSError."""
        try:
            with self._reading:
                read_pack(fd, size_bytes, tree=digest)
        except ListingError as exc:
            raise not_named(exc) from exc

    def compared(self, digest: str) -> None:
        """Note that the files of a stored tree have been compared with their digests."""
        self._compared.add(digest)


def not_named(exc: ListingError) -> RefusedError:
    """Return the refusal of files that a manifest does not name."""
    return RefusedError("digest_mismatch", f"the files are not what the manifest names: {exc}")


class TreeUpload(ModuleUpload):
    """A tree during its upload. Its digests are compared as bytes arrive, or at the end."""

    def __init__(self, modules: Modules, path: Path, digest: str, size_bytes: int, holder: Holder) -> None:
        super().__init__(modules, path, digest, size_bytes, holder)
        self._digests = PackDigests(digest, size_bytes)

    def commit(self) -> Pin:
        pin = super().commit()
        assert isinstance(self._modules, Trees)
        self._modules.compared(self.digest)  # not by `pin`: what is stored may have been damaged meanwhile
        return pin

    @property
    def waits(self) -> bool:
        # Read the listing in a thread: 256 KiB may name 32,000 directories.
        return super().waits or self.size_bytes > _SHORT_BYTES

    def _note(self, data: bytes | memoryview) -> None:
        try:
            self._digests.update(data)
        except ListingError as exc:
            raise not_named(exc) from exc

    def _check(self) -> None:
        trees = self._modules
        assert isinstance(trees, Trees)
        try:
            if self.received_bytes != self.size_bytes:
                raise RefusedError("digest_mismatch", "the files are not all there")
            if self._digests.is_whole:
                return
            if self._fd < 0:
                fd = sealed_blob("plasm-tree", [bytes(self._small)])
            else:
                fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                trees.compare(fd, self.size_bytes, self.digest)
            finally:
                os.close(fd)
        except BaseException:
            self.discard()
            raise
