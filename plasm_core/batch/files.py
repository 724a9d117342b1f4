"""The files of a batch: the input tree that all of its jobs have, and what each job left of its outputs."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import attrs

from plasm_core.batch.folder import BatchFolder, BatchFolderError
from plasm_core.batch.storage import storage_errors
from plasm_core.client.fetched_files import FetchedFiles, Fetching, FetchLimits
from plasm_core.client.remote_files import LeftEntry, left_entries
from plasm_core.client.result_files import ResultFiles
from plasm_core.errors import OutputFileError, ProtocolError
from plasm_core.records import Receipt
from plasm_core.records.converter import structure, unstructure
from plasm_core.records.files import ROOT, JobFiles, Product
from plasm_core.sandbox.process.file_pack import PREFIX_BYTES, FilePack, parents, read_pack
from plasm_core.tree_listing import DIRECTORY, ListingError, check_path

FILES_FOLDER = "files"
"""What the folder of a job has its outputs in, each under its path in the job's tree."""
_PACK, _FACT, _OUTPUTS = "files.pack", "files", "outputs"
_NEW, _OLD = "new", "old"
_CHUNK_BYTES = 1 << 20


def keep_tree(folder: BatchFolder, pack: FilePack, asked: JobFiles) -> None:
    """Store the input tree of all jobs of a batch, before the first is sent. Raises: `StorageError`."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    with (
        storage_errors(folder.path),
        os.fdopen(os.open(folder.path / _PACK, flags, 0o600), "wb") as file,
    ):
        for start in range(0, pack.size_bytes, _CHUNK_BYTES):
            file.write(os.pread(pack.fd, _CHUNK_BYTES, start))
    folder.note(**{_FACT: unstructure(asked)})


def have_files(folder: BatchFolder) -> bool:
    """Return whether the jobs of a batch have files. Raises: `StorageError`."""
    return _FACT in folder.facts()


def kept_tree(folder: BatchFolder) -> tuple[FilePack, JobFiles] | None:
    """Return the input tree of a batch, compared with its digests; None if its jobs have no files.

    Raises: `BatchFolderError` if it is not what the batch began with; `StorageError`. The caller closes the pack.
    """
    said = folder.facts().get(_FACT)
    if said is None:
        return None
    asked = structure(said, JobFiles, record="files of the batch")
    with storage_errors(folder.path):
        fd = os.open(folder.path / _PACK, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return read_pack(fd, os.fstat(fd).st_size, tree=asked.tree), asked
        except ListingError as exc:
            os.close(fd)
            raise BatchFolderError(f"the files of the batch in {folder.path} have changed: {exc}") from exc
        except BaseException:
            os.close(fd)
            raise


@attrs.frozen
class KeptFiles:
    """What one job of a batch left, in files beside the database: one for each output, in the order of their paths."""

    _folder: BatchFolder
    _number: int

    def keep(self, fetched: FetchedFiles) -> None:
        """Store what was fetched and compared with the receipt. It is on the disk when this returns. Raises: OSError."""
        (self._folder.path / _OUTPUTS).mkdir(mode=0o700, exist_ok=True)
        for index, product in enumerate(fetched.digests):
            path = self._file(index)
            part = path.with_suffix(".part")
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
            with os.fdopen(os.open(part, flags, 0o600), "wb") as file:
                for chunk in fetched.contents(product.path):
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)

    @property
    def size_bytes(self) -> int:
        """The bytes that are kept. Raises: `StorageError`."""
        size = index = 0
        with storage_errors(self._folder.path):
            while (path := self._file(index)).exists():
                size += path.stat().st_size
                index += 1
        return size

    def open(self, receipt: Receipt) -> FetchedFiles:
        """Return what is kept, compared with the job's receipt once more. The caller closes it.

        Raises: `BatchFolderError` if it has changed since; `StorageError`.
        """
        found = FetchedFiles(tuple(product.path for product in receipt.files))
        try:
            with storage_errors(self._folder.path):
                for index, product in enumerate(receipt.files):
                    path = self._file(index)
                    kept = Fetching(product, FetchLimits(), file=path.open("rb"))
                    kept.taken = path.stat().st_size
                    found.add(kept, kept.finish())
        except ProtocolError as exc:
            found.close()
            raise BatchFolderError(f"job {self._number} of the batch in {self._folder.path}: {exc}") from exc
        except BaseException:
            found.close()
            raise
        return found

    def entries(self, receipt: Receipt) -> list[LeftEntry]:
        """Return what is kept, in the order of outputs. Listings are compared with the receipt, files are not.

        Raises: `BatchFolderError` if a listing has changed since; `StorageError`.
        """
        found: list[LeftEntry] = []
        with storage_errors(self._folder.path):
            for index, product in enumerate(receipt.files):
                with self._file(index).open("rb") as file:
                    size = os.fstat(file.fileno()).st_size
                    found += self._entries(file.fileno(), size, product)
        return found

    def _entries(self, fd: int, size: int, product: Product) -> list[LeftEntry]:
        if product.kind == "file":
            entry = LeftEntry(
                path=product.path, kind="file", size_bytes=size, sha256=product.sha256, product=product
            )
            return [entry]
        try:
            pack = read_pack(fd, size, tree=product.sha256, checked=False)
            entries = left_entries(product, list(pack.entries), PREFIX_BYTES + pack.listing_bytes)
        except ListingError as exc:
            raise BatchFolderError(f"job {self._number} of the batch in {self._folder.path}: {exc}") from exc
        return [LeftEntry(path=product.path, kind="directory", product=product), *entries]

    def open_output(self, receipt: Receipt, product: Product) -> IO[bytes]:
        """Return the bytes of an output as they are kept: a file, or the pack of a tree. Raises: `StorageError`."""
        with storage_errors(self._folder.path):
            return self._file(receipt.files.index(product)).open("rb")

    @staticmethod
    def refuse_foreign(directory: int, receipt_name: str) -> None:
        """Refuse to replace files that no batch has written: a batch writes the receipt first.

        `directory`: a job's folder, open. Raises: `OutputFileError`.
        """
        if _kind(FILES_FOLDER, directory) is not None and _kind(receipt_name, directory) is None:
            raise OutputFileError(f"cannot write {FILES_FOLDER}: it exists, without a receipt next to it")

    def write(self, receipt: Receipt, directory: int) -> None:
        """Write all outputs into `files` of a job's folder, which is open; earlier ones are replaced.

        They are made in a directory that only this user may enter, so that no other user can plant a link among them.

        Raises: `OutputFileError`, `BatchFolderError`, `StorageError`; OSError.
        """
        if _kind(FILES_FOLDER, directory) not in (None, stat.S_IFDIR):
            raise OutputFileError(f"cannot write {FILES_FOLDER}: it is no directory")
        made = f".plasm-{secrets.token_hex(16)}.new"
        with ResultFiles(self.open(receipt)) as left:
            os.mkdir(made, 0o700, dir_fd=directory)
            top = _opened(made, directory)
            try:
                os.mkdir(_NEW, dir_fd=top)
                new = _opened(_NEW, top)
                try:
                    _fill(new, left)
                finally:
                    os.close(new)
                with contextlib.suppress(FileNotFoundError):
                    os.rename(FILES_FOLDER, _OLD, src_dir_fd=directory, dst_dir_fd=top)
                os.rename(_NEW, FILES_FOLDER, src_dir_fd=top, dst_dir_fd=directory)
            finally:
                _remove_all(top)
                os.close(top)
                os.rmdir(made, dir_fd=directory)

    def _file(self, index: int) -> Path:
        return self._folder.path / _OUTPUTS / f"{self._number}.file{index}"


def _kind(name: str, directory: int) -> int | None:
    """Return the kind of what an open directory has under a name, links not followed; None if it has nothing."""
    try:
        return stat.S_IFMT(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return None


def _opened(name: str, directory: int) -> int:
    return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)


def _fill(directory: int, left: ResultFiles) -> None:
    """Write all outputs, each under its path in the job's tree. Raises: OSError."""
    for product in left.outputs:
        top = "" if product.path == ROOT else product.path
        if top:
            check_path(top.encode())
            for parent in parents(top.encode()):
                with contextlib.suppress(FileExistsError):  # two outputs have the same parent directory
                    os.mkdir(parent, dir_fd=directory)
        for item in left.entries(product.path):
            path = b"/".join(part for part in (top.encode(), item.entry.path) if part)
            if not path:
                continue
            # paths were checked on arrival; checked again because a mistake here writes outside the directory
            check_path(path)
            if item.entry.kind == DIRECTORY:
                os.mkdir(path, dir_fd=directory)
                continue
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            with os.fdopen(os.open(path, flags, 0o666, dir_fd=directory), "wb") as file:
                for chunk in left.read(item):
                    file.write(chunk)


def _remove_all(directory: int) -> None:
    """Remove all that is in an open directory. Links are not followed. Raises: OSError."""
    for name in os.listdir(directory):
        if _kind(name, directory) != stat.S_IFDIR:
            os.unlink(name, dir_fd=directory)
            continue
        inner = _opened(name, directory)
        try:
            _remove_all(inner)
        finally:
            os.close(inner)
        os.rmdir(name, dir_fd=directory)


def files_problems(place: Path, receipt: Receipt, name: str) -> Iterator[str]:
    """Compare the outputs in a job's folder, if there are any, with its receipt. Return what is wrong. Raises: OSError."""
    from plasm_core.client.file_tree import FileTree, FileTreeError

    folder = place / FILES_FOLDER
    if not folder.is_dir():
        return
    for product in receipt.files:
        path = folder if product.path == ROOT else folder / product.path
        what = f"{name}: its output {product.path!a} is"
        if not os.path.lexists(path):
            yield f"{what} missing"
            continue
        tree = FileTree()
        try:
            if product.kind == "tree":
                tree.add_directory(path, "")
            else:
                tree.add_file(path, "file")
            with tree.pack() as pack:
                found = pack.tree if product.kind == "tree" else next(pack.entries).digest.hex()
        except (FileTreeError, NotADirectoryError) as exc:
            yield f"{what} not what the receipt says: {exc}"
            continue
        if found != product.sha256:
            yield f"{what} not what the receipt says"
