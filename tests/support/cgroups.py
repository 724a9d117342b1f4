"""Real control groups, where the tests may make any."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_HIERARCHIES = (
    (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"),
    (Path("/sys/fs/cgroup"), "memory.max"),
)


@contextmanager
def memory_group(limit_bytes: int) -> Iterator[Path]:
    """Make a group with a limit of memory, or skip the test. What joins it must have ended with the context."""
    for parent, limit in _HIERARCHIES:
        group = parent / f"plasm-test-{os.getpid()}"
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            try:
                (group / limit).write_text(str(limit_bytes))
            except OSError:
                continue
            yield group
            return
        finally:
            group.rmdir()
    pytest.skip("no control group with a limit of memory can be made here")
