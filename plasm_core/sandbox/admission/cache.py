"""The cache of metered and compiled modules: private, authenticated, bounded.

Engines trust what they load: wasmtime accepts a compiled module with flipped bits. So each entry has an HMAC over its
name and content with a key of this node, and callers receive a sealed copy of the checked content.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import logging
import os
import tempfile
from pathlib import Path

from plasm_core.ownership import open_regular
from plasm_core.paths import private_directory, secret
from plasm_core.sandbox.process.descriptor import write_all
from plasm_core.sandbox.process.sealed_memory import open_blob, seal

log = logging.getLogger(__name__)

_TAG_BYTES = 32
_CHUNK = 1 << 20


def cache_key(path: Path) -> bytes:
    """Return the node's cache key, 32 bytes. Create it if there is none."""
    return secret(path)


class Cache:
    """Authenticated entries by name; the least recently used are deleted first. A missing entry is computed again."""

    def __init__(self, directory: Path, key: bytes, quota_bytes: int) -> None:
        self._directory = private_directory(directory, above=False)
        self._key = key
        self._quota_bytes = quota_bytes

    def _mac(self, name: str) -> hmac.HMAC:
        return hmac.new(self._key, hashlib.sha256(name.encode()).digest(), hashlib.sha256)

    def _path(self, name: str) -> Path:
        return self._directory / hashlib.sha256(name.encode()).hexdigest()

    def has(self, name: str) -> bool:
        """Return whether there is an entry, damaged or not."""
        return self._path(name).is_file()

    def fetch(self, name: str) -> int | None:
        """Return a descriptor of a sealed copy of an entry, or None. The caller closes it."""
        path = self._path(name)
        try:
            with open_regular(path) as file:
                tag = file.read(_TAG_BYTES)
                mac = self._mac(name)
                fd = open_blob("plasm-artefact")
                try:
                    while chunk := file.read(_CHUNK):
                        mac.update(chunk)
                        write_all(fd, chunk)
                    if hmac.compare_digest(tag, mac.digest()):
                        seal(fd)
                        with contextlib.suppress(OSError):  # only the order of eviction depends on it
                            os.utime(path)
                        return fd
                except BaseException:
                    os.close(fd)
                    raise
                os.close(fd)
        except OSError:
            return None
        log.warning("cache entry does not authenticate, discarded file=%s", path.name)
        with contextlib.suppress(OSError):
            path.unlink()
        return None

    def store(self, name: str, fd: int) -> None:
        """Store a descriptor's content. A failure is logged, not raised: it only costs time."""
        size = os.fstat(fd).st_size
        if size + _TAG_BYTES > self._quota_bytes:
            return
        try:
            with tempfile.NamedTemporaryFile(dir=self._directory, prefix="new-", delete=False) as file:
                try:
                    self._write(name, fd, size, file.fileno())
                    os.replace(file.name, self._path(name))
                except BaseException:
                    os.unlink(file.name)
                    raise
            self._evict()
        except OSError as exc:
            log.warning("cannot write the cache reason=%s", exc.strerror)

    def _write(self, name: str, source: int, size: int, target: int) -> None:
        mac = self._mac(name)
        write_all(target, bytes(_TAG_BYTES))
        offset = 0
        while offset < size:
            chunk = os.pread(source, _CHUNK, offset)
            if not chunk:
                break
            mac.update(chunk)
            write_all(target, chunk)
            offset += len(chunk)
        os.pwrite(target, mac.digest(), 0)

    def _evict(self) -> None:
        entries = []
        for path in self._directory.iterdir():
            with contextlib.suppress(OSError):
                stat = path.stat()
                entries.append((stat.st_mtime, stat.st_size, path))
        total = sum(size for _, size, _ in entries)
        for _, size, path in sorted(entries):
            if total <= self._quota_bytes:
                break
            path.unlink(missing_ok=True)
            total -= size
