"""The input tree of a job, made of files of this machine (docs/files.md, "Files of this machine")."""

from __future__ import annotations

import functools
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import IO

from plasm_core.client.tree_archive import ArchiveError, TreeArchive
from plasm_core.records.files import DEFAULT_FILE_LIMITS, ROOT, FileLimits, JobFiles
from plasm_core.sandbox.process.file_pack import FilePack, parents
from plasm_core.sandbox.process.tree_packing import (
    Readable,
    TreeSource,
    bytes_source,
    directory_source,
    file_source,
    opened_source,
    pack_tree,
)
from plasm_core.tree_listing import DIRECTORY, MAX_ENTRIES, ListingError, check_path, shown

TEMPORARY = "tmp"
"""The directory for temporary files that each tree has."""


class FileTreeError(ValueError):
    """These files make no tree. The text says which, and why."""


class FileTree:
    """Collects the entries of a job's input tree. Paths in the tree may begin with `/`.

    `follow_links`: copy the target of a symbolic link in a directory; otherwise the link is refused, and the error
    names it. A link that the caller names itself is always followed.
    """

    def __init__(self, *, follow_links: bool = False) -> None:
        self._sources: dict[bytes, TreeSource] = {}
        self._read_only: set[str] = set()
        self._follow_links = follow_links
        self._archives: list[TreeArchive] = []

    def close(self) -> None:
        """Close the archives that it reads from. It can be packed no more."""
        for archive in self._archives:
            archive.close()

    def __enter__(self) -> FileTree:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def add_archive(self, file: str | Path | TreeArchive, path: str, *, read_only: bool = True) -> None:
        """Add all entries of a .tar or .zip, without extracting it. An open archive is closed with this tree.

        Raises: `FileTreeError`; OSError; `StorageError`.
        """
        guest = _guest(path)
        try:
            archive = file if isinstance(file, TreeArchive) else TreeArchive(file)
        except ArchiveError as exc:
            raise FileTreeError(str(exc)) from exc
        self._archives.append(archive)
        self.make_directory(path)
        if read_only:
            self._read_only.add(os.fsdecode(guest) or ROOT)
        for entry in archive:
            place = guest + b"/" + entry.path if guest else entry.path
            if entry.open is None:
                self._check(place)
                for each in (*parents(place), place):
                    self._make(each)
            else:
                source = functools.partial(opened_source, size_hint=entry.size, open=entry.open)
                self._add(place, source)

    def add_file(self, file: str | Path, path: str) -> None:
        """Add a file of this machine. Raises: `FileTreeError`; OSError."""
        self._add(_guest(path), lambda guest: self._source(guest, file))

    def add_bytes(self, data: bytes, path: str) -> None:
        """Add a file with these bytes. Raises: `FileTreeError`."""
        self._add(_guest(path), lambda guest: bytes_source(guest, data))

    def add_opened(self, path: str, size_bytes: int, open: Callable[[], Readable]) -> None:
        """Add a file whose bytes `open` gives when the tree is packed. Raises: `FileTreeError`."""
        self._add(_guest(path), functools.partial(opened_source, size_hint=size_bytes, open=open))

    def make_directory(self, path: str) -> None:
        """Add a directory, unless it is there. Raises: `FileTreeError`."""
        guest = _guest(path)
        for each in (*parents(guest), guest):
            if each:
                self._make(each)

    def make_output(self, path: str) -> str:
        """Add the directory for an output: the output itself if its path ends with a slash, else its parent. Return
        the output's name.

        Raises: `FileTreeError`.
        """
        name = guest_name(path)
        self.make_directory(name if path.endswith("/") else os.path.dirname(name))
        return name

    def add_directory(
        self,
        directory: str | Path,
        path: str,
        *,
        read_only: bool = True,
        follow_links: bool | None = None,
    ) -> None:
        """Add all that is in a directory of this machine. `follow_links`: as of the tree if None.

        Raises: `FileTreeError`; OSError.
        """
        guest = _guest(path)
        self.make_directory(path)
        if read_only:
            self._read_only.add(os.fsdecode(guest) or ROOT)
        follow_links = self._follow_links if follow_links is None else follow_links
        self._walk(os.fspath(directory), guest, follow_links)

    def _walk(self, top: str, guest: bytes, follow_links: bool) -> None:
        waiting: list[tuple[str, bytes, tuple[tuple[int, int], ...]]] = [(top, guest, ())]
        while waiting:
            host, at, above = waiting.pop()
            here = os.stat(host)
            if (here.st_dev, here.st_ino) in above:
                raise FileTreeError(f"{host} is a link to a directory that it lies in")
            above = (*above, (here.st_dev, here.st_ino))
            with os.scandir(host) as found:
                for item in found:
                    path = (at + b"/" if at else b"") + os.fsencode(item.name)
                    if item.is_symlink() and not follow_links:
                        raise FileTreeError(
                            f"{item.path} is a symbolic link; --links follow takes what links lead to"
                        )
                    if item.is_dir():
                        self._check(path)
                        self._make(path)
                        waiting.append((item.path, path, above))
                    else:
                        file = item.path
                        self._add(path, lambda guest, file=file: self._source(guest, file))  # type: ignore[misc]

    def _source(self, guest: bytes, file: str | Path) -> TreeSource:
        try:
            return file_source(guest, file)
        except OSError:
            raise
        except ValueError as exc:
            raise FileTreeError(str(exc)) from exc

    def _make(self, path: bytes) -> None:
        there = self._sources.get(path)
        if there is None:
            self._insert(directory_source(path))
        elif there.kind != DIRECTORY:
            raise FileTreeError(f"{shown(path)} is a file and a directory")

    def _add(self, path: bytes, source: Callable[[bytes], TreeSource]) -> None:
        self._check(path)
        for parent in parents(path):
            self._make(parent)
        if path in self._sources:
            raise FileTreeError(f"{shown(path)} is named twice")
        self._insert(source(path))

    @staticmethod
    def _check(path: bytes) -> None:
        try:
            check_path(path)
        except ListingError as exc:
            raise FileTreeError(str(exc)) from exc

    def _insert(self, source: TreeSource) -> None:
        if len(self._sources) >= MAX_ENTRIES:
            raise FileTreeError(f"more than {MAX_ENTRIES} files and directories")
        self._sources[source.path] = source

    def pack(
        self,
        *,
        progress: Callable[[int], None] = lambda _size: None,
        scratch: Callable[[], IO[bytes]] | None = None,
    ) -> FilePack:
        """Read all files and return them, in a form that changes no more. `progress`: the bytes read so far.

        `scratch` makes the file that they are written to; without it a small tree is kept in memory.

        Raises: OSError, `FileTreeError`, `StorageError`.
        """
        try:
            return pack_tree(self._sources.values(), progress=progress, scratch=scratch)
        except (ListingError, ArchiveError) as exc:
            raise FileTreeError(str(exc)) from exc

    def asked(
        self, pack: FilePack, *, outputs: tuple[str, ...] = (), limits: FileLimits = DEFAULT_FILE_LIMITS
    ) -> JobFiles:
        """Return the manifest's part about this tree. Raises: ValueError."""
        return JobFiles(
            tree=pack.tree,
            read_only=tuple(sorted(self._read_only)),
            outputs=tuple(sorted(outputs)),
            limits=limits,
        )


def _guest(path: str) -> bytes:
    """Return a path in the tree in the form of a listing. Raises: `FileTreeError`."""
    encoded = os.fsencode(path).strip(b"/")
    if encoded in (b"", b"."):
        return b""
    try:
        check_path(encoded)
    except ListingError as exc:
        raise FileTreeError(str(exc)) from exc
    return encoded


def guest_name(path: str) -> str:
    """Return a path in the tree in the form of a manifest. Raises: `FileTreeError`."""
    return os.fsdecode(_guest(path)) or ROOT


def is_directory(path: str | Path) -> bool:
    """Return whether a path of this machine is a directory, links followed. Raises: OSError."""
    return stat.S_ISDIR(os.stat(path).st_mode)
