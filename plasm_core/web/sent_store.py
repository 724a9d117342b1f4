"""What tokens have sent, by digest, so that a job can name it without sending it again: modules, and trees of files.

They are files of the cache directory. When they take too much room, the token that has sent most loses its least
recently used ones: one token cannot push out what others have sent. Who has sent
which is in the table of jobs: no token learns whether another has sent the same. Its methods block.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import time
from collections import Counter, defaultdict, deque
from pathlib import Path

import attrs

from plasm_core.client.upload import Source
from plasm_core.errors import StorageError, StorageFullError
from plasm_core.paths import cache_directory, private_directory
from plasm_core.resource_hint import resource_hint
from plasm_core.web.job_table import SentKind, WebJobTable
from plasm_core.web.uploads import StoredFile

_CHUNK_BYTES = 1 << 20
_LEFT_OVER_S = 3600.0
_DIGEST = re.compile("[0-9a-f]{64}")


@attrs.frozen(kw_only=True)
class Kept:
    """What a store keeps, and how much of it. `maximum`: how many, because each also takes a file and a row."""

    sent: SentKind
    folder: str
    maximum_bytes: int
    maximum: int = 10_000

    def within(self, *, maximum_bytes: int | None = None, maximum: int | None = None) -> Kept:
        """Return a copy with other bounds; None leaves a bound as it is."""
        return attrs.evolve(
            self,
            maximum_bytes=self.maximum_bytes if maximum_bytes is None else maximum_bytes,
            maximum=self.maximum if maximum is None else maximum,
        )


MODULES = Kept(sent=SentKind.MODULE, folder="web-modules", maximum_bytes=1 << 30)
TREES = Kept(sent=SentKind.TREE, folder="web-trees", maximum_bytes=4 << 30)
"""Packs, by the digests of their trees."""
MAX_KEPT_TREE_BYTES = TREES.maximum_bytes // 4
"""A larger tree is not kept: it would push out those of others."""


class SentStore:
    """What all tokens have sent of one kind. Raises `StorageError` from every method."""

    def __init__(self, table: WebJobTable, kept: Kept, directory: Path | None = None) -> None:
        self._table = table
        self._kept = kept
        self._directory = directory or cache_directory() / kept.folder

    def put(self, owner: str, source: Source) -> bool:
        """Store what a token has sent. Return whether it had not sent it before."""
        path = self._directory / source.digest
        try:
            private_directory(self._directory)
            if not path.exists():
                self._copy(source, path)
            created = self._table.add_sent(self._kept.sent, owner, source.digest)
            self._make_room(keep=path)
        except OSError as exc:
            kind = StorageError if resource_hint(exc) is None else StorageFullError
            raise kind(f"cannot write in {self._directory}: {exc.strerror or exc}") from exc
        return created

    def open(self, owner: str, digest: str) -> StoredFile | None:
        """Return what a token has sent, None if it has not, or if it was deleted. The caller closes it."""
        if not self._table.has_sent(self._kept.sent, owner, digest):
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
        if total > self._kept.maximum_bytes or count > self._kept.maximum:
            oldest = [(path.name, found.st_size) for path, found in sorted(files, key=_last_used)]
            by_bytes = total > self._kept.maximum_bytes
            self._evict(oldest, total if by_bytes else count, by_bytes=by_bytes, keep=keep.name)

    def _evict(self, oldest: list[tuple[str, int]], total: int, *, by_bytes: bool, keep: str) -> None:
        """Delete files until there is room. The token that has sent most gives first, the longest unused of its own.

        What another token has sent, too, stays for that one.
        """
        most = self._kept.maximum_bytes if by_bytes else self._kept.maximum
        sizes = {digest: size if by_bytes else 1 for digest, size in oldest}
        senders: dict[str, set[str]] = {digest: set() for digest in sizes}
        for owner, digest in self._table.all_sent(self._kept.sent):
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
            self._table.forget_sent(self._kept.sent, owner, digest)
            senders[digest].discard(owner)
            if not senders[digest]:
                (self._directory / digest).unlink(missing_ok=True)
                total -= sizes[digest]


_NOBODY = ""
"""Who has sent what is in no token's list: it goes before all others."""


def _last_used(item: tuple[Path, os.stat_result]) -> float:
    return item[1].st_mtime
