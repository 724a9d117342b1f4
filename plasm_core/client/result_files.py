"""The files of a result: read on request, from the bytes that were verified with the result."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Protocol

from plasm_core.records.files import ROOT, Product
from plasm_core.tree_listing import DIRECTORY, FILE

if TYPE_CHECKING:
    from plasm_core.sandbox.process.collected_files import Collected


class OutputFiles(Protocol):
    """The output files of a job, on this machine or at its node. Paths are those of the manifest's outputs."""

    @property
    def digests(self) -> tuple[Product, ...]:
        """The outputs that there are, as a receipt states them."""

    def entries(self, path: str) -> list[Collected]:
        """Return the entries of an output in the order of its listing, its top first; none if it is not there."""

    def read(self, item: Collected, chunk_bytes: int = ...) -> Iterator[bytes]:
        """Return the bytes of a file, piece by piece."""

    def close(self) -> None:
        """Forget the bytes."""


class ResultFile:
    """A file that a job left. Its bytes have the digest that the receipt states, and are read on request."""

    def __init__(self, path: str, left: OutputFiles, item: Collected) -> None:
        self.path = path
        """Its path in the job's tree, without a slash at the beginning."""
        self._left = left
        self._item = item

    def __repr__(self) -> str:
        return f"ResultFile({self.path!r}, {self.size_bytes} bytes)"

    @property
    def size_bytes(self) -> int:
        """How many bytes it has."""
        return self._item.entry.size

    @property
    def sha256(self) -> str:
        """The SHA-256 of its bytes, in hexadecimal."""
        return self._item.entry.digest.hex()

    def read(self) -> bytes:
        """Return its bytes."""
        return b"".join(self.chunks())

    def text(self, encoding: str = "utf-8") -> str:
        """Return its text. Raises: UnicodeDecodeError."""
        return self.read().decode(encoding)

    def chunks(self, chunk_bytes: int = 1 << 20) -> Iterator[bytes]:
        """Return its bytes, piece by piece."""
        return self._left.read(self._item, chunk_bytes)

    def open(self) -> IO[bytes]:
        """Return a file object that reads it, which can seek if the file is small enough for memory."""
        return io.BytesIO(self.read())

    def save(self, file: str | os.PathLike[str]) -> None:
        """Write it to a file of this machine, which is replaced. Raises: `OutputFileError`."""
        from plasm_core.output_file import OutputFile

        OutputFile.prepared(os.fspath(file)).write_chunks(self.chunks)


class ResultFiles(Mapping[str, ResultFile]):
    """The files that a job left, by their paths in its tree: `result.files["plots/a.png"].read()`.

    `close`, or the end of a `with` block, frees their bytes; so does the end of the program.
    """

    def __init__(self, left: OutputFiles | None = None) -> None:
        self._left = left
        self._files: dict[str, ResultFile] | None = None

    def __enter__(self) -> ResultFiles:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _found(self) -> dict[str, ResultFile]:
        if self._files is None:
            self._files = {}
            for product in self.outputs:
                for item in self.entries(product.path):
                    if self._left is not None and item.entry.kind == FILE:
                        path = _joined(product.path, os.fsdecode(item.entry.path))
                        self._files[path] = ResultFile(path, self._left, item)
        return self._files

    def __getitem__(self, path: str) -> ResultFile:
        return self._found()[path.strip("/")]

    def __iter__(self) -> Iterator[str]:
        return iter(self._found())

    def __len__(self) -> int:
        return len(self._found())

    def __repr__(self) -> str:
        return f"ResultFiles({list(self._found())!r:.500})"

    @property
    def outputs(self) -> tuple[Product, ...]:
        """The outputs that the job left, as the receipt states them."""
        return () if self._left is None else self._left.digests

    def entries(self, path: str) -> list[Collected]:
        """Return the entries of an output, its top first; none if the job did not leave it."""
        there = any(product.path == path for product in self.outputs)
        return self._left.entries(path) if self._left is not None and there else []

    def read(self, item: Collected, chunk_bytes: int = 1 << 20) -> Iterator[bytes]:
        """Return the bytes of an entry that is a file, piece by piece."""
        assert self._left is not None
        return self._left.read(item, chunk_bytes)

    def save(self, path: str, place: str | os.PathLike[str]) -> None:
        """Write an output, a file or a whole directory, to this machine. Nothing is written outside `place`.

        Raises: KeyError if the job did not leave it; `OutputFileError`.
        """
        from plasm_core.client.output_tree import Destination

        entries = self.entries(path.strip("/") or ROOT)
        if not entries:
            raise KeyError(path)
        Destination.prepared(os.fspath(place)).write(self, entries)

    def save_all(self, directory: str | os.PathLike[str]) -> None:
        """Write all outputs into a directory of this machine, which is made or must be empty.

        Raises: `OutputFileError`, and nothing of an output that could not be written whole is left.
        """
        from plasm_core.client.output_tree import write_all_outputs

        write_all_outputs(self, Path(directory))

    def close(self) -> None:
        """Free the bytes."""
        if self._left is not None:
            self._left.close()


def _joined(output: str, path: str) -> str:
    """Return a file's path in the job's tree."""
    if not path:
        return output
    return path if output == ROOT else f"{output}/{path}"


def is_directory(entries: list[Collected]) -> bool:
    """Return whether an output's entries are those of a directory."""
    return bool(entries) and entries[0].entry.kind == DIRECTORY
