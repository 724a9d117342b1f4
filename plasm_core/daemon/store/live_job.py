"""A job without a result, and the resources that it holds."""

from __future__ import annotations

import attrs

from plasm_core.daemon.store.budget import Allowance
from plasm_core.daemon.store.job import Job
from plasm_core.daemon.store.modules import Pin
from plasm_core.daemon.store.spool import Spool


@attrs.define
class LiveJob:
    """A job without a result in its present state, with its reservation, pins and spool.

    `job` is without its manifest, to save memory: thousands may wait. `has_files`: its directory exists. `was_there`:
    the job was accepted before this start, so it may have killed a daemon.
    """

    job: Job
    allowance: Allowance
    pins: tuple[Pin, ...]
    spool: Spool | None = None
    has_files: bool = False
    was_there: bool = False


def kept_bytes(job: Job) -> int:
    """Return the bytes of an ended job's outputs and output files."""
    return job.stdout.size_bytes + job.stderr.size_bytes + job.file_bytes
