"""Reading the outputs of jobs that run or have ended."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import attrs

from plasm_core.daemon.store.inputs import SMALL_BYTES
from plasm_core.daemon.store.job import Job
from plasm_core.daemon.store.job_table import OUTPUTS, STDOUT, JobTable
from plasm_core.daemon.store.left_files import LeftFile, open_file
from plasm_core.daemon.store.live_job import LiveJob
from plasm_core.daemon.store.recent import Recent
from plasm_core.daemon.store.spool import read_output
from plasm_core.errors import OutputGoneError, RefusedError
from plasm_core.records.job import JobState
from plasm_core.records.output import OutputStream


@attrs.frozen(kw_only=True)
class JobOutputs:
    """Reads outputs from a job's spool, from memory, from the database or from files. Thread-safe.

    `directory` holds the jobs' directories. `get` returns a job in its present state.
    """

    directory: Path
    live: Mapping[int, LiveJob]
    lock: threading.RLock
    recent: Recent
    table: JobTable
    get: Callable[[int], Job]

    def output_bytes(self, job: Job, stream: OutputStream) -> int:
        """Return the size of an output, so far if the job runs."""
        with self.lock:
            live = self.live.get(job.row)
            if live is not None:
                return live.spool.size_bytes(stream) if live.spool is not None else 0
        recent = self.recent.get(job.row)  # it has just ended, most often
        if recent is None or recent.job.state.live:
            return self.get(job.row).output(stream).size_bytes
        return recent.job.output(stream).size_bytes

    def read_output(self, job: Job, stream: OutputStream, offset: int, maximum_bytes: int) -> bytes:
        """Read at most `maximum_bytes` of an output from an offset; empty at or beyond its present end.

        `job` names the attempt.

        Raises: `OutputGoneError` if the job's data is deleted or it is in another attempt; `StorageError`.
        """
        found = self.output_now(job, stream, offset, maximum_bytes)
        if found is not None:
            return found
        if not job.state.live and job.stdout.size_bytes + job.stderr.size_bytes <= SMALL_BYTES:
            data = self.table.contents(job.row, OUTPUTS).get(STDOUT + stream - OutputStream.STDOUT)
            if data is not None:
                return data[offset : offset + maximum_bytes]
        return read_output(self.directory / job.directory, stream, job.attempt, offset, maximum_bytes)

    def output_now(self, job: Job, stream: OutputStream, offset: int, maximum_bytes: int) -> bytes | None:
        """As `read_output`, but return None if that would wait for the disk.

        Raises: `OutputGoneError`.
        """
        if job.gone is not None:
            raise OutputGoneError(f"the job's output has been {job.gone.value}")
        ended = not job.state.live and offset >= job.output(stream).size_bytes
        if ended or job.state is JobState.QUEUED:
            return b""
        with self.lock:
            live = self.live.get(job.row)
        if live is not None:
            spool = live.spool
            if spool is None or spool.attempt != job.attempt:
                raise OutputGoneError("the output was deleted")
            return spool.read(stream, offset, maximum_bytes)
        recent = self.recent.get(job.row)
        if recent is None or recent.job.state.live or recent.job.attempt != job.attempt:
            return None
        data = recent.contents.get(STDOUT + stream - OutputStream.STDOUT)
        return None if data is None else data[offset : offset + maximum_bytes]

    def open_file(self, job: Job, path: str) -> LeftFile | None:
        """Open an output file of an ended job; None if the job did not leave it.

        Raises: `OutputGoneError`, `StorageError`; `RefusedError` if the manifest does not name the output.
        """
        if job.gone is not None:
            raise OutputGoneError(f"the job's output has been {job.gone.value}")
        files = job.manifest.files
        if files is None or path not in files.outputs:
            raise RefusedError("unknown_output", "the job's manifest has no output of this path")
        return open_file(self.directory / job.directory, job.attempt, files.outputs.index(path))
