"""A job's inputs: on their way in, and read again for its run."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import attrs

from plasm_core.errors import RefusedError, StorageError
from plasm_core.records import JobInput, Manifest
from plasm_core.records.digest import decode_list
from plasm_core.sandbox.descriptor import write_all
from plasm_core.store.ballast import Ballast
from plasm_core.store.budget import Allowance
from plasm_core.store.disk import create, remove_tree, storage_errors, sync, sync_directory

INPUTS = ("args", "env", "stdin")
_CHUNK = 1 << 20


class StagedInputs:
    """A job's inputs as they come, in a directory that becomes the job's. One thread at a time.

    Ends by `Store.accept` or `discard`. Empty inputs have no file.
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
        with storage_errors("take a job", directory.parent):
            directory.mkdir(mode=0o700)

    def write(self, name: str, data: bytes) -> None:
        """Take an input's next bytes: of args and env in the list encoding.

        Raises: `RefusedError` (`digest_mismatch`) beyond the size announced; `StorageFullError`,
        `StorageError`, after either of which the inputs can only be discarded.
        """
        if self.received[name] + len(data) > self.sizes[name]:
            raise RefusedError("digest_mismatch", f"{name} is longer than was announced")
        if not data:
            return
        with storage_errors("take a job's input", self.directory):
            self._ballast.demand()
            if name not in self._fds:
                self._fds[name] = create(self.directory / name)
            write_all(self._fds[name], data)
        self._allowance.use(len(data))
        self._sha256[name].update(data)
        self.received[name] += len(data)

    def check(self, manifest: Manifest) -> None:
        """Raise `RefusedError` (`digest_mismatch`) unless these are the inputs that a manifest names."""
        wrong = [name for name in INPUTS if self._sha256[name].hexdigest() != getattr(manifest, name)]
        if wrong:
            raise RefusedError("digest_mismatch", f"{' and '.join(wrong)} is not what the manifest names")

    def sync(self) -> None:
        """Bring the inputs and their directory to the disk. Raises: `StorageError`."""
        with storage_errors("keep a job's input", self.directory):
            for fd in self._fds.values():
                sync(fd)
            sync_directory(self.directory)
            sync_directory(self.directory.parent)

    def discard(self) -> None:
        """Delete what has come, unless a job has it by now. Its reservation goes too."""
        if self._open:
            self.hand_over()
            remove_tree(self.directory)
            self._allowance.settle(0)

    def hand_over(self) -> Allowance:
        """Leave the directory to a job, once, and return what the budget gave for it."""
        self._open = False
        for fd in self._fds.values():
            os.close(fd)
        return self._allowance


@attrs.define(eq=False)
class OpenInputs:
    """An accepted job's inputs: standard input as an open file, so that no memory is taken for it.

    `stdin_fd` is -1 where standard input is empty.
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


def open_inputs(directory: Path, manifest: Manifest) -> OpenInputs:
    """Open an accepted job's inputs, and check them against the manifest.

    Raises: `StorageError` if they cannot be read or are damaged.
    """
    small = dict.fromkeys(INPUTS[:2], b"")
    path, fd, size, digest = directory / INPUTS[2], -1, 0, hashlib.sha256()
    with contextlib.ExitStack() as undo, storage_errors("read a job's input", directory):
        for name in small:
            with contextlib.suppress(FileNotFoundError):
                small[name] = (directory / name).read_bytes()
        with contextlib.suppress(FileNotFoundError):
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            undo.callback(os.close, fd)
            while chunk := os.pread(fd, _CHUNK, size):
                digest.update(chunk)
                size += len(chunk)
        found = {name: hashlib.sha256(data).hexdigest() for name, data in small.items()}
        for name, value in (found | {INPUTS[2]: digest.hexdigest()}).items():
            if value != getattr(manifest, name):
                raise StorageError(f"{name} of an accepted job is damaged or missing in {directory}")
        inputs = JobInput(args=decode_list(small["args"]), env=decode_list(small["env"]))
        undo.pop_all()
    return OpenInputs(inputs, path, fd, size)


def read_inputs(directory: Path, manifest: Manifest) -> JobInput:
    """Read an accepted job's inputs and check them against the manifest.

    Raises: `StorageError` if they cannot be read or are damaged.
    """
    content = dict.fromkeys(INPUTS, b"")
    with storage_errors("read a job's input", directory):
        for name in INPUTS:
            with contextlib.suppress(FileNotFoundError):
                content[name] = (directory / name).read_bytes()
    for name, data in content.items():
        if hashlib.sha256(data).hexdigest() != getattr(manifest, name):
            raise StorageError(f"{name} of an accepted job is damaged or missing in {directory}")
    return JobInput(
        args=decode_list(content["args"]), env=decode_list(content["env"]), stdin=content["stdin"]
    )


def remove_inputs(directory: Path) -> None:
    """Delete the inputs of a job that has ended, as far as possible; the rest goes with the directory."""
    for name in INPUTS:
        with contextlib.suppress(OSError):
            (directory / name).unlink(missing_ok=True)
