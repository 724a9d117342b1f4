"""A job's inputs: on their way in, and read again for its run."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import attrs

from plasm_core.daemon.store.ballast import Ballast
from plasm_core.daemon.store.budget import Allowance
from plasm_core.daemon.store.disk import create, remove_tree, storage_errors, sync, sync_directory
from plasm_core.errors import RefusedError, StorageError
from plasm_core.records import JobInput, Manifest
from plasm_core.records.digest import decode_list
from plasm_core.sandbox.process.descriptor import write_all

INPUTS = ("args", "env", "stdin")
_CHUNK = 1 << 20


SMALL_BYTES = 64 << 10
"""Up to this many bytes, a job's inputs or outputs are stored in the database: files would cost two more syncs."""


class StagedInputs:
    """A job's inputs during the upload: small ones in memory, others in a directory that becomes the job's.

    For one thread at a time. Ends with `Store.accept` or `discard`. Empty inputs have no file. If all inputs are
    small, no method waits for the disk, unless the ballast file is empty.
    """

    def __init__(
        self, directory: Path, sizes: Mapping[str, int], allowance: Allowance, ballast: Ballast
    ) -> None:
        """Make the directory. `sizes`: the bytes announced, by name. Raises: `StorageError`."""
        self.directory = directory
        self.sizes = {name: sizes.get(name, 0) for name in INPUTS}
        self.received = dict.fromkeys(INPUTS, 0)
        self._allowance = allowance
        self._ballast = ballast
        self._sha256 = {name: hashlib.sha256() for name in INPUTS}
        self._fds: dict[str, int] = {}
        self._open = True
        self.is_small = sum(self.sizes.values()) <= SMALL_BYTES
        self._small: dict[str, bytearray] = {}
        if not self.is_small:
            with storage_errors("take a job", directory.parent):
                directory.mkdir(mode=0o700)

    def write(self, name: str, data: bytes) -> None:
        """Store an input's next bytes; args and env are in the list encoding.

        Raises: `RefusedError` (`digest_mismatch`) beyond the announced size; `StorageFullError`, `StorageError`.
        After an error the inputs can only be discarded.
        """
        if self.received[name] + len(data) > self.sizes[name]:
            raise RefusedError("digest_mismatch", f"{name} is longer than was announced")
        if not data:
            return
        with storage_errors("take a job's input", self.directory):
            self._ballast.demand()
            if self.is_small:
                self._small.setdefault(name, bytearray()).extend(data)
            else:
                if name not in self._fds:
                    self._fds[name] = create(self.directory / name)
                write_all(self._fds[name], data)
        self._allowance.use(len(data))
        self._sha256[name].update(data)
        self.received[name] += len(data)

    def check(self, manifest: Manifest) -> None:
        """Raise `RefusedError` (`digest_mismatch`) unless the inputs have the manifest's digests."""
        wrong = [name for name in INPUTS if self._sha256[name].hexdigest() != getattr(manifest, name)]
        if wrong:
            raise RefusedError("digest_mismatch", f"{' and '.join(wrong)} is not what the manifest names")

    def contents(self) -> dict[int, bytes]:
        """Return the inputs that are in memory, by their number."""
        return {INPUTS.index(name): bytes(data) for name, data in self._small.items()}

    def sync(self) -> None:
        """Sync the inputs that are files, and their directory, to the disk. Raises: `StorageError`."""
        if self.is_small:
            return
        with storage_errors("keep a job's input", self.directory):
            for fd in self._fds.values():
                sync(fd)
            sync_directory(self.directory)
            sync_directory(self.directory.parent)

    def discard(self) -> None:
        """Delete the inputs and free their reservation, unless a job already owns them."""
        if self._open:
            self.hand_over()
            if not self.is_small:
                remove_tree(self.directory)
            self._allowance.settle(0)

    def hand_over(self) -> Allowance:
        """Give the directory to a job, once, and return the allowance of its bytes."""
        self._open = False
        for fd in self._fds.values():
            os.close(fd)
        return self._allowance


@attrs.define(eq=False)
class OpenInputs:
    """An accepted job's inputs. Large standard input is an open file, so that it takes no memory.

    `stdin_fd` is -1 if standard input is small or empty; then `inputs` contains it.
    """

    inputs: JobInput
    stdin_path: Path
    stdin_fd: int
    stdin_bytes: int

    def __enter__(self) -> OpenInputs:
        return self

    def __exit__(self, *_: object) -> None:
        if self.stdin_fd >= 0:
            os.close(self.stdin_fd)
            self.stdin_fd = -1


def open_inputs(directory: Path, manifest: Manifest, kept: Mapping[int, bytes]) -> OpenInputs:
    """Open an accepted job's inputs, and check them against the manifest. `kept`: the inputs that are not files.

    Raises: `StorageError` if they cannot be read or are damaged.
    """
    content = {name: kept.get(INPUTS.index(name), b"") for name in INPUTS}
    path, fd, size, digest = directory / INPUTS[2], -1, 0, hashlib.sha256(content["stdin"])
    with contextlib.ExitStack() as undo, storage_errors("read a job's input", directory):
        if not kept:
            for name in INPUTS[:2]:
                with contextlib.suppress(FileNotFoundError):
                    content[name] = (directory / name).read_bytes()
            with contextlib.suppress(FileNotFoundError):
                fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
                undo.callback(os.close, fd)
                while chunk := os.pread(fd, _CHUNK, size):
                    digest.update(chunk)
                    size += len(chunk)
        found = {name: hashlib.sha256(content[name]).hexdigest() for name in INPUTS[:2]}
        for name, value in (found | {INPUTS[2]: digest.hexdigest()}).items():
            if value != getattr(manifest, name):
                raise StorageError(f"{name} of an accepted job is damaged or missing in {directory}")
        inputs = JobInput(
            args=decode_list(content["args"]), env=decode_list(content["env"]), stdin=content["stdin"]
        )
        undo.pop_all()
    return OpenInputs(inputs, path, fd, size or len(inputs.stdin))


def read_inputs(directory: Path, manifest: Manifest, kept: Mapping[int, bytes]) -> JobInput:
    """Read an accepted job's inputs and check them against the manifest. Raises: as `open_inputs`."""
    with open_inputs(directory, manifest, kept) as opened:
        if opened.stdin_fd < 0:
            return opened.inputs
        with storage_errors("read a job's input", directory):
            return attrs.evolve(opened.inputs, stdin=opened.stdin_path.read_bytes())


def remove_inputs(directory: Path) -> None:
    """Delete the input files of an ended job as far as possible; the rest is deleted with the directory."""
    for name in INPUTS:
        with contextlib.suppress(OSError):
            (directory / name).unlink(missing_ok=True)
