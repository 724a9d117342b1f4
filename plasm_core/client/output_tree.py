"""Write a job's output files to this machine, only inside the directory that the user named.

A directory is created under a random name next to its target, and moved there once it is complete. So no name that
the job chose meets an existing file. Links are never created, so that none leads outside.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import attrs

from plasm_core.errors import OutputFileError
from plasm_core.output_file import OutputFile, refuse_planted
from plasm_core.records.files import ROOT, Product
from plasm_core.sandbox.process.collected_files import Collected
from plasm_core.tree_listing import DIRECTORY, check_path, shown


class Readable(Protocol):
    """Gives the bytes of a job's output files."""

    def read(self, item: Collected, chunk_bytes: int = ...) -> Iterator[bytes]:
        """Return the bytes of an entry that is a file, piece by piece."""


class Left(Readable, Protocol):
    """The outputs that a job left."""

    @property
    def outputs(self) -> tuple[Product, ...]:
        """The outputs that there are."""

    def entries(self, path: str) -> list[Collected]:
        """Return the entries of an output, its top first."""


@attrs.frozen(kw_only=True)
class Destination:
    """Where an output goes: `name` as the user gave it, `path` without links."""

    name: str
    path: str

    file: OutputFile | None = None

    @classmethod
    def prepared(cls, name: str) -> Destination:
        """Find out before a job runs whether its output can be written there. Raises: `OutputFileError`."""
        with _telling(name):
            refuse_planted(name.rstrip("/") or name)
        path = os.path.realpath(name)
        if not os.path.isdir(path):
            return cls(name=name, path=path, file=OutputFile.prepared(name.rstrip("/") or name))
        if os.listdir(path):
            raise OutputFileError(
                f"cannot write {name}: the directory is not empty",
                hint="name a new directory, or an empty one",
            )
        parent = os.path.dirname(path)
        if not os.access(parent, os.W_OK | os.X_OK):
            raise OutputFileError(f"cannot write {name}: its directory {parent} is not writable")
        return cls(name=name, path=path)

    def write(self, left: Readable, entries: list[Collected]) -> None:
        """Write an output, its top first in `entries`. Raises: `OutputFileError`."""
        if entries[0].entry.kind != DIRECTORY:
            if self.file is None:
                raise OutputFileError(f"cannot write {self.name}: it is a directory, and the job left a file")
            self.file.write_chunks(lambda: left.read(entries[0]))
            return
        if self.file is not None and os.path.lexists(self.path):
            raise OutputFileError(f"cannot write {self.name}: it is a file, and the job left a directory")
        with self._made() as temporary:
            _fill(temporary, left, entries)

    def write_all(self, left: Left) -> None:
        """Write all outputs, each under its path in the job's tree, into the directory. Raises: `OutputFileError`."""
        if self.file is not None and os.path.lexists(self.path):
            raise OutputFileError(f"cannot write {self.name}: it is a file")
        with self._made() as temporary:
            for product in left.outputs:
                entries = left.entries(product.path)
                place = temporary
                if product.path != ROOT:
                    check_path(product.path.encode())
                    place = os.path.join(temporary, os.fsencode(product.path))
                    os.makedirs(os.path.dirname(place), exist_ok=True)
                if entries[0].entry.kind != DIRECTORY:
                    _write(place, left, entries[0])
                    continue
                if place != temporary:
                    os.mkdir(place)
                _fill(place, left, entries)

    @contextlib.contextmanager
    def _made(self) -> Iterator[bytes]:
        """Create the directory under a temporary name, and move it to its target once it is filled."""
        temporary = os.path.join(os.path.dirname(self.path), f".plasm-{secrets.token_hex(16)}.new")
        try:
            os.mkdir(temporary)
            try:
                yield os.fsencode(temporary)
                with contextlib.suppress(FileNotFoundError):
                    os.rmdir(self.path)  # an empty directory that existed before the job ran
                os.rename(temporary, self.path)
            except BaseException:
                shutil.rmtree(temporary, ignore_errors=True)
                raise
        except OSError as exc:
            raise OutputFileError(f"cannot write {self.name}: {exc.strerror or exc}") from exc


def prepared_folder(name: str) -> None:
    """Find out before jobs run whether files can be put into a directory, made if it is missing.

    Raises: `OutputFileError`.
    """
    with _telling(name):
        refuse_planted(name.rstrip("/") or name)
        path = os.path.realpath(name)
        while not os.path.lexists(path):
            path = os.path.dirname(path)
        if not os.path.isdir(path):
            raise OSError(errno.ENOTDIR, f"{path} is no directory")
        if not os.access(path, os.W_OK | os.X_OK):
            raise OSError(errno.EACCES, f"{path} is not writable")


@contextlib.contextmanager
def _telling(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise OutputFileError(f"cannot write {name}: {exc.strerror or exc}") from exc
    except ValueError as exc:  # half a character, or a NUL
        raise OutputFileError(f"cannot write {name!a}: {exc}") from exc


def _fill(directory: bytes, left: Readable, entries: list[Collected]) -> None:
    """Write the contents of an output that is a directory. Raises: OSError."""
    for item in entries[1:]:
        # paths were checked on arrival; checked again because a mistake here writes outside the directory
        check_path(item.entry.path)
        place = os.path.join(directory, item.entry.path)
        try:
            if item.entry.kind == DIRECTORY:
                os.mkdir(place)
            else:
                _write(place, left, item)
        except OSError as exc:
            raise OSError(exc.errno, f"{shown(item.entry.path)}: {exc.strerror}") from exc


def write_all_outputs(left: Left, directory: Path) -> None:
    """Write all outputs, each under its path in the job's tree, into a directory that is new or empty.

    Raises: `OutputFileError`.
    """
    Destination.prepared(os.fspath(directory)).write_all(left)


def _write(place: str | bytes, left: Readable, item: Collected) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(place, flags, 0o666), "wb") as file:
        for chunk in left.read(item):
            file.write(chunk)
