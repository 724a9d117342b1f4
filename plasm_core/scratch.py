"""Unnamed temporary files, also where there is no directory for temporary files."""

from __future__ import annotations

import tempfile
from typing import IO

from plasm_core import paths
from plasm_core.errors import ConfigError, StorageError


def scratch_file() -> IO[bytes]:
    """Return a new file that has no name. Raises: `StorageError`.

    It is in the directory for temporary files (`TMPDIR`), else in the state directory: a container may have a file
    system that is read-only but for that one.
    """
    try:
        return tempfile.TemporaryFile()
    except OSError as exc:
        problem = exc
    try:
        state = paths.state_directory()
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        return tempfile.TemporaryFile(dir=state)
    except (OSError, ConfigError) as exc:
        raise StorageError(
            f"cannot make a temporary file: {problem.strerror or problem}",
            hint="set TMPDIR to a directory that may be written to",
        ) from exc
