"""A daemon for the tests of one module, and modules for batches."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.daemon import Daemon
from tests.support.wat import function, starting

READ = "(call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8))"
FIRST = f"(i32.store (i32.const 0) (i32.const 16)) (i32.store (i32.const 4) (i32.const 1)) (drop {READ})"


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon that all tests of a module share."""
    with Daemon(tmp_path_factory.mktemp("daemon")) as made:
        made.start()
        yield made


@pytest.fixture(scope="session")
def picky(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A module that traps if its standard input begins with x, and exits with code 3 if it begins with y."""
    body = (
        f"{FIRST} (if (i32.eq (i32.load8_u (i32.const 16)) (i32.const 120)) (then unreachable))"
        "(if (i32.eq (i32.load8_u (i32.const 16)) (i32.const 121)) (then (call $proc_exit (i32.const 3)) unreachable))"
        "(drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))"
    )
    read, write = function("fd_read", "i32 i32 i32 i32"), function("fd_write", "i32 i32 i32 i32")
    leave = '(import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))'
    path = tmp_path_factory.mktemp("modules") / "picky.wasm"
    path.write_bytes(starting(body, read, write, leave))
    return path
