"""Remember the paths of a job's files when it is run or submitted, for `plasm bundle`."""

from __future__ import annotations

import contextlib

from plasm_core.cli import options
from plasm_core.cli.option_values import arguments
from plasm_core.errors import StorageError


def remember(job_id: str, module: str, args: tuple[str, ...], task: options.Task) -> None:
    """Remember where the files of a job are. A full disk is no reason for the job to fail."""
    from plasm_core.client.known_files import KnownFiles

    with contextlib.suppress(StorageError):
        KnownFiles().add(job_id, module=module, stdin=task.stdin_file, args=arguments(args), env=task.env)
