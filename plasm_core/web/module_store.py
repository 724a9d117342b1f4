"""Modules that tokens have sent, by digest, so that a job can name one without sending it again.

They are files of the cache directory. When they take too much room, the token that has sent most loses its least
recently used ones: one token cannot push out what others have sent. Who has sent
which is in the table of jobs: nobody learns whether another token has sent a module. Its methods block.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import time
from collections import Counter, defaultdict, deque
from pathlib import Path

from plasm_core.client.upload import Source
from plasm_core.errors import StorageError
from plasm_core.paths import cache_directory, private_directory
from plasm_core.web.job_table import WebJobTable
from plasm_core.web.uploads import StoredFile

MAX_STORED_BYTES = 1 << 30
MAX_STORED = 10_000
"""Modules of a few bytes take room, too: a file each, and a row for each token that has sent it."""
_CHUNK_BYTES = 1 << 20
_LEFT_OVER_S = 3600.0
_DIGEST = re.compile("[0-9a-f]{64}")


class ModuleStore:
    """The stored modules of all tokens. Raises `StorageError` from every method."""

    def __init__(
        self,
        table: WebJobTable,
        directory: Path | None = None,
        maximum_bytes: int = MAX_STORED_BYTES,
        maximum: int = MAX_STORED,
    ) -> None:
        self._table = table
        self._directory = directory or cache_directory() / "web-modules"
        self._maximum_bytes = maximum_bytes
        self._maximum = maximum

    def put(self, owner: str, source: Source) -> bool:
        """Store a module for a token. Return whether the token had not sent it before."""
        path = self._directory / source.digest
        try:
            private_directory(self._directory)
            if not path.exists():
                self._copy(source, path)
            created = self._table.add_module(owner, source.digest)
            self._make_room(keep=path)
        except OSError as exc:
            raise StorageError(f"cannot store a module in {self._directory}: {exc.strerror or exc}") from exc
        return created

    def open(self, owner: str, digest: str) -> StoredFile | None:
        """Return a module that a token has sent, None if it has not, or if it was deleted. The caller closes it."""
        if not self._table.has_module(owner, digest):
            return None
        path = self._directory / digest
        try:
            file = path.open("rb")
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise StorageError(f"cannot read {path}: {exc.strerror or exc}") from exc
        with contextlib.suppress(OSError):
            os.utime(file.fileno())
        return StoredFile(file, os.fstat(file.fileno()).st_size, digest)

    def _copy(self, source: Source, path: Path) -> None:
        fresh = path.with_name(f".{secrets.token_hex(16)}.new")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            with open(os.open(fresh, flags, 0o600), "wb") as file:
                for offset in range(0, source.size_bytes, _CHUNK_BYTES):
                    file.write(source.read(offset, _CHUNK_BYTES))
                file.flush()
                # if the name existed without its bytes, the module would never be sent again
                os.fsync(file.fileno())
            fresh.rename(path)
        finally:
            fresh.unlink(missing_ok=True)

    def _make_room(self, *, keep: Path) -> None:
        files = []
        for path in self._directory.iterdir():
            with contextlib.suppress(FileNotFoundError):
                found = path.stat()
                if _DIGEST.fullmatch(path.name):
                    files.append((path, found))
                elif found.st_mtime < time.time() - _LEFT_OVER_S:
                    path.unlink()  # of a server that was killed while it wrote
        total, count = sum(found.st_size for _, found in files), len(files)
        if total > self._maximum_bytes or count > self._maximum:
            oldest = [(path.name, found.st_size) for path, found in sorted(files, key=_last_used)]
            by_bytes = total > self._maximum_bytes
            self._evict(oldest, total if by_bytes else count, by_bytes=by_bytes, keep=keep.name)

    def _evict(self, oldest: list[tuple[str, int]], total: int, *, by_bytes: bool, keep: str) -> None:
        """Delete modules until there is room. The token that has sent most gives first, the longest unused of its own.

        What another token has sent, too, stays for that one.
        """
        most = self._maximum_bytes if by_bytes else self._maximum
        sizes = {digest: size if by_bytes else 1 for digest, size in oldest}
        senders: dict[str, set[str]] = {digest: set() for digest in sizes}
        for owner, digest in self._table.modules():
            senders.get(digest, set()).add(owner)
        held: Counter[str] = Counter()
        queues: dict[str, deque[str]] = defaultdict(deque)
        for digest in sizes:
            for owner in senders[digest] or {_NOBODY}:
                held[owner] += sizes[digest]
                if digest != keep:
                    queues[owner].append(digest)
        while total > most and queues:
            owner = max(queues, key=lambda name: (name == _NOBODY, held[name], name))
            digest = queues[owner].popleft()
            if not queues[owner]:
                del queues[owner]
            held[owner] -= sizes[digest]
            self._table.forget_module(owner, digest)
            senders[digest].discard(owner)
            if not senders[digest]:
                (self._directory / digest).unlink(missing_ok=True)
                total -= sizes[digest]


_NOBODY = ""
"""Who has sent a module that is in no token's list: it goes before all others."""


def _last_used(item: tuple[Path, os.stat_result]) -> float:
    return item[1].st_mtime
