"""Reading whole descriptors."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path

import pytest

from plasm_core.sandbox.process.descriptor import read_all

MIB = 1 << 20


@pytest.mark.parametrize("size", [0, 1, MIB, 5 * MIB + 1])
@pytest.mark.parametrize("offset", [0, 3])
def test_a_file_is_read_from_an_offset_to_its_end(tmp_path: Path, size: int, offset: int) -> None:
    content = os.urandom(size)
    (tmp_path / "file").write_bytes(content)
    with (tmp_path / "file").open("rb") as file:
        assert read_all(file.fileno(), offset) == content[offset:]


def test_a_large_file_is_in_memory_once(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w+b") as file:
        file.truncate(32 * MIB)
        tracemalloc.start()
        try:
            content = read_all(file.fileno())
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

    assert len(content) == 32 * MIB
    assert most < 34 * MIB
