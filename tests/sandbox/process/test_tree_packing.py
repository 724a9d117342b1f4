"""Packing a tree whose files cannot be read, or whose copy cannot be written."""

from __future__ import annotations

import errno
import io
from pathlib import Path

import pytest

from plasm_core.errors import StorageError
from plasm_core.sandbox.process.tree_packing import bytes_source, file_source, opened_source, pack_tree


class Damaged(io.RawIOBase):
    def readinto(self, _buffer: object) -> int:
        raise OSError(errno.EIO, "Input/output error")


def test_a_file_of_this_machine_that_cannot_be_read_is_named() -> None:
    with pytest.raises(OSError, match=r"^\[Errno 5\] Input/output error: '/proc/self/mem'$"):
        pack_tree([file_source(b"memory", Path("/proc/self/mem"))])


def test_other_bytes_that_cannot_be_read_are_named_as_in_the_tree() -> None:
    with pytest.raises(OSError, match=r"^\[Errno 5\] Input/output error: 'data'$"):
        pack_tree([opened_source(b"data", size_hint=1, open=Damaged)])


def test_a_full_disk_is_not_told_as_a_file_that_cannot_be_read() -> None:
    with pytest.raises(StorageError, match="cannot keep a copy of the job's files: No space left") as failed:
        pack_tree([bytes_source(b"data", b"1")], scratch=lambda: open("/dev/full", "r+b", buffering=0))  # noqa: SIM115
    assert failed.value.hint == "make room, or write elsewhere"
