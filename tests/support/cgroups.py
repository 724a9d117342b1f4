"""Real control groups, where the tests may make any."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

_MEMORY = (
    (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"),
    (Path("/sys/fs/cgroup"), "memory.max"),
)
_PROCESSES = ((Path("/sys/fs/cgroup/pids"), "pids.max"), (Path("/sys/fs/cgroup"), "pids.max"))


@contextmanager
def memory_group(limit_bytes: int) -> Iterator[Path]:
    """Make a group with a limit of memory, or skip the test. What joins it must have ended with the context."""
    with _group(_MEMORY, limit_bytes) as group:
        yield group


@contextmanager
def process_group(limit: int) -> Iterator[Path]:
    """Make a group with a limit of processes, or skip the test. What joins it must have ended with the context."""
    with _group(_PROCESSES, limit) as group:
        yield group


@contextmanager
def _group(hierarchies: Sequence[tuple[Path, str]], most: int) -> Iterator[Path]:
    for parent, limit in hierarchies:
        group = parent / f"plasm-test-{os.getpid()}"
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            try:
                (group / limit).write_text(str(most))
            except OSError:
                continue
            yield group
            return
        finally:
            group.rmdir()
    pytest.skip("no control group with such a limit can be made here")
