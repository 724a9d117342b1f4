"""Unnamed temporary files, also where there is no directory for temporary files."""

from __future__ import annotations

import tempfile
from typing import IO

from plasm_core import paths
from plasm_core.errors import ConfigError, StorageError
from plasm_core.resource_hint import resource_hint


def scratch_file() -> IO[bytes]:
    """Return a new file without a name. Raises: `StorageError`.

    It is in the directory for temporary files (`TMPDIR`), or else in the state directory, which may be the only
    writable file system of a container.
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
            hint=resource_hint(problem) or "set TMPDIR to a directory that may be written to",
        ) from exc
