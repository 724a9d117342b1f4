"""The results of a batch, written out in the order of its inputs."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import secrets
import sys
from pathlib import Path
from typing import IO, Any

import attrs

from plasm_core.batch.files import FILES_FOLDER, KeptFiles, have_files
from plasm_core.batch.folder import BatchFolder
from plasm_core.batch.rows import BatchJobState, JobRow, stored_outcome
from plasm_core.batch.storage import storage_errors
from plasm_core.cli import render
from plasm_core.errors import OutputFileError
from plasm_core.records import Envelope, Receipt
from plasm_core.records.manifest import Manifest, job_id
from plasm_core.records.output import OutputStream

_INLINE_BYTES = 64 << 10


class Results:
    """Writes each job's end to stdout, and into a folder of its own under `out`."""

    def __init__(self, folder: BatchFolder, *, form: str, out: Path | None) -> None:
        self._folder = folder
        self._form = form
        self._have_files = have_files(folder)
        self._out = out

    @property
    def shares_terminal(self) -> bool:
        """Whether results appear where progress is shown."""
        return self._form != "none" and sys.stdout.isatty()

    def write(self, rows: list[JobRow]) -> None:
        """Write some jobs' results. Raises: `OutputFileError`; BrokenPipeError if the reader closed the pipe."""
        for row in rows:
            written = self._write_folder(row) if self._out is not None else None
            if self._form == "raw" and row.state is BatchJobState.SUCCEEDED:
                self._folder.outputs(row.number).copy(row, OutputStream.STDOUT, sys.stdout.buffer)
            elif self._form == "jsonl":
                line = json.dumps(self._described(row, written), ensure_ascii=True)
                sys.stdout.buffer.write(line.encode() + b"\n")
        sys.stdout.buffer.flush()

    def _write_folder(self, row: JobRow) -> Path:
        """Write the folder of a job. Raises: `OutputFileError`."""
        assert self._out is not None
        place = self._out / f"{row.number:06d}"
        try:
            place.mkdir(parents=True, exist_ok=True)
            # In a shared directory another user may have planted a link in place of the folder.
            directory = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                self._write_files(directory, row)
            finally:
                os.close(directory)
        except OSError as exc:
            raise OutputFileError(
                f"cannot write {exc.filename or place}: {exc.strerror}",
                hint=f"the results are kept: plasm map --resume {self._folder.path} --out DIR writes them again",
            ) from exc
        return place

    def _write_files(self, directory: int, row: JobRow) -> None:
        """Write the files of a job's folder, which is open. Raises: OSError; `OutputFileError`."""
        if row.envelope is not None:
            receipt = self._receipt_with_files(row)
            if receipt is not None and receipt.files:
                KeptFiles.refuse_foreign(directory, "receipt.json")
            for stream in OutputStream:
                _written(directory, stream.label, lambda file, stream=stream: self._copy(row, stream, file))
            _written(directory, "receipt.json", lambda file: file.write(row.envelope + b"\n"))
            _written(directory, "manifest.json", lambda file: file.write(row.manifest))
            if receipt is not None and receipt.files:
                KeptFiles(self._folder, row.number).write(receipt, directory)
        if row.state is not BatchJobState.SUCCEEDED:
            _written(directory, "error", lambda file: file.write(row.reason.encode() + b"\n"))
        else:
            with contextlib.suppress(FileNotFoundError):
                os.unlink("error", dir_fd=directory)

    def _receipt_with_files(self, row: JobRow) -> Receipt | None:
        """Return a job's receipt if the jobs have files. Those of others need not be read here."""
        if not self._have_files or row.envelope is None:
            return None
        return Receipt.from_statement(Envelope.from_json(row.envelope).payload)

    def _copy(self, row: JobRow, stream: OutputStream, file: IO[bytes]) -> None:
        self._folder.outputs(row.number).copy(row, stream, file)

    def _described(self, row: JobRow, written: Path | None) -> dict[str, Any]:
        """Return a job's end as `--format jsonl` has it."""
        found: dict[str, Any] = {"number": row.number, "input": row.label, "state": row.state.value}
        if row.outcome is not None:
            found["outcome"] = render.outcome_json(stored_outcome(row.outcome))
            found["gasUsed"] = row.gas_used
            found["node"] = row.peer
            found["reused"] = row.reused
        if row.manifest is not None:
            found["jobId"] = job_id(row.manifest)
            found["taskDigest"] = Manifest.from_json(row.manifest).task_digest
        if row.state is not BatchJobState.SUCCEEDED:
            found["reason"] = row.reason
        if row.envelope is None:
            return found
        if written is not None:
            found["receipt"] = str(written / "receipt.json")
        receipt = self._receipt_with_files(row)
        if receipt is not None:
            found["files"] = [attrs.asdict(product) for product in receipt.files]
            if receipt.files and written is not None:
                found["filesPath"] = str(written / FILES_FOLDER)
        for stream in OutputStream:
            inline = row.stdout if stream is OutputStream.STDOUT else row.stderr
            if inline is None or len(inline) > _INLINE_BYTES:
                place = (
                    self._folder.outputs(row.number).file(stream)
                    if written is None
                    else written / stream.label
                )
                if inline is not None and written is None:
                    found[f"{stream.label}Base64"] = base64.b64encode(inline).decode()
                else:
                    found[f"{stream.label}Path"] = str(place)
                continue
            try:
                found[stream.label] = inline.decode("utf-8")
            except UnicodeDecodeError:
                found[f"{stream.label}Base64"] = base64.b64encode(inline).decode()
        return found


def _written(directory: int, name: str, write: Any) -> None:
    """Write a file of an open directory whole or not at all. Raises: OSError."""
    part = f".plasm-{secrets.token_hex(16)}.new"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(part, flags, 0o666, dir_fd=directory), "wb") as file:
            write(file)
        os.replace(part, name, src_dir_fd=directory, dst_dir_fd=directory)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(part, dir_fd=directory)


def last_line(folder: BatchFolder, row: JobRow) -> str:
    """Return the last line of what a job wrote to stderr, for a summary: at most 120 characters."""
    if row.stderr is None:
        return ""
    with storage_errors(folder.path):
        lines = row.stderr.decode("utf-8", "replace").strip().splitlines()
    return lines[-1][:120] if lines else ""
